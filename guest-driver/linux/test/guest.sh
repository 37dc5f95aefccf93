#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Scenarios for tmem.ko, to be run as root in a guest that has nothing to lose:
#
#   guest.sh MODULE [SCENARIO]...
#
# Needs busybox or the usual tools, fio, stress-ng, e2fsprogs, tmem-workload (images/workload), kexec (beside this file), and
# a spare disk in BACKING (default /dev/vda); for kexec, disks with the kernel and the initramfs to boot, in KERNEL and INITRD
# (default /dev/vdd and /dev/vde). With a module that was built with TMEM_TEST_HOST=1 all scenarios can run; without, those that need a bad host are skipped, and say so.
# Prints "ok NAME", "skip NAME reason" or "FAIL NAME reason" for each scenario; exits with the number of failures.

MODULE=$1
shift
BACKING=${BACKING:-/dev/vda}
KERNEL=${KERNEL:-/dev/vdd}
INITRD=${INITRD:-/dev/vde}
SECONDS_OF_STRESS=${SECONDS_OF_STRESS:-20}
STATS=/sys/kernel/debug/tmem/stats
PARAMETERS=/sys/module/tmem/parameters
CGROUP=/sys/fs/cgroup/tmem-test
fails=0
here=$(cd "$(dirname "$0")" && pwd)
self=$here/$(basename "$0")
case $MODULE in /*) ;; *) MODULE=$PWD/$MODULE ;; esac
# shellcheck source=complaints.sh
. "$here/complaints.sh"
# Programs leave files where they are.
cd /tmp

fake() { grep -q test_refuse_every "$MODULE"; }
stat() { sed -n "s/^$1 //p" $STATS; }
vmstat() { sed -n "s/^$1 //p" /proc/vmstat; }
# Pages that the host holds for this guest's swap.
held() { sed -n 's/^persistent_pages //p' /sys/kernel/debug/tmem/host; }
say() { echo "    $*"; }
wrong() { reason="$*"; return 1; }

# Loads with these parameters; the device is there when it returns 0.
load() {
	for parameter; do
		# What an earlier scenario left there is nothing to be careful about.
		[ "$parameter" = "backing=$BACKING" ] && mkswap "$BACKING" >/dev/null
	done
	fake && set -- test_pages=60000 "$@"
	# This is about the disk; what a tmem-aware kernel does by itself has a script of its own (patches/test).
	[ -d /sys/kernel/tmem ] && set -- swap=0 clean=0 "$@"
	insmod "$MODULE" "$@" 2>/tmp/insmod.err && [ -b /dev/tmem0 ] || wrong "not loaded with $*"
}

unload() {
	for what in puts gets flushes; do eval "all_$what=\$((\${all_$what:-0} + $(stat $what)))"; done
	rmmod tmem || { wrong "rmmod failed"; return 1; }
	! dmesg | grep -E 'tmem test host: .* [1-9][0-9]* calls were malformed' || wrong "malformed calls"
}

# A machine with less than 512 MiB starts without (mm/huge_memory.c:hugepage_init).
huge_pages() { echo madvise >/sys/kernel/mm/transparent_hugepage/enabled; }

swap_on() { mkswap /dev/tmem0 >/dev/null && swapon "$@" /dev/tmem0; }
# KiB in use.
swap_used() { sed -n 's|^/dev/tmem0[ \t]*[a-z]*[ \t]*[0-9]*[ \t]*\([0-9]*\).*|\1|p' /proc/swaps; }
swap_off() { swapoff /dev/tmem0 || wrong "swapoff failed"; }

# Runs a command in a group that may use so many MiB of memory. With more it waits; it is not killed while all that it could
# give up is on its way to a slow disk; at MOST (default: twice as much) it is.
limited() {
	mkdir -p $CGROUP
	echo "$1"M >$CGROUP/memory.high
	echo "${MOST:-$(($1 * 2))M}" >$CGROUP/memory.max
	shift
	sh -c 'echo $$ >'$CGROUP'/cgroup.procs; exec "$@"' sh "$@"
}

# Anonymous memory, three times what fits, every page of known contents and checked in every pass.
pressure() {
	out=$(vmstat pswpout)
	limited 16 tmem-workload run --memory "${WORK:-48M}" --threads 2 --passes "${PASSES:-2}" "$@" >/tmp/workload.log 2>&1 ||
		{ tail -20 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
	out=$(($(vmstat pswpout) - out))
	say "pages swapped out: $out"
	[ $out -gt 2000 ] || { wrong "only $out pages were swapped out"; return 1; }
}

# Random writes of mixed sizes to the raw device, each block read back and compared.
verified_io() {
	fio --name=verify --filename=/dev/tmem0 --direct=1 --rw=randwrite --bsrange=4k-512k --bs_unaligned=0 \
		--blockalign=4k --size="${1:-64M}" --ioengine=psync --verify=crc32c --verify_fatal=1 --numjobs=1 \
		--randseed=7 --output=/tmp/fio.log >/tmp/fio.err 2>&1 ||
		{ tail -20 /tmp/fio.log /tmp/fio.err; wrong "fio found a difference"; return 1; }
}

# --- the device by itself

scenario_absent_slots_read_as_zeros() {
	load size=64M || return 1
	[ "$(cat /dev/tmem0 | tr -d '\0' | wc -c)" = 0 ] || { wrong "something is not zero"; return 1; }
	unload
}

scenario_written_blocks_read_back() {
	load size=64M || return 1
	verified_io || return 1
	say "pages per exit: $(($(stat batch_entries) / ($(stat batches) + 1)))"
	[ "$(stat batches)" -gt 0 ] || { wrong "no batch was used"; return 1; }
	unload
}

scenario_written_blocks_read_back_singly() {
	load size=64M batch=1 || return 1
	verified_io || return 1
	[ "$(stat batches)" = 0 ] || { wrong "a batch was used"; return 1; }
	unload
}

scenario_written_blocks_read_back_over_the_port() {
	load size=32M transport=port || { grep -q . /tmp/insmod.err; wrong "the host has no port"; return 2; }
	verified_io 32M || return 1
	unload
}

scenario_file_system_with_trim() {
	load size=64M || return 1
	mkdir -p /tmp/mnt
	mkfs.ext4 -q -F -b 4096 /dev/tmem0 || { wrong "mkfs.ext4"; return 1; }
	mount -t ext4 -o discard /dev/tmem0 /tmp/mnt || { wrong "mount"; return 1; }
	fio --name=fs --directory=/tmp/mnt --rw=randrw --bs=4k --size=16M --end_fsync=1 --verify=crc32c \
		--verify_fatal=1 --output=/tmp/fio.log >/dev/null 2>&1 || { tail -20 /tmp/fio.log; wrong "fio"; return 1; }
	rm /tmp/mnt/fs*
	sync
	umount /tmp/mnt || return 1
	[ "$(stat flushes)" -gt 1000 ] || { wrong "deleting a file of 16 MiB flushed $(stat flushes) pages"; return 1; }
	e2fsck -f -n /dev/tmem0 >/tmp/fsck.log 2>&1 || { cat /tmp/fsck.log; wrong "e2fsck"; return 1; }
	unload
}

scenario_discard_gives_memory_back() {
	load size=64M || return 1
	dd if=/dev/urandom of=/dev/tmem0 bs=1M count=64 oflag=direct 2>/dev/null || { wrong "dd"; return 1; }
	before=$(held)
	blkdiscard /dev/tmem0 || { wrong "blkdiscard"; return 1; }
	[ "$before" = 16384 ] && [ "$(held)" = 0 ] || { wrong "$before pages held, $(held) after discard"; return 1; }
	[ "$(cat /dev/tmem0 | tr -d '\0' | wc -c)" = 0 ] || { wrong "something is not zero"; return 1; }
	unload
}

scenario_size_and_backing_are_checked() {
	for bad in size=0 size=12Q size=1K size=16T size=15T transport=pigeon backing=/dev/nothing; do
		! insmod "$MODULE" $bad 2>/dev/null || { wrong "$bad was accepted"; rmmod tmem; return 1; }
	done
	dd if=/dev/urandom of="$BACKING" bs=4k count=1 conv=notrunc 2>/dev/null
	! insmod "$MODULE" backing="$BACKING" 2>/dev/null || { wrong "overwrites a disk in use"; rmmod tmem; return 1; }
}

# --- swap

scenario_mkswap_by_the_driver() {
	load size=64M mkswap=1 || return 1
	swapon /dev/tmem0 || { wrong "swapon"; return 1; }
	[ "$(sed -n 's/^.dev.tmem0 *[a-z]*[ \t]*\([0-9]*\).*/\1/p' /proc/swaps)" = 65532 ] || { cat /proc/swaps; wrong "size"; return 1; }
	swap_off && unload
}

