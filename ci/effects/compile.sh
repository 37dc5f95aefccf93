#!/bin/sh
# Compiles the device tree compiler of the Linux source in a loop, in a guest of `cargo xtask effects`:
#
#   compile.sh ROUNDS JOBS
#
# /src has the source, /data is a file system that can be written to. Every round must give the same object files; their
# checksum is printed at the end, so that guests can be compared.
rounds=$1 jobs=$2
cd /data || exit 1
cp -r /src . || exit 1
cd src || exit 1
export TMPDIR=/data
round=0 first=
while [ $round -lt "$rounds" ]; do
	rm -f ./*.o libfdt/*.o
	# shellcheck disable=SC2016 # the inner shell's
	ls checks.c data.c flattree.c fstree.c livetree.c srcpos.c treesource.c util.c libfdt/fdt*.c |
		xargs -P "$jobs" -n 1 sh -c 'gcc -O1 -Wall -I. -Ilibfdt -c -o "${0%.c}.o" "$0"' || exit 2
	sum=$(cat ./*.o libfdt/*.o | md5sum)
	[ -n "$first" ] || first=$sum
	[ "$sum" = "$first" ] || { echo "round $round: other object files than in the first"; exit 3; }
	round=$((round + 1))
done
# To the disk, where it counts.
sync
echo "TMEM-REPORT {\"event\":\"compiled\",\"rounds\":$round,\"md5\":\"${first%% *}\"}"
