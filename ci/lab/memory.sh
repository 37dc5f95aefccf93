#!/bin/sh
# The host's side of step `linux-memory` of `cargo xtask test`: runs the guests of memory.toml, and meanwhile sets the balloon of one
# of them from outside. What `tmem control` says before, after inflating and after deflating goes to /out.
socket=/tmp/control
truncate -s 128M /tmp/swap.img /tmp/data.img /tmp/grows.img /tmp/capped.img /tmp/capped-data.img
{
	tmem run /lab/memory.toml --report /out/report.json --control $socket &
	echo $! >/tmp/session
	wait $!
	echo $? >/tmp/status
} 2>&1 | tee /tmp/said &

ask() { tmem control $socket "$@" --json; }

# holds PAGES: waits until the guest's balloon holds exactly so many. Every look is a line, so that nobody takes it for a stall.
holds() {
	until ask guests >/tmp/now && grep -q "\"actual_pages\":$1,[^{}]*},\"disks\":\[[^]]*\],\"name\":\"asked\"" /tmp/now; do
		[ ! -e /tmp/status ] || return
		echo "waiting for a balloon of $1 pages"
		sleep 2
	done
}

# It says this when it has used its memory and freed it: the balloon can then take what the host holds.
until grep -q '^asked| ready' /tmp/said || [ -e /tmp/status ]; do sleep 1; done
ask guests >/out/before.json
ask balloon asked 4G 2>/out/refused.txt
ask balloon asked 32M
holds 8192
ask guests >/out/inflated.json
ask balloon asked 0
ask cap asked 1M
holds 0
ask guests >/out/deflated.json

# The others end by themselves.
until ask guests >/tmp/now && [ "$(grep -o '"name":"[a-z]*"' /tmp/now)" = '"name":"asked"' ]; do
	[ ! -e /tmp/status ] || break
	echo "waiting for the other guests"
	sleep 2
done
kill "$(cat /tmp/session)"
wait
exit "$(cat /tmp/status)"