scenario_swap_under_pressure() {
	load size=512M sync=1 || return 1
	swap_on || { wrong "swapon"; return 1; }
	pressure --pattern zipf || return 1
	pressure --pattern looping || return 1
	say "puts $(stat puts), gets $(stat gets), flushes $(stat flushes), exits $(stat exits)"
	swap_off && unload
}

scenario_swap_in_company() {
	load size=512M sync=0 || return 1
	swap_on || { wrong "swapon"; return 1; }
	pressure --pattern zipf || return 1
	pressure --pattern looping || return 1
	exits=$(stat exits)
	say "puts $(stat puts), gets $(stat gets), flushes $(stat flushes), exits $exits"
	[ $exits -lt $((($(stat puts) + $(stat gets)) / 4)) ] || { wrong "fewer than 4 pages per exit"; return 1; }
	swap_off && unload
}

scenario_swap_under_stress_ng() {
	load size=512M || return 1
	swap_on || { wrong "swapon"; return 1; }
	limited 64 stress-ng --vm 2 --vm-bytes 192M --vm-keep --verify --timeout "$SECONDS_OF_STRESS" \
		>/tmp/stress.log 2>&1 || { cat /tmp/stress.log; wrong "stress-ng failed"; return 1; }
	say "puts $(stat puts), gets $(stat gets)"
	[ "$(stat puts)" -gt 0 ] || { wrong "nothing was swapped"; return 1; }
	swap_off && unload
}

