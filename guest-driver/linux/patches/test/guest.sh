#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Scenarios for a kernel with the patches, to be run as root in a guest that has nothing to lose:
#
#   guest.sh [SCENARIO]...
#
# Needs busybox or the usual tools, fio, stress-ng, e2fsprogs, xfsprogs, dmsetup, bindfs, tmem-workload (images/workload), coherency, edges,
# stale, blocks and borrowers (beside this file), and two spare disks: SWAP (default /dev/vda) and DISK (default /dev/vdb). STORE (default ./fakestore.ko) is a module that registers as the
# back end; with tmem.ko in its place, or none (STORE=), the scenarios that need the fake store's tricks are skipped.
# OPTIONS has further parameters for it.
# OFFERS (default "swap,clean") is what goes to the store, where the options or the host keep a use out.
# LISTENS (default empty) says that the host reads the console and does what hosts.sh asks for.
# ROUND (default 0) makes the torture do other things than in another round.
# CGROUP_V1 (default empty) says that memory is limited by the older kind of groups.
# CANARY (default ./canary.ko) is a module that misbehaves, for the scenario about kernels with lockdep and KASAN.
# Prints "ok NAME", "skip NAME reason" or "FAIL NAME reason"; exits with the number of failures.

SWAP=${SWAP:-/dev/vda}
DISK=${DISK:-/dev/vdb}
STORE=${STORE-./fakestore.ko}
OFFERS=${OFFERS:-swap,clean}
CANARY=${CANARY:-./canary.ko}
OPERATIONS=${OPERATIONS:-1500}
SECONDS_OF_STRESS=${SECONDS_OF_STRESS:-20}
ROUND=${ROUND:-0}
COUNTERS=/sys/kernel/tmem
THP=/sys/kernel/mm/transparent_hugepage
ZSWAP=/sys/module/zswap/parameters
LIMIT_HIT=/sys/kernel/debug/zswap/pool_limit_hit
MNT=/mnt
CGROUP=/sys/fs/cgroup/tmem-test
[ -z "$CGROUP_V1" ] || CGROUP=/tmp/memory/tmem-test
fails=0
here=$(cd "$(dirname "$0")" && pwd)
self=$here/$(basename "$0")
PATH=$here:$PATH
complaints_sh=$here/complaints.sh
[ -e "$complaints_sh" ] || complaints_sh=$here/../../test/complaints.sh
# shellcheck source=../../test/complaints.sh
. "$complaints_sh"
# shellcheck source=hosts.sh
. "$here/hosts.sh"
# shellcheck source=traces.sh
. "$here/traces.sh"
# shellcheck source=swaps.sh
. "$here/swaps.sh"
# shellcheck source=disks.sh
. "$here/disks.sh"
# shellcheck source=layers.sh
. "$here/layers.sh"
case $STORE in '' | /*) ;; *) STORE=$PWD/$STORE ;; esac
case $CANARY in /*) ;; *) CANARY=$PWD/$CANARY ;; esac
# Programs leave files where they are.
cd /tmp

module=$(basename "$STORE" .ko)
fake() { [ "$module" = fakestore ]; }
say() { echo "    $*"; }
wrong() { reason="$*"; return 1; }
counter() { cat $COUNTERS/"$1" 2>/dev/null || echo 0; }
# By how much a counter has grown in this scenario.
gained() { echo $(($(counter "$1") - $(cat /tmp/counters/"$1" 2>/dev/null || echo 0))); }
need_host() { [ "$module" = tmem ] || { skip="needs a host"; return 1; }; }
need_fake() { fake || { skip="needs the fake store"; return 1; }; }

# load USES [PARAMETER]...: registers the back end. USES is swap, clean or both.
load() {
	uses=$1
	shift
	[ -n "$STORE" ] || return 0
	case $module,$uses in
	fakestore,swap) set -- uses=1 "$@" ;;
	fakestore,clean) set -- uses=2 "$@" ;;
	tmem,swap) set -- clean=0 "$@" ;;
	tmem,clean) set -- swap=0 "$@" ;;
	esac
	# shellcheck disable=SC2086 # words, on purpose
	insmod "$STORE" "$@" $OPTIONS || wrong "cannot load $STORE $*"
}

unload() {
	[ -n "$STORE" ] || return 0
	if fake; then
		[ "$(cat /sys/module/fakestore/parameters/wrong)" = 0 ] || { wrong "calls against the contract"; return 1; }
	fi
	malformed=$(cat /sys/module/tmem/parameters/test_malformed 2>/dev/null)
	[ "${malformed:-0}" = 0 ] || { wrong "$malformed malformed calls"; return 1; }
	rmmod "$module" || wrong "cannot unload $module"
}

# Large folios are swapped out whole where seeking costs nothing.
swap_on() { echo 0 >/sys/block/"${SWAP#/dev/}"/queue/rotational; mkswap "$SWAP" >/dev/null && swapon "$SWAP" || wrong "cannot swap on $SWAP"; }
swap_off() { swapoff "$SWAP" || wrong "swapoff failed"; }

new_fs() {
	mkfs.ext4 -q -F -b 4096 "$@" "$DISK" && mkdir -p $MNT && mount "$DISK" $MNT || wrong "no file system"
}

new_xfs() {
	grep -qw xfs /proc/filesystems || { wrong "no XFS in this kernel"; return 1; }
	mkfs.xfs -q -f "$@" "$DISK" 2>/tmp/mkfs.log && mkdir -p $MNT && mount -t xfs "$DISK" $MNT || wrong "no file system"
}

# Unmounts, and looks at what is on the disk.
end_fs() {
	fsck="e2fsck -fn"
	! grep -q "^$DISK $MNT xfs " /proc/mounts || fsck="xfs_repair -n"
	umount $MNT || { wrong "umount failed"; return 1; }
	$fsck "$DISK" >/tmp/fsck.log 2>&1 || { tail /tmp/fsck.log; wrong "$fsck found damage"; }
}

# Anonymous memory in folios of 2 MiB where they can be had.
large_folios() { echo always >$THP/enabled; }

# limited MIB COMMAND: in a group that has so much memory. Beyond it waits, and is not killed while all that it could give up is on
# its way to a slow disk; at MOST (default: twice as much) it is.
limited() {
	mkdir -p $CGROUP
	if [ -n "$CGROUP_V1" ]; then
		# There is no limit here that only makes wait.
		echo "${MOST:-$(($1 * 2))M}" | sed 's/^max$/-1/' >$CGROUP/memory.limit_in_bytes
		echo $(($1 << 20)) >$CGROUP/memory.soft_limit_in_bytes
	else
		echo "$1"M >$CGROUP/memory.high
		echo "${MOST:-$(($1 * 2))M}" >$CGROUP/memory.max
	fi
	shift
	sh -c 'echo $$ >'$CGROUP'/cgroup.procs; exec "$@"' sh "$@"
}

# A job that failed leaves its reader, which keeps the files in use.
end_jobs() { while ! kill_group || grep -q . $CGROUP/cgroup.procs; do sleep 1; done; }

ratio() { say "$1: $(gained "$1") pages in $(gained "$2") calls"; }

# Anonymous memory three times as large as what fits, all of it verified.
swap_pressure() {
	limited 64 stress-ng --vm 2 --vm-bytes 96M --vm-method "${1:-all}" --verify --timeout "$SECONDS_OF_STRESS" \
		--metrics-brief --oomable >/tmp/stress.log 2>&1 || { tail -20 /tmp/stress.log; wrong "stress-ng failed"; return 1; }
	! grep -iE 'fail|corrupt|mismatch' /tmp/stress.log | grep -v 'failed: 0' || { wrong "stress-ng found a difference"; return 1; }
	# However slow the kernel: in a given time a stress may hardly begin.
	swap_work && swap_story
}

# Swaps out what does not fit, and checks every page of it.
swap_work() {
	limited 64 tmem-workload run --memory 96M --passes 1 "$@" >/tmp/workload.log 2>&1 ||
		{ tail -5 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
}

# What has become of the pages that were swapped out in this scenario.
swap_story() {
	say "swap_puts $(gained swap_puts), refused $(gained swap_refused), pages to the disk $(($(pswpout) - swapped))"
	[ "$(gained swap_lost)" = 0 ] || wrong "pages were lost"
}

# start_load MIB MEMORY: anonymous memory that does not fit into so much, checked in every pass, until end_load.
start_load() {
	rm -f /tmp/enough
	limited "$1" sh -c 'until [ -e /tmp/enough ]; do tmem-workload run --memory "$0" --passes 2 || exit 1; done' "$2" \
		>/tmp/workload.log 2>&1 &
	load=$!
}

# Ends it; every page of it was right.
end_load() {
	touch /tmp/enough
	wait $load || { tail -5 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
}

# load_makes COUNTER GROW: the load goes on until it has made the counter grow by so much.
load_makes() {
	from=$(counter "$1") looks=0
	while [ $(($(counter "$1") - from)) -lt "$2" ]; do
		looks=$((looks + 1))
		kill -0 $load 2>/dev/null && [ $looks -lt 1000 ] ||
			{ tail -5 /tmp/workload.log; wrong "$1 grew by $(($(counter "$1") - from)) only"; return 1; }
		sleep 1
	done
}

# KiB in use of a swap area.
used_of() { sed -n "s|^$1[ \t]*[a-z]*[ \t]*[0-9]*[ \t]*\([0-9]*\).*|\1|p" /proc/swaps; }

# swapoff_under_load DEVICE: while the load runs in as little memory as before, and with much of it in tmem, which comes back.
swapoff_under_load() {
	looks=0
	# Between two runs of the load there is nothing in use.
	while [ "$(used_of "$1")" -lt 16384 ]; do
		looks=$((looks + 1))
		[ $looks -lt 1000 ] || { wrong "$(used_of "$1") KiB of $1 are in use"; return 1; }
		sleep 1
	done
	inside=$(used_of "$1") got=$(counter swap_gets)
	swapoff "$1" || { wrong "swapoff failed"; return 1; }
	got=$(($(counter swap_gets) - got))
	kill -0 $load 2>/dev/null || { tail -5 /tmp/workload.log; wrong "the load ended before swapoff"; return 1; }
	say "swapoff with $((inside / 4)) slots of $1 in use: $got pages came back"
	[ $got -gt 1000 ] || { wrong "only $got pages came back at swapoff"; return 1; }
}

pswpout() { sed -n 's/^pswpout //p' /proc/vmstat; }

# Reads a file that does not fit into memory, so that parts of it are in the store and no longer in the page cache.
fill_store() {
	puts=$(counter clean_puts)
	sync
	echo 3 >/proc/sys/vm/drop_caches
	limited 12 cat "$1" >/dev/null
	limited 12 cat "$1" >/dev/null
	[ -z "$STORE" ] || [ $(($(counter clean_puts) - puts)) -gt 1000 ] || wrong "hardly a page was put"
}

used() { [ -z "$STORE" ] || [ "$(gained "$1")" -gt "$2" ] || wrong "$1 is only $(gained "$1")"; }

torture() {
	limited "${LIMIT:-24}" coherency $MNT $((${SEED:-1} + 100 * ROUND)) "$OPERATIONS" "$@" >/tmp/torture.log 2>&1 ||
		{ tail -20 /tmp/torture.log; wrong "coherency"; return 1; }
	for c in clean_puts clean_refused clean_put_calls clean_gets clean_hits clean_get_calls clean_gets_spared \
		clean_flush_calls clean_flushes_spared; do
		[ -z "$STORE" ] || printf '    %s %s\n' $c "$(gained $c)"
	done
}

# --- swap

scenario_swap_pages_come_back() {
	load swap || return 1
	swap_on && swap_pressure && swap_off && unload || return 1
	ratio swap_puts swap_put_calls
	ratio swap_flushes swap_flush_calls
	used swap_puts 1000
}

scenario_swap_large_folios_travel_together() {
	load swap pages=60000 || return 1
	large_folios
	swap_on || return 1
	limited 64 tmem-workload run --memory 144M --threads 1 >/tmp/workload.log 2>&1 ||
		{ tail -5 /tmp/workload.log; wrong "tmem-workload failed"; return 1; }
	swap_off && unload || return 1
	puts=$(gained swap_puts) calls=$(gained swap_put_calls)
	say "$puts pages in $calls calls"
	# Not all folios are large, or stay so until they are swapped out.
	[ "$puts" -gt $((calls + 1000)) ] || wrong "only $puts pages in $calls calls"
}

scenario_swap_refusals_go_to_the_disk() {
	need_fake || return 2
	load swap refuse_every=3 || return 1
	large_folios
	swap_on && swap_pressure && swap_off && unload || return 1
	used swap_refused 1000
}

scenario_swap_failed_puts_leave_nothing_behind() {
	need_fake || return 2
	load swap fail_every=5 || return 1
	large_folios
	swap_on && swap_pressure && swap_off && unload || return 1
	used swap_refused 200
}

# A page that zswap and the store have refused goes to the disk, without being offered to them again.
scenario_swap_refused_pages_are_offered_once() {
	need_fake || return 2
	[ -e $ZSWAP/enabled ] && [ -e $CGROUP/memory.zswap.writeback ] || { skip="needs a kernel with zswap"; return 2; }
	load swap refuse_every=1 || return 1
	swap_on || return 1
	[ -e $LIMIT_HIT ] || mount -t debugfs none /sys/kernel/debug
	# It has no room for any page, and counts how often it finds that.
	percent=$(cat $ZSWAP/max_pool_percent)
	echo 0 >$ZSWAP/max_pool_percent && echo Y >$ZSWAP/enabled || { wrong "no zswap"; return 1; }
	for writeback in 1 0; do
		echo $writeback >$CGROUP/memory.zswap.writeback
		hits=$(cat $LIMIT_HIT) refused=$(counter swap_refused) swapped=$(pswpout)
		active=$(sed -n 's/^pgactivate //p' $CGROUP/memory.stat)
		limited 64 edges pageout 8 || { wrong "pageout"; break; }
		hits=$(($(cat $LIMIT_HIT) - hits)) refused=$(($(counter swap_refused) - refused))
		active=$(($(sed -n 's/^pgactivate //p' $CGROUP/memory.stat) - active)) swapped=$(($(pswpout) - swapped))
		say "writeback $writeback: $refused pages refused, zswap asked $hits times, $swapped to the disk, $active activated"
		[ $refused -gt 1000 ] || { wrong "only $refused pages were refused"; break; }
		[ $hits -gt 1000 ] || { wrong "zswap was asked $hits times"; break; }
		# A few pages are not the program's.
		[ $hits -lt $((refused + refused / 4)) ] || { wrong "zswap was asked twice"; break; }
		if [ $writeback = 1 ]; then
			[ $swapped -gt 1000 ] || { wrong "only $swapped pages went to the disk"; break; }
		else
			[ $swapped -lt 100 ] && [ $active -gt 1000 ] || { wrong "they are not active"; break; }
		fi
	done
	echo 1 >$CGROUP/memory.zswap.writeback
	echo N >$ZSWAP/enabled
	echo "$percent" >$ZSWAP/max_pool_percent
	[ -z "$reason" ] && swap_off && unload
}

# stale_reads COMMAND: how many reads were older than what the CPU had seen before, and of how many rounds.
stale_reads() {
	limited 64 "$@" >/tmp/stale.log 2>&1 || { cat /tmp/stale.log; wrong "stale"; return 1; }
	say "$(cat /tmp/stale.log)"
	stale=$(sed 's/.*reads \([0-9]*\) stale.*/\1/' /tmp/stale.log)
}

