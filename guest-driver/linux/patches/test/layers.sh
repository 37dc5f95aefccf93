# SPDX-License-Identifier: GPL-2.0-only
#
# For guest.sh, which reads it: file systems on files of others, and files that share or exchange their blocks. Needs a kernel with
# images/kernel/torture.config, and bindfs.

# under COMMAND...: the torture on what is mounted at $MNT/top.
torture_at_the_top() {
	top=$MNT/top
	limited "${LIMIT:-32}" coherency $top $((SEED + 100 * ROUND)) "$OPERATIONS" 3 8 2 >/tmp/torture.log 2>&1 ||
		{ tail -20 /tmp/torture.log; wrong "coherency on $1"; return 1; }
}

scenario_layer_overlay() {
	load clean && new_fs || return 1
	mkdir $MNT/lower $MNT/upper $MNT/work $MNT/top
	dd if=/dev/urandom of=$MNT/lower/file bs=1M count=24 2>/dev/null
	sum=$(md5sum <$MNT/lower/file)
	mount -t overlay -o "lowerdir=$MNT/lower,upperdir=$MNT/upper,workdir=$MNT/work" overlay $MNT/top || { skip="needs CONFIG_OVERLAY_FS"; return 2; }
	fill_store $MNT/top/file || return 1
	SEED=31 torture_at_the_top overlay || return 1
	[ "$sum" = "$(limited 12 md5sum <$MNT/top/file)" ] || { wrong "the file is different through the overlay"; return 1; }
	# Copied up, then changed: below it stays.
	printf x | dd of=$MNT/top/file bs=1 conv=notrunc 2>/dev/null
	[ "$sum" = "$(limited 12 md5sum <$MNT/lower/file)" ] || { wrong "the file below is different"; return 1; }
	[ "$sum" != "$(limited 12 md5sum <$MNT/top/file)" ] || { wrong "the file above is the same"; return 1; }
	umount $MNT/top && end_fs && unload || return 1
	used clean_puts 1000
}

# Two file systems, one in a file of the other: both offer their pages.
scenario_layer_loop() {
	load both && swap_on && new_fs || return 1
	mkdir $MNT/top
	truncate -s 150M $MNT/image
	loop=$(losetup -f) && losetup "$loop" $MNT/image || { wrong "losetup"; return 1; }
	mkfs.ext4 -q -F -b 4096 "$loop" && mount "$loop" $MNT/top || { wrong "no file system in a file"; return 1; }
	SEED=32 torture_at_the_top loop
	status=$?
	umount $MNT/top
	e2fsck -fn "$loop" >/tmp/fsck.log 2>&1 || { tail /tmp/fsck.log; wrong "e2fsck in a file"; status=1; }
	losetup -d "$loop"
	[ $status = 0 ] && end_fs && swap_off && unload || return 1
	used clean_puts 1000
}

# A file system whose daemon is short of memory itself, its pages in the same store: nobody may wait for a page that the daemon
# has to bring while the daemon waits for him.
scenario_layer_fuse() {
	command -v bindfs >/dev/null || { skip="needs bindfs"; return 2; }
	[ -e /dev/fuse ] || { skip="needs CONFIG_FUSE_FS"; return 2; }
	load both && swap_on && new_fs || return 1
	mkdir $MNT/below $MNT/top
	limited 32 bindfs -o big_writes $MNT/below $MNT/top >/tmp/bindfs.log 2>&1 || { cat /tmp/bindfs.log; wrong "bindfs"; return 1; }
	dd if=/dev/urandom of=$MNT/below/file bs=1M count=16 2>/dev/null
	sum=$(md5sum <$MNT/below/file)
	# Memory of others in the daemon's group, so that the daemon is swapped.
	MOST=max start_load 32 64M
	# Nobody is made to wait for being above the line; who is above it gives something back.
	echo 48M >$CGROUP/memory.max && echo max >$CGROUP/memory.high || { wrong "no limit"; return 1; }
	for _ in 1 2 3 4; do
		load_makes swap_puts 2000 || return 1
		[ "$sum" = "$(md5sum <$MNT/top/file)" ] || { wrong "the file is different"; return 1; }
		dd if=$MNT/top/file of=$MNT/top/copy bs=64k 2>/dev/null
		echo 1 >/proc/sys/vm/drop_caches
		[ "$sum" = "$(md5sum <$MNT/top/copy)" ] || { wrong "the copy is different"; return 1; }
	done
	end_load || return 1
	umount $MNT/top && end_fs && swap_off && unload || { wrong "${reason:-umount}"; return 1; }
	used swap_puts 1000
}