# While swap is off all of the load is in memory, above what it should have: it waits then, and a hard limit would be its end.
scenario_swapoff_with_pages_in_use() {
	load size=512M || return 1
	rm -f /tmp/enough
	swap_on || { wrong "swapon"; return 1; }
	MOST=max limited 16 sh -c 'until [ -e /tmp/enough ]; do tmem-workload run --memory 48M --passes 2 || exit 1; done' \
		>/tmp/workload.log 2>&1 &
	job=$!
	for _ in 1 2; do
		from=$(stat puts)
		# Until there is something to bring back, and between two runs of the load there is not.
		while [ "$(stat puts)" -lt $((from + 6000)) ] || [ "$(swap_used)" -lt 16384 ]; do
			kill -0 $job 2>/dev/null || { tail -5 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
			sleep 1
		done
		inside=$(swap_used) got=$(stat gets)
		swap_off || return 1
		got=$(($(stat gets) - got))
		kill -0 $job 2>/dev/null || { tail -5 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
		say "swapoff with $((inside / 4)) slots in use: $got pages came back"
		[ $got -gt 1000 ] || { wrong "only $got pages came back at swapoff"; return 1; }
		swap_on || { wrong "swapon"; return 1; }
	done
	touch /tmp/enough
	wait $job || { tail -5 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
	swap_off && unload
}

scenario_swap_with_huge_pages() {
	load size=512M || return 1
	swap_on || { wrong "swapon"; return 1; }
	huge=$(vmstat thp_swpout)
	huge_pages
	pressure --thp always || return 1
	huge=$(($(vmstat thp_swpout) - huge))
	say "huge pages swapped out whole: $huge, $(stat batch_entries) entries in $(stat batches) batches"
	[ $huge -gt 0 ] || { wrong "no huge page was swapped out whole"; return 1; }
	swap_off && unload
}

scenario_freed_slots_are_flushed() {
	load size=512M || return 1
	swap_on || { wrong "swapon"; return 1; }
	pressure || return 1
	# The slots are free now, but for those in the caches of the CPUs; the driver tells the host within seconds.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(held)
		[ "$left" -lt 2000 ] && break
		sleep 1
	done
	say "slots freed $(stat slots_freed), flushed $(stat flushes), held $left, exits $(stat exits), puts $(stat puts)"
	[ "$left" -lt 2000 ] || { wrong "the host still holds $left pages"; return 1; }
	swap_off && unload
}

scenario_refused_puts_go_to_the_backing_disk() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" test_refuse_every=3 || return 1
	verified_io 128M || return 1
	[ "$(stat backing_writes)" -gt 0 ] && [ "$(stat backing_reads)" -gt 0 ] || { wrong "backing not used"; return 1; }
	swap_on || { wrong "swapon"; return 1; }
	for every in 3 0 2 1 5; do
		echo $every >$PARAMETERS/test_refuse_every
		pressure --pattern uniform || return 1
	done
	say "puts $(stat puts), refused $(stat puts_refused), to the disk $(stat backing_writes), from it $(stat backing_reads)"
	swap_off && unload
}

scenario_refused_puts_in_company_go_to_the_backing_disk() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" sync=0 test_refuse_every=3 || return 1
	verified_io 64M || return 1
	swap_on || { wrong "swapon"; return 1; }
	for every in 3 0 2; do
		echo $every >$PARAMETERS/test_refuse_every
		pressure --pattern uniform || return 1
	done
	say "puts $(stat puts), refused $(stat puts_refused), to the disk $(stat backing_writes), from it $(stat backing_reads)"
	swap_off && unload
}

scenario_huge_pages_refused_in_the_middle() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" test_refuse_every=100 || return 1
	swap_on || { wrong "swapon"; return 1; }
	huge_pages
	pressure --thp always || return 1
	say "puts $(stat puts), refused $(stat puts_refused), written to the disk $(stat backing_writes)"
	[ "$(stat puts_refused)" -gt 0 ] || { wrong "nothing was refused"; return 1; }
	swap_off && unload
}