# no_more_stale_reads COUNT: with tmem no more than without, where there are a few when a disk is faster than the TLB's flush.
no_more_stale_reads() {
	say "stale reads with tmem: $stale, without: $1"
	[ "$stale" -le $(($1 + 2)) ] || wrong "$stale stale reads, without tmem $1"
}

three_cpus() { [ "$(nproc)" -ge 3 ] || { skip="needs three CPUs"; return 1; }; }

scenario_swap_no_cpu_reads_an_old_page() {
	[ -n "$STORE" ] && three_cpus || return 2
	swap_on && stale_reads stale anon $((OPERATIONS * 2)) && swap_off || return 1
	without=$stale
	load swap && swap_on && stale_reads stale anon $((OPERATIONS * 2)) && swap_off && unload || return 1
	used swap_gets 100 && no_more_stale_reads "$without"
}

# Over a real host its store has to be small; what does not compress fills it.
scenario_swap_store_is_full() {
	load swap pages=4000 || return 1
	swap_on || return 1
	swap_work --mix random=100 && swap_story && swap_off && unload || return 1
	used swap_refused 1000
}

scenario_swap_back_end_comes_late_and_may_not_go() {
	[ -n "$STORE" ] || return 2
	swap_on || return 1
	swap_pressure || return 1
	load swap || return 1
	swap_pressure || return 1
	used swap_puts 1000 || return 1
	! rmmod "$module" 2>/dev/null || { wrong "unloaded under swap"; return 1; }
	swap_off && unload
}

