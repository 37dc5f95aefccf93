# SPDX-License-Identifier: GPL-2.0-only
#
# For the scripts with scenarios, which read it: what a kernel says when something in it is wrong.

# complaints [MORE]: lines of the log that nobody wants to see, and those that match MORE.
complaints() {
	dmesg | our_races | grep -E "WARNING|BUG|Oops|general protection|INFO: (task|trying to register)|blocked for more than|detected stall|scheduling while atomic|lockdep is turned off|corrupt|[Oo]ut of memory|oom-kill${1:+|$1}"
}

# The log without data races that KCSAN has seen in the kernel where there is no code of tmem in sight: Linux has some that its
# people know. How many there were goes to a file.
our_races() {
	awk '
		/BUG: KCSAN: / { race = $0; next }
		race != "" {
			race = race "\n" $0
			if (/={20}/) { if (race ~ /tmem|fakestore/) print race; else elsewhere++; race = "" }
			next
		}
		{ print }
		END { if (race != "") print race; if (elsewhere) print elsewhere >>"/tmp/races_elsewhere" }'
}

count_races() { [ ! -e /tmp/races_elsewhere ] || awk '{ n += $1 } END { print "counted races_elsewhere " n }' /tmp/races_elsewhere; }

# Processes that the kernel has killed for want of memory since boot. Those of cgroup.kill are not among them.
oom_kills() { sed -n 's/^oom_kill //p' /proc/vmstat; }

# Lockdep speaks once, is off from then on, and so is KASAN: what comes after has not been looked at.
still_looking() { ! grep -q 'debug_locks: *0$' /proc/lockdep_stats 2>/dev/null; }