# All of the machine is short of memory, not one group, so that clones for the parts that are refused have to be waited for, by
# a task whose plug is pulled meanwhile. What is then used after it was freed is seen where that is poisoned: by KASAN, or with
# slub_debug=FZPU,kmalloc-4k on the command line.
scenario_huge_pages_refused_in_parts_while_clones_are_waited_for() {
	fake || { wrong "needs the test host"; return 2; }
	memory=$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)
	# All but 100 MiB (in KiB) is for the host (in pages); then 250 are filled as fast as can be.
	load backing="$BACKING" test_pages=$(((memory - 102400) / 4)) test_refuse_every=3 || return 1
	swap_on || { wrong "swapon"; return 1; }
	echo always >/sys/kernel/mm/transparent_hugepage/enabled
	huge=$(vmstat thp_swpout) jobs=
	for job in 1 2; do
		tmem-workload run --memory 125M --passes "${PASSES:-2}" --thp always --mix same=100 --write-share 100 \
			>/tmp/workload.$job 2>&1 &
		jobs="$jobs $!"
	done
	for job in $jobs; do wait "$job" || { tail -20 /tmp/workload.?; wrong "tmem-workload failed"; return 1; }; done
	huge=$(($(vmstat thp_swpout) - huge))
	say "huge pages swapped out whole: $huge, puts $(stat puts), refused $(stat puts_refused), to the disk $(stat backing_writes)"
	[ $huge -gt 0 ] && [ "$(stat backing_writes)" -gt 1000 ] || { wrong "huge pages were not refused in parts"; return 1; }
	swap_off && unload
}

scenario_refused_puts_without_backing_keep_pages_in_memory() {
	fake || { wrong "needs the test host"; return 2; }
	load size=512M || return 1
	swap_on || { wrong "swapon"; return 1; }
	echo 7 >$PARAMETERS/test_refuse_every
	pressure || return 1
	say "puts $(stat puts), refused $(stat puts_refused)"
	[ "$(stat puts_refused)" -gt 0 ] || { wrong "nothing was refused"; return 1; }
	swap_off && unload
}

scenario_overwrites_move_between_tmem_and_disk() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" size=16M || return 1
	for every in 0 2 3 0 1 2; do
		echo $every >$PARAMETERS/test_refuse_every
		verified_io 16M || return 1
	done
	unload
}

# --- bad hosts

