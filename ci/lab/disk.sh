#!/bin/sh
# The host's side of step `linux-disk` of `cargo xtask test`: a guest whose disk has holes punched by it and is made larger from outside,
# while another session wants the same image.
set -e
socket=/tmp/control
: >/tmp/said
images=/images/stock-6.12
head -c 8388608 /dev/zero | tr '\0' '\007' >/tmp/scratch.img
# The guest's script is its second disk. What is behind it, as of a tape, is not read.
cp /lab/disk-guest.sh /tmp/script.img
truncate -s %512 /tmp/script.img 2>/dev/null || truncate -s 4096 /tmp/script.img
ln -s scratch.img /tmp/another-name
{
	tmem run --kernel $images/bzImage --initrd $images/initramfs --name disk --memory 128M --vcpus 2 --no-tmem \
		--disk /tmp/scratch.img,id=scratch --disk /tmp/script.img,ro --control $socket --report /out/report.json \
		--cmdline "console=ttyS0 panic=-1 quiet mitigations=off nokaslr guest.modules=virtio_mmio,virtio_blk guest.run=/bin/busybox,sh,/dev/vdb" \
		</dev/null
	echo $? >/tmp/status
} 2>&1 | tee /tmp/said &

until grep -q '^ready' /tmp/said || [ -e /tmp/status ]; do sleep 1; done
[ ! -e /tmp/status ] || exit 1

refused() {
	why=$1
	shift
	if "$@" >/tmp/refused 2>&1; then
		echo "not refused: $*"
		exit 1
	fi
	cat /tmp/refused
	grep -q "$why" /tmp/refused
}
refused 'is in use' tmem run --kernel $images/bzImage --disk /tmp/another-name
refused 'is in use' tmem run --kernel $images/bzImage --disk /tmp/scratch.img,ro
refused 'only grows' tmem control $socket resize disk scratch 4M
refused 'no disk `vda`: there are scratch, disk1' tmem control $socket resize disk vda 16M
tmem control $socket resize disk scratch 16M
until [ -e /tmp/status ]; do sleep 1; done
wait
set -- $(ls -ln /tmp/scratch.img)
[ "$5" = 16777216 ]
# 8 MiB of sevens without 2 MiB of holes.
[ "$(du -k /tmp/scratch.img | cut -f1)" -le 6400 ]
exit "$(cat /tmp/status)"