# One area: while it is off all of the load is in memory, above what it should have. It waits then, and more would be its end.
scenario_swapoff_under_pressure() {
	[ -n "$STORE" ] || return 2
	load swap && swap_on || return 1
	MOST=max start_load 64 120M
	for _ in 1 2 3; do
		load_makes swap_puts 4000 && swapoff_under_load "$SWAP" || return 1
		swapon "$SWAP" || { wrong "swapon failed"; return 1; }
	done
	load_makes swap_puts 4000 && end_load && swap_story && swap_off && unload
}

# A small area before a large one: what one gives back goes to the other, and to memory above what the load should have.
scenario_swap_two_areas_do_not_touch() {
	[ -n "$STORE" ] || return 2
	load swap || return 1
	mkswap "$DISK" 32768 >/dev/null && swapon "$DISK" && swap_on || { wrong "swapon"; return 1; }
	MOST=max start_load 64 160M
	# What is switched on is used last.
	for area in "$DISK" "$SWAP" "$DISK"; do
		load_makes swap_puts 4000 && swapoff_under_load "$area" || return 1
		swapon "$area" || { wrong "swapon failed"; return 1; }
	done
	load_makes swap_puts 4000 && end_load && swap_story || return 1
	swapoff "$DISK" && swap_off && unload
}

# Where the host may take nothing at all: what counts is that every page is right.
scenario_swap_whatever_the_host_does() {
	load swap || return 1
	swap_on && swap_pressure && swap_off && unload
}

# without_driver MESSAGE: the driver does not load, says why, and the kernel does without.
without_driver() {
	! insmod "$STORE" 2>/tmp/insmod.log || { wrong "loaded without a host"; return 1; }
	dmesg | grep -q "$1" || { wrong "no word about it in the log"; return 1; }
	swap_on && swap_pressure && swap_off || return 1
	new_fs && torture 4 8 2 && end_fs
}

scenario_no_host_no_driver() { without_driver 'no tmem'; }

scenario_no_pool_no_driver() { without_driver 'refused a persistent pool: error -1$'; }

scenario_no_room_no_driver() { without_driver 'refused a persistent pool: error -12$'; }

# --- a reset in the middle of everything, and the boot after it

scenario_reset_with_pages_in_the_store() {
	load both || return 1
	swap_on && new_fs || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null
	md5sum <$MNT/file >$MNT/sum
	fill_store $MNT/file || return 1
	limited 64 tmem-workload run --memory 128M --passes 100 >/tmp/workload.log 2>&1 &
	while [ "$(counter swap_puts)" -lt 8000 ] && kill -0 $! 2>/dev/null; do sleep 1; done
	used swap_puts 8000 || return 1
	limited 24 coherency $MNT 11 100000 2 8 2 >/tmp/torture.log 2>&1 &
	sleep "$SECONDS_OF_STRESS"
	echo "    $(sed -n 's/^persistent_pages/pages in the store:/p' /sys/kernel/debug/tmem/host), resetting"
	reboot -f
	sleep 60
	wrong "still there after the reset"
}