# refused WANTED_MESSAGE PARAMETER...
refused() {
	want=$1
	shift
	! complaints || { wrong "the kernel complained"; return 1; }
	dmesg -c >/dev/null
	! insmod "$MODULE" "$@" 2>/dev/null || { rmmod tmem; wrong "loaded with $*"; return 1; }
	dmesg | grep -q "$want" || { dmesg | tail -3; wrong "no message '$want'"; return 1; }
}

scenario_bad_hosts_are_refused() {
	fake || { wrong "needs the test host"; return 2; }
	refused "host has no tmem" test_absent=1 &&
		refused "speaks tmem ABI 2" test_major=2 &&
		refused "no persistent pools" test_features=1 &&
		refused "is no answer" test_dead=1 &&
		refused "refused a persistent pool: error -28" test_new_pool=-28 &&
		refused "does not offer the transport hypercall" test_features=0xfe transport=hypercall &&
		refused "memory is encrypted" test_encrypted=1 &&
		refused "failed the test of one page" test_lose_every=1 &&
		refused "failed the test of one page" test_fault_puts_every=1
}

# What the driver knows of the host: 1 once a page has made the round trip.
proven() { sed -n 's/^proven //p' /sys/kernel/debug/tmem/host; }

scenario_full_host_is_given_nothing_before_it_kept_a_page() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" test_refuse_every=1 || return 1
	dd if=/dev/urandom of=/tmp/random bs=1M count=4 2>/dev/null
	dd if=/tmp/random of=/dev/tmem0 bs=1M oflag=direct 2>/dev/null || { wrong "dd"; return 1; }
	[ "$(proven)" = 0 ] && [ "$(stat puts)" = 1024 ] && [ "$(stat puts_refused)" = 1024 ] ||
		{ wrong "proven $(proven), puts $(stat puts), refused $(stat puts_refused)"; return 1; }
	[ "$(stat exits)" -lt 1024 ] || { wrong "pages were offered to a host that nobody had tried"; return 1; }
	echo 0 >$PARAMETERS/test_refuse_every
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		dd if=/tmp/random of=/dev/tmem0 bs=1M oflag=direct 2>/dev/null || { wrong "dd"; return 1; }
		[ "$(proven)" = 1 ] && break
		sleep 1
	done
	dd if=/tmp/random of=/dev/tmem0 bs=1M oflag=direct 2>/dev/null || { wrong "dd"; return 1; }
	[ "$(held)" = 1024 ] || { wrong "proven $(proven), and the host holds $(held) pages"; return 1; }
	dd if=/dev/tmem0 bs=1M count=4 iflag=direct 2>/dev/null | cmp - /tmp/random || { wrong "data differ"; return 1; }
	unload
}

scenario_full_host_that_then_loses_its_first_page_is_given_no_other() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" test_refuse_every=1 test_lose_every=1 || return 1
	echo 0 >$PARAMETERS/test_refuse_every
	dd if=/dev/urandom of=/tmp/random bs=1M count=4 2>/dev/null
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		dd if=/tmp/random of=/dev/tmem0 bs=1M oflag=direct 2>/dev/null || { wrong "dd"; return 1; }
		dmesg | grep -q "the host is given no pages" && break
		sleep 1
	done
	dmesg | grep -q "the host is given no pages" || { wrong "the host was not tried"; return 1; }
	dd if=/tmp/random of=/dev/tmem0 bs=1M oflag=direct 2>/dev/null || { wrong "dd"; return 1; }
	[ "$(proven)" = 0 ] && [ "$(held)" = 0 ] || { wrong "proven $(proven), and the host holds $(held) pages"; return 1; }
	dd if=/dev/tmem0 bs=1M count=4 iflag=direct 2>/dev/null | cmp - /tmp/random || { wrong "data differ"; return 1; }
	unload
}

scenario_host_without_batches_or_ranges() {
	fake || { wrong "needs the test host"; return 2; }
	for world in "test_batch_max=1" "test_batch_max=0" "test_features=0x03" "test_batch_max=5"; do
		load size=32M $world || return 1
		verified_io 32M || return 1
		blkdiscard /dev/tmem0 || return 1
		unload || return 1
	done
}

scenario_host_that_takes_nothing() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" test_refuse_every=1 || return 1
	swap_on || { wrong "swapon"; return 1; }
	pressure || return 1
	[ "$(stat puts)" = "$(stat puts_refused)" ] || { wrong "something was stored"; return 1; }
	swap_off && unload
}