# Huge pages of a program's file that nobody writes (CONFIG_READ_ONLY_THP_FOR_FS).
collapsed_on() {
	load clean && "$@" || return 1
	borrow 64 collapsed $MNT/program || return $?
	end_fs && unload
}

scenario_layer_huge_pages_of_programs_ext4() { collapsed_on new_fs; }
scenario_layer_huge_pages_of_programs_xfs() { collapsed_on new_xfs; }

# Two files come to share their blocks while pages of both are in the store, and part again.
scenario_layer_deduplicated() {
	load clean && new_xfs -m reflink=1 || return 1
	dd if=/dev/urandom of=$MNT/one bs=1M count=16 2>/dev/null
	cp $MNT/one $MNT/two
	dd if=/dev/urandom of=$MNT/three bs=1M count=16 2>/dev/null
	sum=$(md5sum <$MNT/one)
	for _ in 1 2 3; do
		fill_store $MNT/one && fill_store $MNT/two && fill_store $MNT/three || return 1
		xfs_io -c "dedupe $MNT/one 0 0 16m" $MNT/two >/tmp/dedupe.log 2>&1 || { cat /tmp/dedupe.log; wrong "dedupe"; return 1; }
		xfs_io -c "reflink $MNT/one" $MNT/three >/tmp/dedupe.log 2>&1 || { cat /tmp/dedupe.log; wrong "reflink"; return 1; }
		for f in one two three; do
			[ "$sum" = "$(limited 12 md5sum <$MNT/$f)" ] || { wrong "$f is different"; return 1; }
		done
		# What one writes is no longer the others'.
		dd if=/dev/urandom of=$MNT/three bs=1M count=16 conv=notrunc 2>/dev/null
		sync
		for f in one two; do
			[ "$sum" = "$(limited 12 md5sum <$MNT/$f)" ] || { wrong "$f has changed"; return 1; }
		done
		blocks same $MNT/three >/tmp/same.log || { cat /tmp/same.log; wrong "three is not what the disk has"; return 1; }
	done
	end_fs && unload || return 1
	used clean_hits 1000
}

# XFS_IOC_EXCHANGE_RANGE, of 6.10: the feature's bit is newer than mkfs.xfs of Debian 12, and repair knows it only when it is gone.
exchange_bit() { xfs_db -x -c 'sb 0' -c "write -d features_incompat $1" "$DISK" >/tmp/bit.log 2>&1 || { cat /tmp/bit.log; wrong "xfs_db"; }; }

scenario_layer_exchanged_ranges() {
	load clean && new_xfs || return 1
	umount $MNT
	bits=$(xfs_db -c 'sb 0' -c 'p features_incompat' "$DISK" 2>/dev/null | sed 's/.*= //')
	exchange_bit $((bits | 64)) || return 1
	mount -t xfs "$DISK" $MNT 2>/dev/null || { exchange_bit $((bits)); skip="needs XFS with exchanged ranges"; return 2; }
	for f in one two; do dd if=/dev/urandom of=$MNT/$f bs=1M count=20 2>/dev/null; done
	sync
	one=$(md5sum <$MNT/one) two=$(md5sum <$MNT/two)
	for _ in 1 2 3; do
		fill_store $MNT/one && fill_store $MNT/two || return 1
		blocks exchange $MNT/one $MNT/two >/tmp/exchange.log 2>&1 || { cat /tmp/exchange.log; wrong "exchange"; return 1; }
		was=$one one=$two two=$was
		[ "$one" = "$(limited 12 md5sum <$MNT/one)" ] && [ "$two" = "$(limited 12 md5sum <$MNT/two)" ] || { wrong "not exchanged"; return 1; }
	done
	umount $MNT && exchange_bit $((bits)) && mount -t xfs "$DISK" $MNT || { wrong "${reason:-mount}"; return 1; }
	end_fs && unload || return 1
	used clean_hits 1000
}
