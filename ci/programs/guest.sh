#!/bin/sh
# One program that nobody here wrote, in a guest of `cargo xtask programs` that has nothing to lose:
#
#   guest.sh MODE PROGRAM
#
# MODE is what tmem is used for: off, swap, cache, both, or tiny, which is both with a host that has hardly any room.
# Prints a report of the work that was done and "ok", or "FAIL" with the reason, and exits with 0 or 1.
mode=$1 program=$2
SWAP=/dev/vda DISK=/dev/vdb DATA=/data PG=/usr/lib/postgresql/15/bin
work=0 unit='' sum=''
cd /tmp || exit 1

wrong() {
	echo "FAIL $program: $*"
	exit 1
}

# say WORD...: a line of progress, with the seconds since boot.
say() { echo "    $(cut -d' ' -f1 /proc/uptime) $*"; }

# show FILE WORD...: the end of a log, then the failure.
show() {
	tail -n 30 "$1" | sed 's/^/    /'
	shift
	wrong "$@"
}

load() {
	case $mode in
	off) ;;
	swap) insmod /modules/tmem.ko clean=0 "$@" ;;
	cache) insmod /modules/tmem.ko swap=0 "$@" ;;
	*) insmod /modules/tmem.ko "$@" ;;
	esac || wrong "cannot load the driver"
}

swap_on() {
	# Large folios are swapped out whole where seeking costs nothing.
	echo 0 >/sys/block/"${SWAP#/dev/}"/queue/rotational
	mkswap "$SWAP" >/dev/null && swapon "$SWAP" || wrong "cannot swap on $SWAP"
}

new_fs() {
	mkfs.ext4 -q -F -b 4096 "$DISK" && mount -t ext4 "$DISK" $DATA || wrong "no file system on $DISK"
}

# ready: swap and an empty file system, tmem behind both.
ready() { load && swap_on && new_fs; }

# verify OPTION...: fio, which compares all that it reads with what it has written. What it read, in MiB, is the work.
verify() {
	fio --minimal --verify=crc32c --verify_fatal=1 --verify_state_save=0 --name=fio "$@" >fio.log 2>fio.err ||
		show fio.err "fio $*"
	read_kib=$(awk -F';' '$1 == 3 { kib += $6; bad += $5 } END { if (bad) exit 1; print kib + 0 }' fio.log) ||
		show fio.log "fio $* counted errors"
	[ "$read_kib" -gt 0 ] || show fio.log "fio $* compared nothing"
	work=$((work + read_kib / 1024)) unit='MiB compared'
	say "$read_kib KiB compared"
}

# stress OPTION...: stress-ng, which compares what it reads. The work is its bogus operations.
stress() {
	stress-ng "$@" --verify --oomable --metrics-brief --temp-path $DATA >stress.log 2>&1 || show stress.log "stress-ng $*"
	! grep -iE 'fail|corrupt|mismatch' stress.log | grep -v 'failed: 0' || wrong "stress-ng $* found a difference"
	work=$((work + $(awk '$2 == "metrc:" && $5 ~ /^[0-9]+$/ { all += $5 } END { print all + 0 }' stress.log)))
	unit='bogus operations'
	say "$work operations"
}

# Files larger than memory: by calls, by mappings, then written past the page cache and read through it.
program_fio_files() {
	ready
	verify --directory=$DATA --size=12M --numjobs=2 --bsrange=512-64k --rw=randrw --ioengine=psync
	past="--directory=$DATA --filename=both --size=16M --bs=16k --rw=randwrite --ioengine=psync"
	verify $past --bsrange=4k-64k --blockalign=4k --ioengine=mmap
	fio --minimal --name=fio $past --verify=crc32c --do_verify=0 --verify_state_save=0 --direct=1 >fio.log 2>&1 ||
		show fio.log "fio past the page cache"
	verify $past --verify_only
}

# Files in memory that does not suffice: tmpfs, whose pages are swapped.
program_fio_memory() {
	ready
	mount -t tmpfs -o size=100M none /mnt || wrong "no tmpfs"
	verify --directory=/mnt --size=18M --numjobs=2 --bsrange=512-64k --rw=randrw --ioengine=psync
	verify --directory=/mnt --size=18M --numjobs=2 --bsrange=4k-64k --blockalign=4k --rw=randwrite --ioengine=mmap
	umount /mnt || wrong "cannot unmount the tmpfs"
}

# The device to swap to as a disk, deep queues and trims included: the driver's over its backing device, or the device alone.
program_fio_device() {
	# The file system first: a host that the device has filled refuses a pool for it, which the driver complains about.
	load backing="$SWAP" && new_fs
	# fio's libraries reserve more than there is, and there is no swap now.
	echo 1 >/proc/sys/vm/overcommit_memory
	device=/dev/tmem0 rw=randtrimwrite
	if [ "$mode" = off ]; then device=$SWAP rw=randwrite; fi
	[ -b $device ] || wrong "no device $device"
	verify --filename=$device --size=16M --bsrange=4k-64k --blockalign=4k --rw=$rw --direct=1 --ioengine=libaio \
		--iodepth=16
	verify --filename=$device --size=16M --bsrange=512-64k --rw=randrw --ioengine=psync
}