scenario_faults_and_broken_batches_go_to_the_disk() {
	fake || { wrong "needs the test host"; return 2; }
	load backing="$BACKING" || return 1
	for what in puts flushes; do echo 11 >$PARAMETERS/test_fault_${what}_every; done
	verified_io 64M || return 1
	[ "$(stat puts_failed)" -gt 0 ] || { wrong "no put failed"; return 1; }
	for what in puts flushes; do echo 0 >$PARAMETERS/test_fault_${what}_every; done
	echo 3 >$PARAMETERS/test_break_batch_every
	dd if=/dev/urandom of=/tmp/random bs=1M count=16 2>/dev/null
	dd if=/tmp/random of=/dev/tmem0 bs=1M oflag=direct 2>/dev/null || { wrong "dd"; return 1; }
	echo 0 >$PARAMETERS/test_break_batch_every
	dd if=/dev/tmem0 bs=1M count=16 iflag=direct 2>/dev/null | cmp - /tmp/random || { wrong "data differ"; return 1; }
	unload
}

scenario_lost_page_is_an_error_not_zeros() {
	fake || { wrong "needs the test host"; return 2; }
	load size=16M || return 1
	dd if=/dev/urandom of=/dev/tmem0 bs=1M count=16 oflag=direct 2>/dev/null
	echo 5 >$PARAMETERS/test_lose_every
	! dd if=/dev/tmem0 of=/dev/null bs=1M iflag=direct 2>/dev/null || { wrong "a lost page was read"; return 1; }
	[ "$(stat gets_failed)" -gt 0 ] || { wrong "not counted"; return 1; }
	unload
}

scenario_rmmod_while_in_use_is_refused() {
	load size=64M || return 1
	swap_on || { wrong "swapon"; return 1; }
	! rmmod tmem 2>/dev/null || { wrong "rmmod succeeded under swap"; return 1; }
	swap_off || return 1
	mkdir -p /tmp/mnt
	mke2fs -F -b 4096 /dev/tmem0 >/dev/null 2>&1 && mount -t ext4 /dev/tmem0 /tmp/mnt || { wrong "mount"; return 1; }
	! rmmod tmem 2>/dev/null || { wrong "rmmod succeeded under a mount"; return 1; }
	umount /tmp/mnt && unload
}

# --- a machine that sleeps

# Were it not refused, the guest would be off at the end.
scenario_hibernation_is_refused() {
	grep -qw disk /sys/power/state 2>/dev/null || { wrong "this kernel has no hibernation"; return 2; }
	load size=512M || return 1
	swap_on || { wrong "swapon"; return 1; }
	pressure || return 1
	! (echo disk >/sys/power/state) 2>/dev/null || { wrong "the machine hibernated"; return 1; }
	dmesg | grep -q 'tmem: no hibernation' || { dmesg | tail -5; wrong "not refused by the driver"; return 1; }
	# Userspace snapshots.
	if [ -c /dev/snapshot ]; then
		! (exec 3</dev/snapshot) 2>/dev/null || { wrong "a snapshot was begun"; return 1; }
	fi
	swap_off && unload
}

