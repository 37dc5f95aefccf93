# What Linux makes of its disks, run by /bin/busybox sh inside the guest of disk.sh.
bb=/bin/busybox
disk=/sys/block/vda
is() {
	[ "$2" = "$3" ] || {
		echo "disk: $1 is $2 and not $3"
		exit 1
	}
}
# Bytes of the disk that the host did not write.
others() { $bb tr -d '\007' </dev/vda | $bb wc -c; }
is "the serial number" "$($bb cat $disk/serial)" scratch
is "the other serial number" "$($bb cat /sys/block/vdb/serial)" disk1
is "the number of queues" "$($bb ls $disk/mq | $bb wc -l)" 2
is "the most that is discarded at once" "$($bb cat $disk/queue/discard_max_bytes)" 1073741824
is "the grain of a discard" "$($bb cat $disk/queue/discard_granularity)" 4096
is "the most that is zeroed at once" "$($bb cat $disk/queue/write_zeroes_max_bytes)" 1073741824
is "the other disk, read-only," "$($bb cat /sys/block/vdb/ro)" 1
is "what is discarded of the other" "$($bb cat /sys/block/vdb/queue/discard_max_bytes)" 0
is "what was there before" "$(others)" 0
$bb blkdiscard -o 1048576 -l 2097152 /dev/vda || exit 1
is "what was discarded" "$(others)" 2097152
# From both processors, and so through both queues, at once.
for cpu in 1 2; do
	$bb taskset $cpu $bb dd if=/dev/zero of=/dev/vda bs=4096 count=256 seek=$((cpu * 512 + 512)) conv=notrunc,fsync 2>/dev/null &
done
wait
is "what was discarded or written" "$(others)" 4194304
echo ready
until [ "$($bb cat $disk/size)" = 32768 ]; do $bb sleep 1; done
$bb dd if=/dev/zero of=/dev/vda bs=4096 count=1 seek=4095 conv=notrunc,fsync 2>/dev/null || exit 1
echo "disk: good"
exit 0