scenario_after_a_reset() {
	load both || return 1
	pools=$(sed -n 's/^pools //p' /sys/kernel/debug/tmem/host)
	held=$(sed -n 's/^persistent_pages //p' /sys/kernel/debug/tmem/host)
	# The driver's own disk has one.
	[ "$pools" = 1 ] && [ "$held" = 0 ] || { wrong "$pools pools with $held pages at load"; return 1; }
	mount "$DISK" $MNT || { wrong "mount"; return 1; }
	[ "$(cat $MNT/sum)" = "$(md5sum <$MNT/file)" ] || { wrong "the file is different"; return 1; }
	fill_store $MNT/file || return 1
	[ "$(cat $MNT/sum)" = "$(md5sum <$MNT/file)" ] || { wrong "the file is different over the store"; return 1; }
	end_fs || return 1
	swap_on && swap_pressure && swap_off || return 1
	new_fs && SEED=12 torture 4 8 2 && end_fs && unload
}

# --- clean pages

scenario_clean_whatever_the_host_does() {
	load clean || return 1
	new_fs && SEED=10 torture 4 8 2 && end_fs && unload
}

# Each takes what makes the file system: new_fs or new_xfs, with options for mkfs.

torture_on() {
	load clean || return 1
	"$@" && torture 4 8 2 && end_fs && unload || return 1
	used clean_hits 1000
}

torture_with_loss_on() {
	need_fake || return 2
	load clean lose_every=3 refuse_every=7 fail_every=11 || return 1
	"$@" && SEED=2 torture 4 8 2 && end_fs && unload
}

# That the torture would notice: it has to fail over a store that forgets to flush.
torture_finds_stale_pages_on() {
	need_fake || return 2
	load clean ignore_flushes=1 || return 1
	"$@" || return 1
	! SEED=9 torture 4 8 2 >/dev/null || { wrong "stale pages went unnoticed"; return 1; }
	grep -E '^(DIFFERENT|STALE)' /tmp/torture.log || { wrong "it failed for another reason"; return 1; }
	end_jobs
	end_fs && unload
}

scenario_clean_torture() { torture_on new_fs; }

scenario_clean_torture_with_loss() { torture_with_loss_on new_fs; }

scenario_clean_torture_finds_stale_pages() { torture_finds_stale_pages_on new_fs; }

scenario_clean_torture_in_a_small_store() {
	need_fake || return 2
	load clean pages=1500 || return 1
	new_fs && SEED=3 torture 4 8 2 && end_fs && unload
}

scenario_clean_torture_without_a_journal() {
	load clean || return 1
	new_fs -O ^has_journal && SEED=4 torture 4 8 2 && end_fs && unload
}

scenario_clean_torture_with_the_journal_of_data() {
	load clean || return 1
	new_fs || return 1
	umount $MNT
	mount -o data=journal "$DISK" $MNT || { wrong "mount"; return 1; }
	SEED=5 torture 3 6 2 && end_fs && unload
}

scenario_clean_flush_that_fails_ends_it() {
	need_fake || return 2
	load clean flush_fail_every=50 || return 1
	new_fs && SEED=6 torture 4 8 1 && end_fs && unload
}

back_end_comes_and_goes_on() {
	[ -n "$STORE" ] || return 2
	"$@" || return 1
	limited 24 coherency $MNT $((7 + 100 * ROUND)) "$OPERATIONS" 4 8 2 >/tmp/torture.log 2>&1 &
	torture=$!
	while kill -0 $torture 2>/dev/null; do
		load clean || return 1
		limited 24 cat $MNT/* >/dev/null
		unload || return 1
	done
	wait $torture || { tail -20 /tmp/torture.log; wrong "coherency"; return 1; }
	end_fs
}

scenario_clean_back_end_comes_and_goes() { back_end_comes_and_goes_on new_fs; }

# Clean pages that the store holds for this guest.
clean_held() {
	if fake; then
		cat /sys/module/fakestore/parameters/held
	elif [ -n "$STORE" ]; then
		sed -n 's/^ephemeral_pages //p' /sys/kernel/debug/tmem/host
	else
		echo 0
	fi
}

# Blocks of a file: the first, and how many.
extents_of() {
	xfs_io -r -c fiemap "$1" | sed -n 's/.*]: \([0-9]*\)\.\.\([0-9]*\).*/\1 \2/p' | while read -r first last; do
		echo $((first / 8)) $(((last + 1 - first) / 8))
	done
}

# While nothing is mounted the disk changes, as by a fsck or another machine; the file keeps its number and generation.
pages_do_not_outlive_the_mount_on() {
	load clean || return 1
	"$@" || return 1
	dd if=/dev/zero of=$MNT/file bs=1M count=40 2>/dev/null
	sync
	fill_store $MNT/file || return 1
	type=$(sed -n "s|^$DISK $MNT \([a-z0-9]*\) .*|\1|p" /proc/mounts)
	extents_of $MNT/file >/tmp/extents
	umount $MNT || { wrong "umount failed"; return 1; }
	left=60
	while [ "$(clean_held)" != 0 ] && [ $left -gt 0 ]; do
		# A host releases what nobody can reach any more by and by.
		sleep 1
		left=$((left - 1))
	done
	[ "$(clean_held)" = 0 ] || { wrong "$(clean_held) pages were left"; return 1; }
	blocks=0
	while read -r first n; do
		tr '\0' x </dev/zero 2>/dev/null |
			dd of="$DISK" bs=4096 seek="$first" count="$n" iflag=fullblock conv=notrunc,fsync 2>/dev/null
		blocks=$((blocks + n))
	done </tmp/extents
	[ $blocks = 10240 ] || { wrong "of 10240 blocks $blocks were found"; return 1; }
	mount -t "$type" "$DISK" $MNT || { wrong "mount"; return 1; }
	[ "$(tr -d x <$MNT/file | wc -c)" = 0 ] || { wrong "pages of the mount before"; return 1; }
	end_fs && unload
}

scenario_clean_pages_do_not_outlive_the_mount() { pages_do_not_outlive_the_mount_on new_fs; }

pages_outlive_the_inode_on() {
	load clean || return 1
	"$@" || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=30 2>/dev/null
	sum=$(md5sum <$MNT/file)
	dd if=/dev/zero of=$MNT/other bs=1M count=40 2>/dev/null
	fill_store $MNT/file && push_out $MNT/file || return 1
	hits=$(counter clean_hits)
	# Without a page in memory the inode may go; pages themselves are left alone.
	echo 2 >/proc/sys/vm/drop_caches
	[ "$sum" = "$(md5sum <$MNT/file)" ] || { wrong "the file is different"; return 1; }
	say "hits after the inode was gone: $(($(counter clean_hits) - hits))"
	[ -z "$STORE" ] || [ $(($(counter clean_hits) - hits)) -gt 100 ] || { wrong "no hits"; return 1; }
	end_fs && unload
}

scenario_clean_pages_outlive_the_inode() { pages_outlive_the_inode_on new_fs; }

# Of a small memory, everything else takes the place of these files.
push_out() {
	limited 12 cat "$@" >/dev/null && limited 12 cat $MNT/other >/dev/null && limited 12 cat $MNT/other >/dev/null
}

