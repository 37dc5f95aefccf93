# SPDX-License-Identifier: GPL-2.0-only
#
# For guest.sh, which reads it: disks that fail, fill up and go. What the disk does not have must not come from the store. Needs a kernel
# with images/kernel/torture.config, and dmsetup.

FLAKY=tmem-flaky

need_flaky() { dmsetup targets 2>/dev/null | grep -q ^flakey || { skip="needs dm-flakey"; return 1; }; }

# flaky [FEATURE...]: the disk behind a mapping that always works, or always does as the features say, from now on.
flaky() {
	sectors=$(blockdev --getsz "$disk")
	if [ $# = 0 ]; then table="0 $sectors linear $disk 0"; else table="0 $sectors flakey $disk 0 0 3600 $# $*"; fi
	if dmsetup info $FLAKY >/dev/null 2>&1; then
		# What waits there goes on with the new table.
		dmsetup suspend --nolockfs --noudevsync $FLAKY && dmsetup reload $FLAKY --table "$table" &&
			dmsetup resume --noudevsync $FLAKY
	else
		dmsetup create --noudevsync $FLAKY --table "$table"
	fi || wrong "dmsetup $*"
}

# On: the scenario's disk is the mapping. Off again: it is the disk.
flaky_on() { disk=$DISK; flaky && DISK=/dev/$(dmsetup info -c --noheadings -o blkdevname $FLAKY); }
flaky_off() { dmsetup remove --noudevsync --retry $FLAKY && DISK=$disk || wrong "dmsetup remove"; }

# with_flaky FUNCTION ARGUMENT...: leaves nothing behind.
with_flaky() {
	need_flaky || return 2
	flaky_on || return 1
	"$@"
	status=$?
	umount $MNT 2>/dev/null
	flaky_off || return 1
	return $status
}

# Whatever was refused by the disk: a page that is read again is the disk's.
as_on_disk() {
	limited 12 cat "$@" >/dev/null 2>&1
	echo 3 >/proc/sys/vm/drop_caches
	for file; do
		limited 24 blocks same "$file" >/tmp/same.log 2>&1
		case $? in
		0) say "$(tail -1 /tmp/same.log)" ;;
		1) cat /tmp/same.log; wrong "$file is not what the disk has"; return 1 ;;
		*) cat /tmp/same.log; wrong "$file cannot be read"; return 2 ;;
		esac
	done
}

# The same while a file system may have given up: then there is nothing to read before it is mounted again.
as_on_disk_if_readable() { as_on_disk "$@" || [ $? = 2 ]; }

# A file system that has seen errors is mended, and whole afterwards.
mended() {
	umount $MNT || { wrong "umount failed"; return 1; }
	if [ "$1" = new_xfs ]; then
		# The log is the kernel's to replay.
		mount -t xfs "$DISK" $MNT && umount $MNT && xfs_repair -n "$DISK" >/tmp/fsck.log 2>&1
	else
		e2fsck -fy "$DISK" >/tmp/fsck.log 2>&1
		[ $? -le 1 ] && e2fsck -fn "$DISK" >/tmp/fsck.log 2>&1
	fi || { tail /tmp/fsck.log; wrong "damage"; return 1; }
}

# The disk refuses writes for a while: pages are clean afterwards, and not what the disk has.
writeback_fails() {
	load clean && "$@" || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=24 2>/dev/null
	sync
	fill_store $MNT/file || return 1
	for _ in 1 2 3; do
		flaky error_writes || return 1
		dd if=/dev/urandom of=$MNT/file bs=1M count=24 conv=notrunc,fsync 2>/dev/null && { wrong "the disk did not fail"; return 1; }
		limited 12 cat $MNT/file >/dev/null 2>&1
		flaky || return 1
		as_on_disk_if_readable $MNT/file || return 1
		mended "$1" && mount "$DISK" $MNT || { wrong "${reason:-mount}"; return 1; }
		as_on_disk $MNT/file || return 1
	done
	mended "$1" && unload
}

scenario_disk_refuses_writeback_of_ext4() { with_flaky writeback_fails new_fs; }
scenario_disk_refuses_writeback_of_xfs() { with_flaky writeback_fails new_xfs; }

# Writes past the page cache, of sectors and of pages, that fail or not, over pages that are cached or in the store.
direct_writes_fail() {
	load clean && "$@" || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=24 2>/dev/null
	sync
	fill_store $MNT/file || return 1
	for _ in 1 2 3; do
		flaky error_writes || return 1
		limited 12 blocks damage $MNT/file "$OPERATIONS" >/tmp/damage.log 2>&1 || { cat /tmp/damage.log; wrong "blocks damage"; return 1; }
		say "$(cat /tmp/damage.log)"
		flaky || return 1
		as_on_disk_if_readable $MNT/file || return 1
		mended "$1" && mount "$DISK" $MNT || { wrong "${reason:-mount}"; return 1; }
		limited 12 blocks damage $MNT/file "$OPERATIONS" >/tmp/damage.log 2>&1 || { cat /tmp/damage.log; wrong "blocks damage"; return 1; }
		as_on_disk $MNT/file || return 1
	done
	mended "$1" && unload
}

