#!/bin/sh
# Compiles the device tree library of the Linux source in a loop, in a guest of `cargo xtask effects`:
#
#   compile.sh ROUNDS JOBS FILES [TURN TURNS]
#
# compiles the first so many files each round. /src has the source, /data is a file system that can be written to. Every
# round must give the same object files; their checksum is printed at the end, so that guests can be compared.
#
# With TURNS the guests, which begin together, take turns after the first round: the time that it took is shared out evenly, and
# this guest works in part TURN (from 0) of each such time and rests in the others. So turns are as long as this machine needs.
rounds=$1 jobs=$2 files=$3 turn=$4 turns=$5
cd /data || exit 1
cp -r /src . || exit 1
cd src || exit 1
export TMPDIR=/data

now() { cut -d. -f1 /proc/uptime; }

# rest: until this guest's turn in this round.
rest() {
	[ -n "$turns" ] && [ $round -gt 0 ] || return
	[ -n "$period" ] || period=$(($(now) - begun))
	left=$((begun + period * round + period * turn / turns - $(now)))
	if [ $left -gt 0 ]; then sleep $left; else echo "round $round: $((-left)) s late"; fi
}

round=0 first='' period='' begun=$(now)
while [ $round -lt "$rounds" ]; do
	rest
	rm -f ./*.o
	# shellcheck disable=SC2016 # the inner shell's
	ls fdt*.c | head -n "$files" | xargs -P "$jobs" -n 1 sh -c 'gcc -Wall -I. -c "$0"' || exit 2
	sum=$(cat ./*.o | md5sum)
	[ -n "$first" ] || first=$sum
	[ "$sum" = "$first" ] || { echo "round $round: other object files than in the first"; exit 3; }
	round=$((round + 1))
done
# To the disk, where it counts.
sync
echo "TMEM-REPORT {\"event\":\"compiled\",\"rounds\":$round,\"md5\":\"${first%% *}\"}"