# What is on the disk behind the end of a file may be anything, after a crash for example; when the file grows it is zeros.
scenario_clean_old_tails_do_not_come_back() {
	load clean || return 1
	new_fs || return 1
	for i in $(seq 1 128); do printf '%100s' x >$MNT/tail"$i"; done
	dd if=/dev/zero of=$MNT/other bs=1M count=40 2>/dev/null
	sync
	for i in $(seq 1 128); do extents_of $MNT/tail"$i"; done >/tmp/extents
	umount $MNT || { wrong "umount failed"; return 1; }
	{ printf '%100s' x && tr '\0' A </dev/zero | head -c 3996; } >/tmp/block
	while read -r block n; do
		dd if=/tmp/block of="$DISK" bs=4096 seek="$block" conv=notrunc 2>/dev/null
	done </tmp/extents
	[ "$(wc -l </tmp/extents)" = 128 ] && mount "$DISK" $MNT || { wrong "mount"; return 1; }
	push_out $MNT/tail* || return 1
	hits=$(counter clean_hits)
	for i in $(seq 1 2 128); do cat $MNT/tail"$i" >/dev/null; done
	say "of 64 tails $(($(counter clean_hits) - hits)) were in the store"
	[ -z "$STORE" ] || [ $(($(counter clean_hits) - hits)) -ge 32 ] || { wrong "they were not"; return 1; }
	for i in $(seq 2 2 128); do truncate -s 8192 $MNT/tail"$i"; done
	grown() { for i in $(seq 2 2 128); do cat $MNT/tail"$i"; done | tr -d '\0 x' | wc -c; }
	[ "$(grown)" = 0 ] || { wrong "old data behind the end: $(grown) bytes"; return 1; }
	sync
	echo 3 >/proc/sys/vm/drop_caches
	[ "$(grown)" = 0 ] || { wrong "old data behind the end, written to the disk: $(grown) bytes"; return 1; }
	end_fs && unload
}

# Two files exchange their blocks while their pages are in the store.
scenario_clean_moved_extents() {
	load clean || return 1
	new_fs || return 1
	for name in orig donor other; do
		dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\0' "$name" >$MNT/$name
	done
	for i in 1 2 3 4; do cat $MNT/other; done >$MNT/more && mv $MNT/more $MNT/other
	sync
	echo 3 >/proc/sys/vm/drop_caches
	push_out $MNT/orig $MNT/donor || return 1
	edges move $MNT/orig $MNT/donor >/tmp/edges.log 2>&1 || { cat /tmp/edges.log; wrong "exchanged blocks"; return 1; }
	say "$(cat /tmp/edges.log)"
	used clean_puts 2000 || return 1
	end_fs && unload
}

direct_writes_on() {
	load clean || return 1
	"$@" || return 1
	dd if=/dev/zero of=$MNT/file bs=1M count=24 2>/dev/null
	limited 12 edges direct $MNT/file "$OPERATIONS" >/tmp/edges.log 2>&1 ||
		{ cat /tmp/edges.log; wrong "reads after direct writes"; return 1; }
	say "$(cat /tmp/edges.log)"
	used clean_hits 1000 || return 1
	end_fs && unload
}

scenario_clean_direct_writes_are_seen() { direct_writes_on new_fs; }

# --- clean pages: what the disk does not have

# Each page of these files that has left memory since is what is on the disk.
is_on_the_disk() {
	push_out "$@" || return 1
	for file; do
		edges same "$file" >/tmp/edges.log 2>&1 ||
			{ cat /tmp/edges.log; wrong "$file is not what is on the disk"; return 1; }
		say "$(basename "$file"): $(cat /tmp/edges.log)"
	done
}

# overwritten BYTE: the blocks in /tmp/extents, around whatever is mounted.
overwritten() {
	while read -r first n; do
		tr '\0' "$1" </dev/zero 2>/dev/null |
			dd of="$DISK" bs=4096 seek="$first" count="$n" iflag=fullblock conv=notrunc,fsync 2>/dev/null
	done </tmp/extents
}

# Another machine, say, writes to the disk. Whoever asks for that has what is there now.
disk_changes_below_a_read_only_mount_on() {
	load clean || return 1
	"$@" || return 1
	dd if=/dev/zero of=$MNT/file bs=1M count=40 2>/dev/null
	sync
	type=$(sed -n "s|^$DISK $MNT \([a-z0-9]*\) .*|\1|p" /proc/mounts)
	extents_of $MNT/file >/tmp/extents
	umount $MNT && mount -t "$type" -o ro "$DISK" $MNT || { wrong "mount"; return 1; }
	fill_store $MNT/file || return 1
	overwritten x
	echo 1 >/proc/sys/vm/drop_caches
	[ "$(tr -d x <$MNT/file | wc -c)" = 0 ] || { wrong "old pages after drop_caches"; return 1; }
	fill_store $MNT/file || return 1
	overwritten y
	xfs_io -r -c 'fadvise -d 0 40m' $MNT/file || { wrong "fadvise"; return 1; }
	[ "$(tr -d y <$MNT/file | wc -c)" = 0 ] || { wrong "old pages after POSIX_FADV_DONTNEED"; return 1; }
	end_fs && unload
}

scenario_clean_disk_changes_below_a_read_only_mount() { disk_changes_below_a_read_only_mount_on new_fs; }

# A file system with a file of 16 MiB on a disk whose odd MiB cannot be written.
new_failing_fs() {
	new_fs && dd if=/dev/zero of=$MNT/other bs=1M count=40 2>/dev/null || return 1
	mkdir -p /tmp/backing /tmp/failing
	mount -t tmpfs -o size=40M none /tmp/backing && truncate -s 64M /tmp/backing/disk &&
		losetup /dev/loop0 /tmp/backing/disk && mkfs.ext4 -q -F -b 4096 -O ^has_journal /dev/loop0 &&
		mount /dev/loop0 /tmp/failing || { wrong "no file system on a loop device"; return 1; }
	dd if=/dev/urandom of=/tmp/failing/file bs=1M count=16 2>/dev/null
	sync
	extents_of /tmp/failing/file | while read -r first n; do
		for block in $(seq "$first" 512 $((first + n - 512))); do
			xfs_io -c "fpunch $(((block + 256) * 4096)) 1m" /tmp/backing/disk || echo no >/tmp/failing/no
		done
	done
	[ ! -e /tmp/failing/no ] || { wrong "no holes"; return 1; }
	# All that was there has been read before the holes.
	echo 3 >/proc/sys/vm/drop_caches
	dd if=/dev/zero of=/tmp/backing/rest bs=64k 2>/dev/null
	true
}

end_failing_fs() {
	umount /tmp/failing && losetup -d /dev/loop0 && umount /tmp/backing || { wrong "umount failed"; return 1; }
	# Of the loop device, whose errors were wanted.
	dmesg -c >/dev/null
	end_fs
}

