# SPDX-License-Identifier: GPL-2.0-only
#
# For guest.sh, which reads it: hosts that turn bad once there are pages in them.

# ask freeze|thaw: the machine below reads this console, and freezes this guest: it refuses every put.
ask() {
	case $1 in freeze) frozen=1 ;; thaw) frozen=0 ;; esac
	echo "host: $1"
	looks=0
	while [ "$(sed -n 's/^frozen //p' /sys/kernel/debug/tmem/host)" != $frozen ]; do
		looks=$((looks + 1))
		[ $looks -lt 300 ] || { wrong "the host did not $1"; return 1; }
		sleep 1
	done
	# What was under way is counted.
	sleep 1
}

# new_file MIB: its content is new, and what reclaim has evicted of it in so much memory is in the store, if the host takes it.
new_file() {
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 conv=notrunc 2>/dev/null
	sum=$(md5sum <$MNT/file)
	sync
	echo 3 >/proc/sys/vm/drop_caches
	for _ in 1 2; do limited "$1" cat $MNT/file >/dev/null; done
}

# same_file MIB WHEN
same_file() { [ "$sum" = "$(limited "$1" md5sum <$MNT/file)" ] || wrong "the file is different $2"; }

# A load runs through all of it, and checks what it has swapped out before, meanwhile and afterwards.
scenario_host_freezes_under_work() {
	[ -n "$LISTENS" ] || { skip="needs a host that listens to the console"; return 2; }
	load both || return 1
	swap_on && new_fs || return 1
	start_load 64 96M
	load_makes swap_puts 4000 && new_file 64 && same_file 64 "at first" || return 1
	used clean_puts 1000 && used clean_hits 1000 || return 1

	ask freeze || return 1
	swap=$(counter swap_puts) clean=$(counter clean_puts) disk=$(pswpout)
	load_makes swap_refused 4000 || return 1
	# The store has pages of the file as it was.
	new_file 64 && same_file 64 "while the host is frozen" || return 1
	say "frozen: refused $(gained swap_refused) pages of swap and $(gained clean_refused) clean ones, to the disk $(($(pswpout) - disk))"
	[ "$(counter swap_puts)" = "$swap" ] && [ "$(counter clean_puts)" = "$clean" ] || { wrong "pages were taken"; return 1; }
	[ $(($(pswpout) - disk)) -ge 4000 ] || { wrong "only $(($(pswpout) - disk)) pages went to the disk"; return 1; }
	used clean_refused 1000 || return 1

	ask thaw || return 1
	same_file 64 "after the thaw" || return 1
	load_makes swap_puts 4000 && new_file 64 && same_file 64 "at last" || return 1
	[ "$(counter clean_puts)" -gt $((clean + 1000)) ] || { wrong "no clean page is taken any more"; return 1; }
	end_load && swap_story && end_fs && swap_off && unload
}

# --- a host inside the driver (make TMEM_TEST_HOST=1) that answers -EFAULT

need_test_host() { grep -q test_fault_puts_every "$STORE" 2>/dev/null || { skip="needs the test host"; return 1; }; }
# fault_every N WHAT: of puts, flushes or gets.
fault_every() { echo "$1" >/sys/module/tmem/parameters/test_fault_"$2"_every; }

scenario_puts_that_fault_go_to_the_disk() {
	need_test_host || return 2
	load both || return 1
	swap_on && new_fs && fault_every 11 puts || return 1
	swap_work && swap_story && torture 4 8 2 || return 1
	used swap_refused 1000 && used clean_refused 1000 && used swap_gets 1000 && used clean_hits 1000 || return 1
	end_fs && swap_off && unload
}

# A clean page whose flush may not have been done must never be asked for again; of swap only what was put anew is.
scenario_flush_that_faults_ends_the_pool() {
	need_test_host || return 2
	load both || return 1
	swap_on && new_fs && fault_every 50 flushes || return 1
	swap_work && swap_story && torture 4 8 2 || return 1
	used swap_gets 1000 || return 1
	dmesg | grep -q 'is given up: a flush failed' || { wrong "the pool of files is still used"; return 1; }
	clean=$(counter clean_put_calls)
	new_file 24 && same_file 24 "without the pool" || return 1
	[ "$(counter clean_put_calls)" = "$clean" ] || { wrong "clean pages are still offered"; return 1; }
	end_fs && swap_off && unload
}

# A clean page comes from the disk. A page of swap is gone, which its owner is told by SIGBUS, and is never given another.
scenario_gets_that_fault_give_nothing() {
	need_test_host || return 2
	load both || return 1
	new_fs && fault_every 7 gets || return 1
	torture 4 8 2 && end_fs || return 1
	used clean_hits 1000 && [ "$(gained clean_gets)" -gt $(($(gained clean_hits) + 100)) ] || { wrong "hardly a get failed"; return 1; }
	swap_on || return 1
	limited 64 tmem-workload run --memory 96M --passes 1 >/tmp/workload.log 2>&1
	status=$?
	say "a load ends with status $status, lost pages: $(gained swap_lost)"
	[ $status = 135 ] || { tail -5 /tmp/workload.log; wrong "the load was not ended by SIGBUS"; return 1; }
	[ "$(gained swap_lost)" -gt 0 ] || { wrong "not counted"; return 1; }
	fault_every 0 gets
	lost=$(gained swap_lost)
	swap_work || return 1
	[ "$(gained swap_lost)" = "$lost" ] || { wrong "pages were lost by a host that is good again"; return 1; }
	swap_off && unload
}
