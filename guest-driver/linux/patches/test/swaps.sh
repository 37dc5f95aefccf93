# SPDX-License-Identifier: GPL-2.0-only
#
# For guest.sh, which reads it: what swap can lie on, and who else wants its pages. Needs a kernel with images/kernel/torture.config.

need_file() { [ -e "$1" ] || { skip="needs a kernel with $2"; return 1; }; }

# swap_here DEVICE: work under pressure on this area instead of the disk, as `on` says: every page of it is right.
swap_here() {
	mkswap "$1" >/dev/null && swapon "$1" || { wrong "cannot swap on $1"; return 1; }
	swap_pressure && swap_work --mix text=50:random=50 && swapoff "$1" || { wrong "${reason:-swapoff failed}"; return 1; }
}

# A disk that turns: neighbours are read with a page, and folios are split before they are swapped.
scenario_swap_with_cluster_readahead() {
	load swap || return 1
	echo 1 >/sys/block/"${SWAP#/dev/}"/queue/rotational
	swap_here "$SWAP" && unload || return 1
	used swap_puts 1000 && used swap_gets 1000
}

# Refused pages and those of the store are neighbours: a cluster has both.
scenario_swap_with_cluster_readahead_and_refusals() {
	need_fake || return 2
	load swap refuse_every=3 || return 1
	echo 1 >/sys/block/"${SWAP#/dev/}"/queue/rotational
	swap_here "$SWAP" && unload || return 1
	used swap_refused 1000
}

# Devices that are as fast as memory: no readahead, no swap cache for a page that one process has (SWP_SYNCHRONOUS_IO).
scenario_swap_on_zram() {
	need_fake || return 2
	need_file /sys/block/zram0 zram || return 2
	for every in 0 3 1; do
		echo 200M >/sys/block/zram0/disksize || { wrong "zram"; return 1; }
		load swap refuse_every=$every || return 1
		large_folios
		swap_here /dev/zram0 && unload || return 1
		echo 1 >/sys/block/zram0/reset
	done
	used swap_puts 1000 && used swap_refused 1000
}

scenario_swap_on_a_ram_disk() {
	need_fake || return 2
	need_file /dev/ram0 CONFIG_BLK_DEV_RAM || return 2
	load swap pages=12000 refuse_every=5 || return 1
	swap_here /dev/ram0 && unload || return 1
	blockdev --flushbufs /dev/ram0
	used swap_puts 1000 && used swap_refused 100
}

# zswap behind the store: it gets what was refused, keeps some, and writes some to the disk.
scenario_swap_with_zswap_behind() {
	need_fake || return 2
	zswap=/sys/module/zswap/parameters
	need_file $zswap/enabled CONFIG_ZSWAP || return 2
	load swap refuse_every=2 || return 1
	echo 5 >$zswap/max_pool_percent
	echo 1 >$zswap/shrinker_enabled
	echo 1 >$zswap/enabled
	swap_on && swap_pressure || return 1
	# From on to off and back, with pages there.
	start_load 64 120M
	for on in 0 1 0 1; do
		load_makes swap_puts 3000 || return 1
		echo $on >$zswap/enabled
	done
	end_load || return 1
	say "zswap wrote back $(cat /sys/kernel/debug/zswap/written_back_pages), holds $(cat /sys/kernel/debug/zswap/stored_pages)"
	echo 0 >$zswap/enabled
	swap_off && unload || return 1
	used swap_refused 1000
}

# One group may not write to the disk: what the store refuses stays where it is.
scenario_swap_with_zswap_that_may_not_write_back() {
	need_fake || return 2
	zswap=/sys/module/zswap/parameters
	need_file $CGROUP/memory.zswap.writeback "zswap in groups" || return 2
	load swap refuse_every=2 || return 1
	echo 20 >$zswap/max_pool_percent
	echo 1 >$zswap/enabled
	echo 0 >$CGROUP/memory.zswap.writeback
	swap_on && swap_work && swap_story && swap_off || return 1
	echo 0 >$zswap/enabled
	unload && used swap_refused 100
}

# swap_file_on NEW_FS...: the blocks of a file, on a file system whose own clean pages go to the store as well.
swap_file_on() {
	load both || return 1
	"$@" || return 1
	dd if=/dev/zero of=$MNT/swap bs=1M count=200 2>/dev/null && chmod 600 $MNT/swap || { wrong "no swap file"; return 1; }
	mkswap $MNT/swap >/dev/null && swapon $MNT/swap || { wrong "swapon of a file"; return 1; }
	swap_pressure && SEED=21 torture 2 8 1 || return 1
	swapoff $MNT/swap && end_fs && unload || { wrong "${reason:-swapoff}"; return 1; }
	used swap_puts 1000 && used clean_puts 100
}