# Without a journal, which would be the end of all writes with its first that fails.
scenario_disk_refuses_direct_writes_of_ext4() { with_flaky direct_writes_fail new_fs -O ^has_journal; }
scenario_disk_refuses_direct_writes_of_xfs() { with_flaky direct_writes_fail new_xfs; }

# The same by aio and io_uring, many at a time, while the disk comes and goes; the page cache reads along.
asynchronous_writes_fail() {
	load clean && "$@" || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=24 2>/dev/null
	sync
	fill_store $MNT/file || return 1
	for engine in libaio io_uring; do
		rm -f /tmp/enough
		fio --filename=$MNT/file --size=24M --direct=1 --rw=randrw --bsrange=512-16k --blockalign=512 --ioengine=$engine --iodepth=16 \
			--continue_on_error=all --time_based --runtime="$SECONDS_OF_STRESS" --name=$engine --output=/tmp/fio.log >/tmp/fio.err 2>&1 &
		fio=$!
		while kill -0 $fio 2>/dev/null; do
			flaky error_writes || return 1
			limited 12 cat $MNT/file >/dev/null 2>&1
			flaky || return 1
			limited 12 cat $MNT/file >/dev/null 2>&1
		done
		grep -q "$engine: (groupid" /tmp/fio.log || { tail -5 /tmp/fio.log /tmp/fio.err; wrong "fio did not run"; return 1; }
		as_on_disk_if_readable $MNT/file || return 1
		mended "$1" && mount "$DISK" $MNT || { wrong "${reason:-mount}"; return 1; }
		as_on_disk $MNT/file || return 1
	done
	mended "$1" && unload
}

scenario_disk_refuses_aio_and_io_uring_of_ext4() { with_flaky asynchronous_writes_fail new_fs -O ^has_journal; }
scenario_disk_refuses_aio_and_io_uring_of_xfs() { with_flaky asynchronous_writes_fail new_xfs; }

# Reads fail, and what is in the store is as good as before.
reads_fail() {
	load clean && "$@" || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=24 2>/dev/null
	sum=$(md5sum <$MNT/file)
	fill_store $MNT/file || return 1
	for _ in 1 2 3; do
		flaky error_reads || return 1
		limited 12 cat $MNT/file >/dev/null 2>&1
		flaky || return 1
		[ "$sum" = "$(limited 12 md5sum <$MNT/file)" ] || { wrong "the file is different"; return 1; }
		as_on_disk $MNT/file || return 1
	done
	mended "$1" && unload
}

scenario_disk_refuses_reads_of_ext4() { with_flaky reads_fail new_fs; }
scenario_disk_refuses_reads_of_xfs() { with_flaky reads_fail new_xfs; }

# full_on NEW_FS...: what does not fit is refused, what was there before stays as it was.
full_on() {
	load clean || return 1
	"$@" || return $?
	dd if=/dev/urandom of=$MNT/file bs=1M count=24 2>/dev/null
	sum=$(md5sum <$MNT/file)
	fill_store $MNT/file || return 1
	for turn in 1 2; do
		! limited 24 dd if=/dev/urandom of=$MNT/more bs=64k 2>/tmp/dd.log || { wrong "it was never full"; return 1; }
		grep -qE 'No space|quota' /tmp/dd.log || { cat /tmp/dd.log; wrong "dd failed otherwise"; return 1; }
		limited 12 cat $MNT/more >/dev/null
		[ "$sum" = "$(limited 12 md5sum <$MNT/file)" ] || { wrong "the file is different, turn $turn"; return 1; }
		sync
		as_on_disk $MNT/more $MNT/file || return 1
		rm $MNT/more
	done
	end_fs && unload
}

new_fs_with_little_room() { new_fs && xfs_io -f -c 'falloc 0 380m' $MNT/ballast >/dev/null || wrong "no ballast"; }

scenario_disk_is_full() { full_on new_fs_with_little_room; }

# A project's quota, which counts for everybody.
new_xfs_with_quota() {
	new_xfs && umount $MNT && mount -t xfs -o prjquota "$DISK" $MNT 2>/dev/null || { skip="needs CONFIG_XFS_QUOTA"; return 2; }
	xfs_quota -x -D /dev/null -P /dev/null -c "project -s -p $MNT 42" -c 'limit -p bhard=64m 42' $MNT >/tmp/quota.log 2>&1 ||
		{ cat /tmp/quota.log; wrong "xfs_quota"; }
}