scenario_pages_outlive_a_suspend() {
	# QEMU's clock does not end the sleep of an idle machine (s2idle), with this driver or without.
	[ -e /sys/class/rtc/rtc0/wakealarm ] && grep -qF '[deep]' /sys/power/mem_sleep 2>/dev/null || { wrong "nothing to sleep or wake with"; return 2; }
	load size=512M || return 1
	swap_on || { wrong "swapon"; return 1; }
	rm -f /tmp/enough
	MOST=max limited 16 sh -c 'until [ -e /tmp/enough ]; do tmem-workload run --memory 48M --passes 2 || exit 1; done' \
		>/tmp/workload.log 2>&1 &
	job=$!
	while [ "$(held)" -lt 6000 ] && kill -0 $job 2>/dev/null; do sleep 1; done
	slept=$(sed -n 's/^success: //p' /sys/kernel/debug/suspend_stats)
	for _ in 1 2 3 4 5 6 7 8; do
		[ "$(sed -n 's/^success: //p' /sys/kernel/debug/suspend_stats)" -lt $((slept + 3)) ] || break
		say "sleeping with $(held) pages at the host"
		# An alarm that comes before the machine sleeps keeps it awake, for which it has to know how many came before.
		count=$(cat /sys/power/wakeup_count)
		echo 0 >/sys/class/rtc/rtc0/wakealarm
		echo +10 >/sys/class/rtc/rtc0/wakealarm
		echo "$count" >/sys/power/wakeup_count && echo mem >/sys/power/state
	done
	slept=$(($(sed -n 's/^success: //p' /sys/kernel/debug/suspend_stats) - slept))
	touch /tmp/enough
	wait $job || { tail -20 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
	[ $slept -ge 3 ] || { wrong "slept $slept times"; return 1; }
	swap_off && unload
}

# --- a kernel that is gone without a word, and the one after it, which the host takes for the same

scenario_kexec_with_pages_in_the_store() {
	load size=512M backing="$BACKING" || return 1
	swap_on || { wrong "swapon"; return 1; }
	cat "$KERNEL" >/tmp/kernel && cat "$INITRD" >/tmp/initrd || { wrong "no kernel to boot"; return 1; }
	limited 16 tmem-workload run --memory 48M --passes 100 >/tmp/workload.log 2>&1 &
	job=$!
	while [ "$(held)" -lt 6000 ] && kill -0 $job 2>/dev/null; do sleep 1; done
	[ "$(held)" -ge 6000 ] || { wrong "the host holds only $(held) pages"; return 1; }
	say "pages in the store: $(held), booting another kernel"
	"$here/kexec" /tmp/kernel /tmp/initrd "$(sed 's/kexec_with_pages_in_the_store/after_a_kexec/' /proc/cmdline)"
	wrong "still there"
}

scenario_after_a_kexec() {
	load size=64M || return 1
	dmesg | grep -o 'destroyed 1 of 1 pools that an earlier boot left' || { dmesg | tail; wrong "no pool was left"; return 1; }
	[ "$(sed -n 's/^pools //p' /sys/kernel/debug/tmem/host)" = 1 ] && [ "$(held)" = 0 ] ||
		{ cat /sys/kernel/debug/tmem/host; wrong "more than the driver's own pool, or pages in it"; return 1; }
	[ "$(cat /dev/tmem0 | tr -d '\0' | wc -c)" = 0 ] || { wrong "something is not zero"; return 1; }
	swap_on || { wrong "swapon"; return 1; }
	pressure || return 1
	swap_off && unload
}

grep -q ' /sys/kernel/debug ' /proc/mounts || mount -t debugfs none /sys/kernel/debug
grep -q ' /sys/fs/cgroup ' /proc/mounts || mount -t cgroup2 none /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control

# A task that waits for so long will wait forever; the kernel then says so, and the scenario has failed.
echo 60 >/proc/sys/kernel/hung_task_timeout_secs
echo 1000 >/proc/sys/kernel/hung_task_warnings

[ $# -gt 0 ] || set -- $(sed -n 's/^scenario_\([a-z0-9_]*\)().*/\1/p' "$self")
for name; do
	reason=
	if ! still_looking; then
		echo "FAIL $name: lockdep is off before it starts"
		fails=$((fails + 1))
	fi
	dmesg -c >/tmp/dmesg.before
	killed=$(oom_kills)
	echo "start $name"
	scenario_"$name"
	case $? in
	0) echo "ok $name" ;;
	2) echo "skip $name: $reason" ;;
	*)
		echo "FAIL $name: $reason"
		cat /tmp/insmod.err
		dmesg | tail -20
		fails=$((fails + 1))
		swapoff /dev/tmem0 2>/dev/null
		umount /tmp/mnt 2>/dev/null
		rmmod tmem 2>/dev/null
		;;
	esac
	# Of messages the log may have lost some, the counter has them all.
	if complaints || [ "$(oom_kills)" != "$killed" ]; then
		echo "FAIL $name: the kernel complained, or has killed $(($(oom_kills) - killed)) processes"
		fails=$((fails + 1))
	fi
done
# What went back and forth, for the record of whoever watches.
for what in puts gets flushes; do eval "echo counted device_$what \${all_$what:-0}"; done
count_races
exit $fails