scenario_swap_file_on_ext4() { swap_file_on new_fs; }
scenario_swap_file_on_xfs() { swap_file_on new_xfs; }

# A file system in memory, in huge pages, swapped out whole or split; what the torture knows of files holds there.
scenario_swap_shmem_huge() {
	load swap pages=40000 || return 1
	large_folios
	swap_on || return 1
	mount -t tmpfs -o huge=always,size=200M tmpfs $MNT || { wrong "no tmpfs"; return 1; }
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null
	sum=$(md5sum <$MNT/file)
	limited 24 dd if=$MNT/file of=$MNT/copy bs=1M 2>/dev/null
	for _ in 1 2; do [ "$sum" = "$(limited 24 md5sum <$MNT/copy)" ] || { wrong "the file is different"; return 1; }; done
	rm $MNT/file $MNT/copy
	limited 24 fio --directory=$MNT --size=24M --bsrange=4k-64k --rw=randrw --verify=crc32c --verify_fatal=1 --ioengine=psync \
		--numjobs=2 --name=shmem --loops=2 --output=/tmp/fio.log >/tmp/fio.err 2>&1 ||
		{ tail -20 /tmp/fio.log /tmp/fio.err; wrong "fio"; return 1; }
	umount $MNT && swap_off && unload || { wrong "${reason:-umount}"; return 1; }
	used swap_puts 1000
}

# borrowers WHAT: a part of borrowers.c, in so much memory, over swap and a file system.
borrow() {
	mib=$1
	shift
	limited "$mib" borrowers "$@" >/tmp/borrowers.log 2>&1
	case $? in
	0) say "$(cat /tmp/borrowers.log)" ;;
	3) skip="this kernel cannot"; return 2 ;;
	*) tail -5 /tmp/borrowers.log; wrong "borrowers $1"; return 1 ;;
	esac
}

scenario_swap_paged_out_on_demand() {
	load swap && swap_on || return 1
	borrow 64 paged 8 $((OPERATIONS / 20 + 2)) && swap_off && unload || return 1
	used swap_puts 1000 && used swap_gets 100
}

scenario_swap_pinned_pages() {
	load both && swap_on && new_fs || return 1
	borrow 32 pinned $MNT/pinned $((OPERATIONS / 8 + 2)) || return $?
	end_fs && swap_off && unload
}

scenario_swap_piped_pages() {
	load both && swap_on && new_fs || return 1
	borrow 16 piped $MNT/piped $((OPERATIONS * 2)) || return $?
	end_fs && swap_off && unload || return 1
	used clean_puts 100
}

# The older of the two ways to find what is cold.
scenario_both_without_lru_gen() {
	need_file /sys/kernel/mm/lru_gen/enabled CONFIG_LRU_GEN || return 2
	was=$(cat /sys/kernel/mm/lru_gen/enabled)
	echo 0 >/sys/kernel/mm/lru_gen/enabled
	scenario_both_at_once
	status=$?
	echo "$was" >/sys/kernel/mm/lru_gen/enabled
	return $status
}

# fail WHAT PERCENT: allocations (failslab, fail_page_alloc) below functions of tmem fail so often; 0: none does.
fail() {
	at=/sys/kernel/debug/$1
	if [ "$2" != 0 ]; then
		# From the first to the last of the kernel's own; what runs at boot only, and modules, lie behind its text.
		end=$(sed -n 's/ T _etext$//p' /proc/kallsyms)
		grep -E '^[0-9a-f]+ [tT] tmem_[a-z0-9_]*$' /proc/kallsyms | sort | awk -v end="$end" '$1 < end' >/tmp/symbols
		[ -s /tmp/symbols ] || { wrong "no symbols"; return 1; }
		echo "0x$(sed -n '1s/ .*//p' /tmp/symbols)" >"$at"/require-start
		echo "0x$(sed -n '$s/ .*//p' /tmp/symbols)" >"$at"/require-end
		echo 16 >"$at"/stacktrace-depth
		echo N >"$at"/ignore-gfp-wait
		echo 0 >"$at"/verbose
		echo -1 >"$at"/times
		[ ! -e "$at"/min-order ] || echo 0 >"$at"/min-order
	fi
	echo "$2" >"$at"/probability
}

scenario_both_while_allocations_fail() {
	need_file /sys/kernel/debug/failslab/require-start "fault injection" || return 2
	load both || return 1
	for percent in 100 30; do
		fail failslab $percent && fail fail_page_alloc $percent || return 1
		swap_on && new_fs || return 1
		swap_pressure && SEED=22 torture 4 8 1
		status=$?
		fail failslab 0
		fail fail_page_alloc 0
		[ $status = 0 ] || return 1
		end_fs && swap_off || return 1
	done
	unload
}