scenario_clean_failed_writes_do_not_come_back() {
	load clean || return 1
	new_failing_fs || return 1
	tr '\0' B </dev/zero | limited 64 dd of=/tmp/failing/file bs=1M count=16 iflag=fullblock conv=notrunc 2>/dev/null
	! xfs_io -c fsync /tmp/failing/file 2>/dev/null || { wrong "nothing failed"; return 1; }
	is_on_the_disk /tmp/failing/file && end_failing_fs && unload
}

scenario_clean_failed_direct_writes_do_not_come_back() {
	load clean || return 1
	new_failing_fs || return 1
	limited 64 edges fail /tmp/failing/file >/tmp/edges.log 2>&1 ||
		{ cat /tmp/edges.log; wrong "not each direct write failed"; return 1; }
	is_on_the_disk /tmp/failing/file && end_failing_fs && unload
}

# The donor's pages stay in the page cache as they were; once they leave it they are what the blocks have.
scenario_clean_moved_extents_of_cached_files() {
	load clean || return 1
	new_fs || return 1
	for name in orig donor other; do
		dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\0' "$name" >$MNT/$name
	done
	for i in 1 2 3 4; do cat $MNT/other; done >$MNT/more && mv $MNT/more $MNT/other
	sync
	echo 3 >/proc/sys/vm/drop_caches
	limited 64 cat $MNT/orig $MNT/donor >/dev/null
	edges exchange $MNT/orig $MNT/donor >/tmp/edges.log 2>&1 || { cat /tmp/edges.log; wrong "exchange"; return 1; }
	is_on_the_disk $MNT/orig $MNT/donor && end_fs && unload
}

# Swap goes to a file's blocks around its page cache; what the file had before is in the store.
scenario_clean_swap_files_are_read_from_the_disk() {
	load clean || return 1
	new_fs || return 1
	dd if=/dev/zero of=$MNT/file bs=1M count=24 2>/dev/null
	dd if=/dev/zero of=$MNT/other bs=1M count=40 2>/dev/null
	mkswap $MNT/file >/dev/null && sync
	fill_store $MNT/file || return 1
	chmod 600 $MNT/file && swapon $MNT/file || { wrong "swapon"; return 1; }
	limited 64 edges pageout 20 || { wrong "pageout"; return 1; }
	[ $(($(pswpout) - swapped)) -gt 4000 ] || { wrong "only $(($(pswpout) - swapped)) pages were swapped"; return 1; }
	swapoff $MNT/file || { wrong "swapoff"; return 1; }
	is_on_the_disk $MNT/file && end_fs && unload
}

# A file of many TiB, almost all of it holes, with pages at both ends.
scenario_clean_far_pages_are_flushed_in_parts() {
	load clean || return 1
	new_fs -O ^has_journal || return 1
	dd if=/dev/zero of=$MNT/other bs=1M count=40 2>/dev/null
	for at in 0 1t 15t; do
		xfs_io -f -c "pwrite -q $at 8m" $MNT/file || { wrong "no file of 15 TiB"; return 1; }
	done
	sync
	echo 3 >/proc/sys/vm/drop_caches
	for at in 0 1t 15t; do limited 12 xfs_io -r -c "pread -q $at 8m" $MNT/file || return 1; done
	limited 12 cat $MNT/other >/dev/null && limited 12 cat $MNT/other >/dev/null
	used clean_puts 4000 || return 1
	calls=$(counter clean_flush_calls)
	truncate -s 0 $MNT/file
	calls=$(($(counter clean_flush_calls) - calls))
	say "truncated with $calls flushes"
	# A part of 1 GiB is one; a filter that has few bits set hardly errs.
	[ $calls -ge 3 ] && [ $calls -lt 64 ] || { wrong "$calls flushes"; return 1; }
	end_fs && unload
}

scenario_clean_no_cpu_reads_an_old_page() {
	[ -n "$STORE" ] && three_cpus || return 2
	new_fs && dd if=/dev/zero of=$MNT/file bs=4096 count=96 2>/dev/null || return 1
	stale_reads stale file $MNT/file $((OPERATIONS * 2)) || return 1
	without=$stale
	load clean && stale_reads stale file $MNT/file $((OPERATIONS * 2)) && end_fs && unload || return 1
	used clean_hits 1000 && no_more_stale_reads "$without"
}

# --- clean pages: who may be offered

# puts_of_a_read_file: how many pages go to the store when it is read and does not fit.
puts_of_a_read_file() {
	puts=$(counter clean_puts)
	limited 12 cat $MNT/file >/dev/null
	limited 12 cat $MNT/file >/dev/null
	puts=$(($(counter clean_puts) - puts))
}

mounted_with() { grep -q "^$DISK $MNT .*[ ,]$1[, ]" /proc/mounts || wrong "/proc/mounts does not say $1"; }

scenario_clean_mount_options_decide() {
	[ -n "$STORE" ] || return 2
	load clean || return 1
	new_fs || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null
	sum=$(md5sum <$MNT/file)
	umount $MNT && mount -o notmem "$DISK" $MNT && mounted_with notmem || { wrong "mount -o notmem"; return 1; }
	puts_of_a_read_file
	[ $puts = 0 ] || { wrong "$puts pages were put with notmem"; return 1; }
	mount -o remount,tmem $MNT && mounted_with tmem || { wrong "remount,tmem"; return 1; }
	puts_of_a_read_file
	[ $puts -gt 1000 ] || { wrong "$puts pages were put with tmem"; return 1; }
	mount -o remount,notmem $MNT || { wrong "remount,notmem"; return 1; }
	puts_of_a_read_file
	[ $puts = 0 ] || { wrong "$puts pages were put after remount,notmem"; return 1; }
	[ "$sum" = "$(md5sum <$MNT/file)" ] || { wrong "the file is different"; return 1; }
	end_fs && unload
}

# Encryption below a file system, below another device, and below a loop device.
scenario_clean_sealed_devices_stay_out() {
	[ -n "$STORE" ] || return 2
	dmsetup targets 2>/dev/null | grep -q ^crypt || { skip="needs dmsetup and a kernel with dm-crypt"; return 2; }
	load both || return 1
	sectors=$(cat /sys/block/"${DISK#/dev/}"/size) plain=$DISK noudev="--noudevrules --noudevsync"
	echo "0 $sectors crypt aes-xts-plain64 $(printf %0128d 1) 0 $plain 0" | dmsetup $noudev create sealed &&
		echo "0 $sectors linear /dev/mapper/sealed 0" | dmsetup $noudev create above || { wrong "dmsetup"; return 1; }
	for DISK in /dev/mapper/sealed /dev/mapper/above; do
		new_fs && dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null && sync && puts_of_a_read_file || break
		[ $puts = 0 ] || { wrong "$puts pages of $DISK were put"; break; }
		mount -o remount,tmem $MNT && puts_of_a_read_file || { wrong "remount,tmem"; break; }
		[ $puts -gt 1000 ] || { wrong "$puts pages of $DISK were put with tmem"; break; }
		end_fs || break
	done
	[ -n "$reason" ] || sealed_swap
	umount $MNT 2>/dev/null
	dmsetup $noudev remove above && dmsetup $noudev remove sealed || wrong "${reason:-dmsetup remove}"
	DISK=$plain
	[ -z "$reason" ] && unload
}