scenario_disk_quota_is_full() { full_on new_xfs_with_quota; }

# remounts_on NEW_FS...: read-only and back, while files are read that do not fit.
remounts_on() {
	load clean && "$@" || return 1
	for f in one two; do dd if=/dev/urandom of=$MNT/$f bs=1M count=20 2>/dev/null; done
	one=$(md5sum <$MNT/one) two=$(md5sum <$MNT/two)
	fill_store $MNT/one || return 1
	rm -f /tmp/enough
	limited 12 sh -c "until [ -e /tmp/enough ]; do cat $MNT/one $MNT/two >/dev/null; done" &
	reader=$!
	for _ in 1 2 3 4 5 6; do
		mount -o remount,ro $MNT || { wrong "remount,ro"; return 1; }
		[ "$one" = "$(limited 12 md5sum <$MNT/one)" ] || { wrong "different when read-only"; return 1; }
		mount -o remount,rw $MNT || { wrong "remount,rw"; return 1; }
		dd if=/dev/urandom of=$MNT/one bs=1M count=20 conv=notrunc 2>/dev/null
		one=$(md5sum <$MNT/one)
		# Read again, they are the reader's, who has no room for them.
		sync
		echo 1 >/proc/sys/vm/drop_caches
		[ "$two" = "$(limited 12 md5sum <$MNT/two)" ] || { wrong "different when writable again"; return 1; }
	done
	touch /tmp/enough
	wait $reader
	end_fs && unload || return 1
	used clean_puts 1000 && used clean_hits 100
}

scenario_disk_is_remounted_ext4() { remounts_on new_fs; }
scenario_disk_is_remounted_xfs() { remounts_on new_xfs; }

# shutdowns_on NEW_FS...: the file system ends in the middle of work, and is mounted again, with its files as the disk has them.
shutdowns_on() {
	load clean && "$@" || return 1
	type=$(sed -n "s|^$DISK $MNT \([a-z0-9]*\) .*|\1|p" /proc/mounts)
	dd if=/dev/urandom of=$MNT/file bs=1M count=24 2>/dev/null
	sync
	sum=$(md5sum <$MNT/file)
	for flags in 0 1 2; do
		fill_store $MNT/file || return 1
		rm -f /tmp/enough
		limited 24 sh -c "until [ -e /tmp/enough ]; do dd if=/dev/urandom of=$MNT/new bs=64k count=200; cat $MNT/file; done >/dev/null 2>&1" &
		writer=$!
		# So that there is something to lose.
		until [ -s $MNT/new ]; do sleep 1; done
		blocks shutdown $MNT $flags >/tmp/shutdown.log 2>&1 || { cat /tmp/shutdown.log; wrong "shutdown"; return 1; }
		touch /tmp/enough
		wait $writer
		umount $MNT && mount -t "$type" "$DISK" $MNT || { wrong "mount after a shutdown"; return 1; }
		[ "$sum" = "$(limited 12 md5sum <$MNT/file)" ] || { wrong "the file is different"; return 1; }
		as_on_disk $MNT/file || return 1
		rm -f $MNT/new
	done
	mended "$1" && unload
}

scenario_disk_is_shut_down_ext4() { shutdowns_on new_fs; }
scenario_disk_is_shut_down_xfs() { shutdowns_on new_xfs; }

# Requests that fail at random (fail_make_request), for reads and writes of files.
requests_fail_on() {
	fails_at=/sys/kernel/debug/fail_make_request switch=/sys/block/${DISK#/dev/}/make-it-fail
	[ -e $fails_at ] && [ -e "$switch" ] || { skip="needs fault injection"; return 2; }
	load clean && "$@" || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=24 2>/dev/null
	sync
	fill_store $MNT/file || return 1
	echo -1 >$fails_at/times
	echo 0 >$fails_at/verbose
	for percent in 5 20 50; do
		echo $percent >$fails_at/probability
		echo 1 >"$switch"
		limited 12 blocks damage $MNT/file "$OPERATIONS" >/tmp/damage.log 2>&1
		limited 12 cat $MNT/file >/dev/null 2>&1
		dd if=/dev/urandom of=$MNT/file bs=64k count=100 conv=notrunc,fsync 2>/dev/null
		echo 0 >"$switch"
		echo 0 >$fails_at/probability
		as_on_disk_if_readable $MNT/file || return 1
		mended "$1" && mount "$DISK" $MNT || { wrong "${reason:-mount}"; return 1; }
		as_on_disk $MNT/file || return 1
	done
	mended "$1" && unload
}

scenario_disk_fails_at_random_ext4() { requests_fail_on new_fs; }
scenario_disk_fails_at_random_xfs() { requests_fail_on new_xfs; }
