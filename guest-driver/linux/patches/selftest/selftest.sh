#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# kselftest's side of guest.sh: two disks on loop devices, a store in this kernel's memory, and the scenarios that need no other
# programs than a distribution's. For a machine that has nothing to lose.
skip() { echo "SKIP: $*"; exit 4; }

[ "$(id -u)" = 0 ] || skip "needs root"
[ -d /sys/kernel/tmem ] || skip "needs a kernel with CONFIG_TMEM"
! grep -q '^fakestore\|^tmem' /proc/modules || skip "there is a back end already"
for program in mkfs.ext4 e2fsck xfs_io losetup; do
	command -v $program >/dev/null || skip "needs $program"
done
cd "$(dirname "$0")" || exit 1
[ -e test_modules/fakestore.ko ] || skip "fakestore.ko was not built: set KDIR"

disks=$(mktemp -d)
for name in swap disk; do truncate -s 512M "$disks/$name"; done
SWAP=$(losetup -f --show "$disks/swap") DISK=$(losetup -f --show "$disks/disk")
trap 'losetup -d "$SWAP" "$DISK"; rm -r "$disks"' EXIT
export SWAP DISK STORE=test_modules/fakestore.ko OPERATIONS=200

sh ./guest.sh swap_refused_pages_are_offered_once swap_no_cpu_reads_an_old_page clean_torture \
	clean_torture_with_loss clean_torture_finds_stale_pages clean_pages_outlive_the_inode \
	clean_old_tails_do_not_come_back clean_moved_extents clean_moved_extents_of_cached_files \
	clean_direct_writes_are_seen clean_disk_changes_below_a_read_only_mount \
	clean_failed_writes_do_not_come_back clean_failed_direct_writes_do_not_come_back \
	clean_far_pages_are_flushed_in_parts clean_mount_options_decide clean_sealed_devices_stay_out \
	clean_no_cpu_reads_an_old_page