# A disk in a file: trims become holes in it.
program_fio_trim() {
	ready
	truncate -s 32M $DATA/disk
	losetup /dev/loop0 $DATA/disk || wrong "no loop device"
	verify --filename=/dev/loop0 --size=32M --bsrange=4k-64k --blockalign=4k --rw=randtrimwrite --ioengine=psync \
		--verify_backlog=64
	losetup -d /dev/loop0 || wrong "cannot give the loop device back"
}

# Anonymous memory larger than what there is, in four of the patterns that stress-ng knows.
program_stress_memory() {
	ready
	for method in flip incdec rand-set ror; do
		stress --vm 2 --vm-bytes 80M --vm-method $method --timeout 20
	done
}

# Files read and written in every way that stress-ng checks.
program_stress_files() {
	ready
	stress --hdd 1 --hdd-bytes 24M --hdd-opts wr-rnd,rd-rnd --readahead 1 --readahead-bytes 32M \
		--mmap 1 --mmap-bytes 24M --mmap-file --timeout 15
}

# gcc over the device tree library of Linux, several at a time; all object files must be the same each time and in each mode.
program_compile() {
	ready
	sh /opt/compile.sh 2 3 3 >compile.log 2>&1 || show compile.log "compiling failed"
	sum=$(sed -n 's/.*"md5":"\([0-9a-f]*\)".*/\1/p' compile.log)
	[ -n "$sum" ] || show compile.log "no object files"
	work=6 unit='files compiled'
}

# busybox has a lesser setpriv.
as_owner() { /usr/bin/setpriv --reuid=999 --regid=999 --clear-groups "$@"; }

# postgres PROGRAM OPTION...: as the user that owns the database.
postgres() {
	name=$1
	shift
	as_owner "$PG/$name" "$@" >$name.log 2>&1 || show $name.log "$name $*"
	say "$name"
}

# sql QUERY: its result, one row a line.
sql() { as_owner "$PG/psql" -h /tmp -U postgres -Atc "$1" postgres; }

# A database larger than memory. What was moved between accounts must add up in all four tables, indexes must have what tables
# have, and each page its checksum.
program_pgbench() {
	ready
	mkdir -p /dev/shm $DATA/pg && mount -t tmpfs -o mode=1777 none /dev/shm && chown 999:999 $DATA/pg || wrong "no /dev/shm"
	postgres initdb -D $DATA/pg -U postgres -A trust --data-checksums --no-sync --no-locale -E SQL_ASCII
	cat >>$DATA/pg/postgresql.conf <<-END
		listen_addresses = ''
		unix_socket_directories = '/tmp'
		shared_buffers = 24MB
		max_wal_size = 64MB
		jit = off
	END
	postgres pg_ctl -D $DATA/pg -w -t 300 -l /tmp/server.log start
	# A fifth of each page is filled, so that few rows make many pages.
	postgres pgbench -h /tmp -U postgres -q -i -s 1 -F 20 postgres
	postgres pgbench -h /tmp -U postgres -n -c 4 -j 2 -t 75 postgres
	work=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' pgbench.log) unit=transactions
	[ "$work" = 300 ] || show pgbench.log "$work of 300 transactions"
	sums=$(sql 'SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
		(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history),
		(SELECT count(*) FROM pgbench_history)') || wrong "cannot ask for the sums"
	delta=${sums%%|*}
	[ -n "$delta" ] && [ "$sums" = "$delta|$delta|$delta|$delta|300" ] || wrong "what was moved does not add up: $sums"
	sql 'CREATE EXTENSION amcheck' >/dev/null || wrong "no amcheck"
	postgres pg_amcheck -h /tmp -U postgres --heapallindexed postgres
	postgres pg_ctl -D $DATA/pg -w -t 300 -m fast stop
	! grep -E 'ERROR|PANIC|FATAL|WARNING' server.log || show server.log "the server complained"
	postgres pg_checksums --check -D $DATA/pg
	grep -q '^Bad checksums: *0$' pg_checksums.log || show pg_checksums.log "bad checksums"
	umount /dev/shm
}

# A task that waits for so long will wait forever; the kernel then says so.
echo 60 >/proc/sys/kernel/hung_task_timeout_secs
dmesg -c >/dev/null
echo "start $program"
"program_$program"

umount $DATA || wrong "cannot unmount the file system"
e2fsck -fn "$DISK" >fsck.log 2>&1 || show fsck.log "e2fsck found damage"
if grep -q "^$SWAP " /proc/swaps; then swapoff "$SWAP" || wrong "cannot stop swapping"; fi
[ "$(cat /sys/kernel/tmem/swap_lost)" = 0 ] || wrong "pages were lost"
[ "$mode" = off ] || rmmod tmem || wrong "cannot unload the driver"
# Warnings and worse, but for the emulator's clocks and the word that the driver is not part of the kernel.
if dmesg -r | grep '^<[0-4]>' | grep -vE 'clocksource|hrtimer: interrupt took|loading out-of-tree module'; then
	wrong "the kernel complained"
fi
echo "TMEM-REPORT {\"event\":\"program\",\"name\":\"$program\",\"work\":$work,\"unit\":\"$unit\",\"sum\":\"$sum\"}"
echo "ok $program"
