# SPDX-License-Identifier: GPL-2.0-only
#
# For the scripts with scenarios, which read it: what a kernel says when something in it is wrong.

# complaints [MORE]: lines of the log that nobody wants to see, and those that match MORE.
complaints() {
	dmesg | grep -E "WARNING|BUG|Oops|general protection|INFO: (task|trying to register)|blocked for more than|detected stall|scheduling while atomic|lockdep is turned off|corrupt|[Oo]ut of memory|oom-kill${1:+|$1}"
}

# Processes that the kernel has killed for want of memory since boot. Those of cgroup.kill are not among them.
oom_kills() { sed -n 's/^oom_kill //p' /proc/vmstat; }

# Lockdep speaks once, is off from then on, and so is KASAN: what comes after has not been looked at.
still_looking() { ! grep -q 'debug_locks: *0$' /proc/lockdep_stats 2>/dev/null; }
