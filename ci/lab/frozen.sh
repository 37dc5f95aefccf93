#!/bin/sh
# The host's side of the world `frozen` of `cargo xtask torture`: runs /lab/guest.toml, and freezes or thaws its guest when that says
# "host: freeze" or "host: thaw" on its console.
socket=/tmp/control
{
	tmem run /lab/guest.toml --report /out/report.json --control $socket
	echo $? >/tmp/status
} 2>&1 | while IFS= read -r line; do
	printf '%s\n' "$line"
	case $line in
	"host: freeze"*) tmem control $socket freeze torture ;;
	"host: thaw"*) tmem control $socket thaw torture ;;
	esac </dev/null
done
exit "$(cat /tmp/status)"
