#!/bin/sh
# Compiles the device tree library of the Linux source in a loop, in a guest of `cargo xtask effects`:
#
#   compile.sh ROUNDS JOBS FILES [TURN TURNS]
#
# compiles the first so many files each round. /src has the source, /data is a file system that can be written to. Every
# round must give the same object files; their checksum is printed at the end, so that guests can be compared.
#
# With TURNS the guests, which begin together, each compile one file first; the time that this took is a turn. After that a guest works
# only when its turn comes, TURN (from 0) of TURNS, and rests while others work. So turns are as long as this machine needs.
rounds=$1 jobs=$2 files=$3 turn=$4 turns=$5
cd /data || exit 1
cp -r /src . || exit 1
cd src || exit 1
export TMPDIR=/data

now() { cut -d. -f1 /proc/uptime; }

# compile FILES: the first so many.
compile() {
	rm -f ./*.o
	# shellcheck disable=SC2016 # the inner shell's
	ls fdt*.c | head -n "$1" | xargs -P "$jobs" -n 1 sh -c 'gcc -Wall -I. -c "$0"' || exit 2
}

# rest: until this guest's turn in this round.
rest() {
	left=$((begun + length * (1 + turns * round + turn) - $(now)))
	if [ $left -gt 0 ]; then sleep $left; else echo "round $round: $((-left)) s late for a turn of $length s"; fi
}

if [ -n "$turns" ]; then
	begun=$(now)
	compile 1
	length=$(($(now) - begun))
	[ $length -gt 0 ] || { echo "a turn is less than a second: this machine is too fast for turns of one file"; exit 4; }
fi
round=0 first=''
while [ $round -lt "$rounds" ]; do
	[ -z "$turns" ] || rest
	compile "$files"
	sum=$(cat ./*.o | md5sum)
	[ -n "$first" ] || first=$sum
	[ "$sum" = "$first" ] || { echo "round $round: other object files than in the first"; exit 3; }
	round=$((round + 1))
done
# To the disk, where it counts.
sync
echo "TMEM-REPORT {\"event\":\"compiled\",\"rounds\":$round,\"md5\":\"${first%% *}\"}"