sealed_swap() {
	mkswap "$DISK" >/dev/null && swapon "$DISK" || { wrong "swapon"; return 1; }
	swap_work && swapoff "$DISK" || { wrong "${reason:-swapoff}"; return 1; }
	[ "$(gained swap_puts)" = 0 ] || wrong "$(gained swap_puts) pages of swap on $DISK were put"
}

small_blocks_stay_out_on() {
	[ -n "$STORE" ] || return 2
	load clean || return 1
	before=$(counter clean_puts)
	"$@" || return 1
	torture 2 4 1 && end_fs && unload || return 1
	[ "$(counter clean_puts)" = "$before" ] || wrong "pages were put"
}

scenario_clean_small_blocks_stay_out() { small_blocks_stay_out_on new_fs -b 1024; }

fio_verifies_on() {
	[ -e /proc/sys/kernel/shmmax ] || { skip="fio needs a kernel with CONFIG_SYSVIPC"; return 2; }
	load both pages=20000 || return 1
	"$@" || return 1
	limited 24 fio --directory=$MNT --size=24M --bsrange=512-64k --rw=randrw --verify=crc32c --verify_fatal=1 \
		--ioengine=psync --numjobs=2 --name=buffered --loops=2 --output=/tmp/fio.log >/tmp/fio.err 2>&1 ||
		{ tail -20 /tmp/fio.log /tmp/fio.err; wrong "fio"; return 1; }
	limited 24 fio --directory=$MNT --size=24M --bsrange=4k-64k --blockalign=4k --rw=randwrite --verify=crc32c \
		--verify_fatal=1 --ioengine=mmap --numjobs=2 --name=mapped --output=/tmp/fio.log >/tmp/fio.err 2>&1 ||
		{ tail -20 /tmp/fio.log /tmp/fio.err; wrong "fio with mmap"; return 1; }
	end_fs && unload || return 1
	used clean_puts 1000 && used clean_hits 1000
}

scenario_clean_fio_verifies() { fio_verifies_on new_fs; }

# --- clean pages of XFS, in large folios

scenario_xfs_torture() { torture_on new_xfs; }

# Generations that count, instead of random ones.
scenario_xfs_torture_of_the_old_format() { torture_on new_xfs -m crc=0; }

scenario_xfs_direct_writes_are_seen() { direct_writes_on new_xfs; }

scenario_xfs_torture_with_loss() { torture_with_loss_on new_xfs; }

scenario_xfs_disk_changes_below_a_read_only_mount() { disk_changes_below_a_read_only_mount_on new_xfs; }

scenario_xfs_torture_finds_stale_pages() { torture_finds_stale_pages_on new_xfs; }

scenario_xfs_back_end_comes_and_goes() { back_end_comes_and_goes_on new_xfs; }

scenario_xfs_pages_do_not_outlive_the_mount() { pages_do_not_outlive_the_mount_on new_xfs; }

scenario_xfs_pages_outlive_the_inode() { pages_outlive_the_inode_on new_xfs; }

scenario_xfs_small_blocks_stay_out() { small_blocks_stay_out_on new_xfs -b size=1024; }

scenario_xfs_fio_verifies() { fio_verifies_on new_xfs; }

# A call would carry 31 pages, were they folios of their own.
scenario_xfs_large_folios_travel_together() {
	[ -n "$STORE" ] || return 2
	load clean || return 1
	new_xfs || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null
	sum=$(md5sum <$MNT/file)
	fill_store $MNT/file || return 1
	[ "$sum" = "$(md5sum <$MNT/file)" ] || { wrong "the file is different"; return 1; }
	ratio clean_puts clean_put_calls
	ratio clean_gets clean_get_calls
	say "filled: $(gained clean_hits)"
	end_fs && unload || return 1
	[ "$(gained clean_puts)" -gt $(($(gained clean_put_calls) * 31)) ] || wrong "large folios stay out"
}

# XFS_IOC_SWAPEXT, as xfs_fsr uses it: two files change under their inodes, whose pages are in the store.
scenario_xfs_swapped_extents() {
	load clean || return 1
	new_xfs || return 1
	for f in one two; do dd if=/dev/urandom of=$MNT/$f bs=1M count=20 2>/dev/null; done
	one=$(md5sum <$MNT/one) two=$(md5sum <$MNT/two)
	fill_store $MNT/one && fill_store $MNT/two || return 1
	echo 3 >/proc/sys/vm/drop_caches
	xfs_io -c "swapext $MNT/two" $MNT/one >/tmp/swapext.log 2>&1 && [ ! -s /tmp/swapext.log ] ||
		{ cat /tmp/swapext.log; wrong "swapext"; return 1; }
	[ "$one" = "$(md5sum <$MNT/two)" ] && [ "$two" = "$(md5sum <$MNT/one)" ] || { wrong "not swapped"; return 1; }
	end_fs && unload
}

# --- pools that the store has no room for

# mount_without_room: with swap on, a file system is mounted, and both have to do without a pool, which is no reason to worry.
mount_without_room() {
	swap_on && new_fs || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null
	sum=$(md5sum <$MNT/file)
	used pools_refused 0 || return 1
	! dmesg -r | grep -E '^<[0-4]>.*tmem: .*pool' || wrong "a warning about it"
}

# after_all WHAT: waits until the kernel says that it has got the pool; it asks every 64 seconds at least.
after_all() {
	i=0
	until dmesg | grep -q "a pool for $1 after all"; do
		i=$((i + 1))
		[ $i -lt 100 ] || { wrong "no pool for $1"; return 1; }
		sleep 1
	done
}

# Files and swap go to the store.
pools_have_come() {
	after_all swap && after_all "${DISK#/dev/}" || return 1
	fill_store $MNT/file && [ "$sum" = "$(md5sum <$MNT/file)" ] || { wrong "${reason:-the file is different}"; return 1; }
	swap_pressure || return 1
	say "asked for in vain: $(gained pools_refused)"
	used swap_puts 1000 && end_fs && swap_off && unload
}

scenario_pools_come_when_there_is_room() {
	need_fake || return 2
	load both no_room=1 || return 1
	mount_without_room || return 1
	# After 1, 3, 7 and 15 seconds, for both, or later.
	while [ "$(gained pools_refused)" -le 4 ]; do sleep 1; done
	[ "$(gained clean_puts)" = 0 ] || { wrong "pages without a pool"; return 1; }
	[ "$(gained pools_refused)" -lt 20 ] ||
		{ wrong "asked for $(gained pools_refused) times"; return 1; }
	echo 0 >/sys/module/fakestore/parameters/no_room
	pools_have_come
}

# The worker that asks again goes with the back end.
scenario_back_end_goes_while_pools_are_asked_for() {
	need_fake || return 2
	for i in 1 2 3; do
		load both no_room=1 || return 1
		swap_on && new_fs || return 1
		[ $i = 2 ] || sleep 2
		unload || return 1
		end_fs && swap_off || return 1
	done
}

# A real host, whose cap for this guest is full of pages of swap at first.
scenario_mount_comes_when_the_cap_is_not_full() {
	need_host || return 2
	load both || return 1
	swap_on || return 1
	limited 64 tmem-workload run --memory 96M --passes 1000 >/tmp/workload.log 2>&1 &
	workload=$!
	while [ "$(gained swap_refused)" -lt 1000 ] && kill -0 $workload 2>/dev/null; do sleep 1; done
	new_fs || return 1
	# Where a page does not fit, a pool may.
	i=0
	while [ "$(gained pools_refused)" = 0 ]; do
		i=$((i + 1))
		[ $i -lt 50 ] && umount $MNT && mount "$DISK" $MNT || { wrong "the host had room for a pool each time"; return 1; }
	done
	! dmesg -r | grep -E '^<[0-4]>.*tmem: .*pool' || { wrong "a warning about it"; return 1; }
	echo 1 >$CGROUP/cgroup.kill
	wait $workload 2>/dev/null
	swap_off && after_all "${DISK#/dev/}" || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null
	sum=$(md5sum <$MNT/file)
	fill_store $MNT/file || return 1
	[ "$sum" = "$(md5sum <$MNT/file)" ] || { wrong "the file is different"; return 1; }
	say "asked for in vain: $(gained pools_refused)"
	end_fs && unload
}

# --- both

offers() { case ,$OFFERS, in *,"$1",*) ;; *) false ;; esac; }

# Pages of what is offered went to the store and came back, and of nothing else.
what_is_offered() {
	say "swap: $(gained swap_puts) put, $(gained swap_gets) back; clean: $(gained clean_puts) put, $(gained clean_hits) back"
	if offers swap; then
		used swap_puts 100 && used swap_gets 0 || return 1
	else
		[ "$(gained swap_put_calls)" = 0 ] || { wrong "pages of swap were offered"; return 1; }
	fi
	if offers clean; then
		used clean_puts 1000 && used clean_hits 1000
	else
		[ "$(gained clean_put_calls)" = 0 ] || wrong "clean pages were offered"
	fi
}

scenario_both_at_once() {
	load both pages=40000 || return 1
	swap_on && new_fs || return 1
	limited 64 stress-ng --vm 1 --vm-bytes 80M --verify --timeout "$SECONDS_OF_STRESS" --oomable >/tmp/stress.log 2>&1 &
	stress=$!
	SEED=8 LIMIT=64 torture 4 12 2 || return 1
	wait $stress || { tail /tmp/stress.log; wrong "stress-ng failed"; return 1; }
	# However slow the kernel.
	swap_work || return 1
	end_fs && swap_off && unload && what_is_offered
}

# --- the kernel

# That it would complain, and a scenario fail for it; nothing is looked at afterwards.
scenario_kernel_complaints_are_seen() {
	[ -e /proc/lockdep_stats ] || { skip="needs a kernel with lockdep and KASAN"; return 2; }
	dmesg -c >/dev/null
	for what in sleep preempt order free; do
		! insmod "$CANARY" what=$what 2>/dev/null || { wrong "stays loaded"; return 1; }
		complaints | head -1 | grep . || { wrong "not a word about $what"; return 1; }
		dmesg -c >/dev/null
	done
	! still_looking || wrong "lockdep is said to be on after its report"
}

kill_group() {
	if [ -n "$CGROUP_V1" ]; then
		# shellcheck disable=SC2046 # words, on purpose
		kill -9 $(cat $CGROUP/cgroup.procs) 2>/dev/null || true
	else
		echo 1 >$CGROUP/cgroup.kill
	fi
}

run() {
	reason='' skip=''
	mkdir -p $CGROUP
	rm -rf /tmp/counters
	mkdir /tmp/counters
	for c in $COUNTERS/*; do [ ! -f "$c" ] || cat "$c" >/tmp/counters/"${c##*/}" 2>/dev/null; done
	swapped=$(pswpout) killed=$(oom_kills)
	echo "start $1"
	"scenario_$1"
	case $? in
	0) echo "ok $1" ;;
	2) echo "skip $1 ${skip:-needs a back end}" ;;
	*)
		echo "FAIL $1 $reason"
		dmesg | tail -20
		fails=$((fails + 1))
		;;
	esac
	echo madvise >$THP/enabled
	end_jobs
	umount /tmp/failing 2>/dev/null
	losetup -d /dev/loop0 2>/dev/null
	umount /tmp/backing 2>/dev/null
	for area in $(sed -n 's/^\(\/[^ \t]*\).*/\1/p' /proc/swaps); do swapoff "$area"; done
	umount $MNT/top 2>/dev/null
	umount $MNT 2>/dev/null
	[ -z "$STORE" ] || rmmod "$module" 2>/dev/null
	rmdir $CGROUP 2>/dev/null
	# Of messages the log may have lost some, the counter has them all.
	if complaints 'Write-error|Read-error' || [ "$(oom_kills)" != "$killed" ]; then
		echo "FAIL $1 the kernel complained, or has killed $(($(oom_kills) - killed)) processes"
		dmesg | head -150
		fails=$((fails + 1))
	fi
	dmesg -c >/dev/null
}

mkdir -p $MNT
# A task that waits for so long will wait forever; the kernel then says so, and the scenario has failed.
echo 60 >/proc/sys/kernel/hung_task_timeout_secs
echo 1000 >/proc/sys/kernel/hung_task_warnings
[ -e /sys/fs/cgroup/cgroup.subtree_control ] || mount -t cgroup2 none /sys/fs/cgroup
if [ -n "$CGROUP_V1" ]; then
	mkdir -p /tmp/memory && mount -t cgroup -o memory none /tmp/memory
else
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
fi
dmesg -c >/dev/null
# Those for a host that is bad, and those about a reset, run when they are asked for.
[ $# -gt 0 ] || set -- $(sed -n 's/^scenario_\([a-z_]*\)().*/\1/p' "$self" "$here"/*s.sh | grep -v -e no_driver -e _reset -e complaints_are_seen)
for scenario; do
	if ! still_looking; then
		echo "FAIL $scenario lockdep is off before it starts"
		fails=$((fails + 1))
	fi
	run "$scenario"
done
# What went back and forth, for the record of whoever watches.
for c in $COUNTERS/*_puts $COUNTERS/*_gets $COUNTERS/*_flushes; do
	[ ! -f "$c" ] || echo "counted ${c##*/} $(cat "$c")"
done
count_races
exit $fails
