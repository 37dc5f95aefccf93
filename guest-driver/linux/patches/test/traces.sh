# SPDX-License-Identifier: GPL-2.0-only
#
# For guest.sh, which reads it: what the events of a kernel say about tmem.

TRACING=/sys/kernel/tracing

# trace KIB EVENT...: starts with nothing, and with so much room on each CPU.
trace() {
	[ -e $TRACING/trace ] || mount -t tracefs none $TRACING 2>/dev/null
	[ -e $TRACING/events/tmem ] || { skip="needs a kernel with events"; return 2; }
	echo 0 >$TRACING/tracing_on
	echo "$1" >$TRACING/buffer_size_kb && echo >$TRACING/trace || { wrong "no room for events"; return 1; }
	shift
	for event; do echo 1 >$TRACING/events/"$event"/enable || { wrong "no event $event"; return 1; }; done
	echo 1 >$TRACING/tracing_on
}

# traced COMMAND: ends it, and gives all that was traced to the command, or the scenario fails. How many events there are is said by
# entries in /tmp/stats.
traced() {
	echo 0 >$TRACING/tracing_on
	echo 0 >$TRACING/events/enable
	echo 0 >$TRACING/options/stacktrace
	"$@" <$TRACING/trace
	cat $TRACING/per_cpu/cpu*/stats >/tmp/stats
	# The memory is needed.
	echo >$TRACING/trace
	echo 64 >$TRACING/buffer_size_kb
	awk '/^(overrun|commit overrun|dropped events):/ { lost += $NF } END { exit lost > 0 }' /tmp/stats ||
		{ cat /tmp/stats >&2; wrong "events were lost"; }
}

entries() { sed -n 's/^entries: //p' /tmp/stats | awk '{ n += $1 } END { print n }'; }

# equal WHAT NUMBER COUNTER...: an event and counters, which say the same.
equal() {
	what=$1 number=$2 sum=0
	shift 2
	for c; do sum=$((sum + $(gained "$c"))); done
	say "$what: $number, $*: $sum"
	[ "$number" = $sum ] || wrong "$what: $number by the events, $sum by $*"
}

# Sums of the events, as words: of each kind of pool its number, puts with their pages and how many were stored, gets with their
# pages and how many came, flushes and their pages; then all events, and those that make no sense. Swap was there first.
sum_events() {
	awk -v inode="$1" -v most="$2" '
		function value(name) { match($0, name "=[0-9]+"); return substr($0, RSTART + length(name) + 1, RLENGTH - length(name) - 1) + 0 }
		!/: tmem_(put|get|flush): / { next }
		{
			events++
			pool = value("pool")
			if (events == 1) swap = pool
			use = pool == swap ? "s" : "c"
			if (use == "c" && clean == "") clean = pool
			if (use == "c" && pool != clean) bad++
		}
		/: tmem_flush: / { n[use "flush"]++; pages[use "flush"] += value("count"); next }
		{
			op = use (/: tmem_put: / ? "put" : "get")
			n[op]++; pages[op] += value("pages"); done[op] += value("done")
			if (use == "c" && value("object") != inode) bad++
			if (value("pages") < 1 || value("pages") > most || value("done") > value("pages")) bad++
		}
		END {
			for (i = 1; i <= split("s c", uses, " "); i++) {
				u = uses[i]
				printf "%d %d %d %d %d %d %d %.0f ", n[u "put"], pages[u "put"], done[u "put"], n[u "get"], pages[u "get"],
					done[u "get"], n[u "flush"], pages[u "flush"]
			}
			print events + 0, bad + 0
		}'
}

# A store that is too small, so that it refuses and evicts. Folios are single pages, whose counters and events say the same.
scenario_events_say_what_counters_say() {
	need_host || return 2
	trace 8192 tmem || return
	echo never >$THP/enabled
	load both || return 1
	swap_on && swap_work || return 1
	new_fs || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=40 2>/dev/null
	# shellcheck disable=SC2046 # words, on purpose
	set -- $(ls -i $MNT/file)
	inode=$1
	fill_store $MNT/file || return 1
	# The end is in memory; some of what comes before that is in the store, and what comes before that is not. Backwards, because
	# what is read displaces what is at the front of what the store has.
	for at in $(seq 31 -1 12); do limited 12 dd if=$MNT/file bs=1M skip="$at" count=1 of=/dev/null 2>/dev/null; done
	# Flushed: one page, a range, all.
	echo other | dd of=$MNT/file conv=notrunc 2>/dev/null
	echo 1 >/proc/sys/vm/drop_caches
	truncate -s 20M $MNT/file && rm $MNT/file && end_fs && swap_off || return 1
	traced sum_events "$inode" 64 >/tmp/sums || return 1
	# shellcheck disable=SC2046 # words, on purpose
	set -- $(cat /tmp/sums)
	say "$*"
	[ "${17}" = "$(entries)" ] || { wrong "${17} events were read, and $(entries) recorded"; return 1; }
	[ "${18}" = 0 ] || { wrong "${18} events make no sense"; return 1; }
	equal "puts of swap" "$1" swap_put_calls && equal "pages of swap put" "$2" swap_puts swap_refused &&
		equal "pages of swap stored" "$3" swap_puts && equal "gets of swap" "$4" swap_get_calls &&
		equal "pages of swap asked for" "$5" swap_gets swap_lost && equal "pages of swap that came" "$6" swap_gets &&
		equal "pages of swap flushed" "$8" swap_flushes && equal "clean puts" "$9" clean_put_calls &&
		equal "clean pages put" "${10}" clean_puts clean_refused && equal "clean pages stored" "${11}" clean_puts &&
		equal "clean gets" "${12}" clean_get_calls && equal "clean pages asked for" "${13}" clean_gets &&
		equal "clean pages that came" "${14}" clean_hits && equal "clean flushes" "${15}" clean_flush_calls || return 1
	for c in swap_puts swap_refused swap_gets swap_flushes clean_puts clean_hits; do used $c 500 || return 1; done
	[ "$(gained clean_gets)" -gt "$(gained clean_hits)" ] || { wrong "nothing was evicted"; return 1; }
	used clean_flush_calls 2 && unload
}

# Of stacks of those who allocate, read from standard input: the functions of tmem, each line a kind of stack, the innermost first. What an interrupt does has
# nothing to do with whom it interrupted.
allocations() {
	awk '
		/<stack trace>/ { if (line != "") print line; line = ""; other = 0; next }
		/^ => / { if ($2 ~ /^asm_/ && line == "") other = 1; if (!other && $2 ~ /^_*tmem_/) line = line $2 " "; next }
		END { if (line != "") print line }' | sort | uniq -c
}

# Memory is allocated for pools, and not while pages are put, got or flushed, by kernel and driver: all that allocates is traced
# with its stack, while memory is short and pages travel.
scenario_pages_travel_without_allocations() {
	need_host || return 2
	trace 49152 kmem/kmalloc kmem/kmem_cache_alloc kmem/mm_page_alloc || return
	load both || return 1
	echo 1 >$TRACING/options/stacktrace
	swap_on && new_fs || return 1
	dd if=/dev/urandom of=$MNT/file bs=1M count=8 2>/dev/null
	sync
	echo 3 >/proc/sys/vm/drop_caches
	for _ in 1 2; do limited 4 cat $MNT/file >/dev/null; done
	limited 12 tmem-workload run --memory 20M --passes 1 >/tmp/workload.log 2>&1 || { wrong "tmem-workload failed"; return 1; }
	rm $MNT/file
	traced allocations >/tmp/allocations || return 1
	for c in swap_puts swap_gets swap_flushes clean_puts clean_hits; do used $c 500 || return 1; done
	say "$(gained swap_puts) pages of swap put, $(gained swap_gets) got; $(gained clean_puts) clean, $(gained clean_hits)"
	say "events and stacks: $(entries); the stacks with tmem in them:"
	sed 's/^/    /' /tmp/allocations
	# Those of pools show that such a stack is seen.
	for place in 'tmem_swapon|tmem_swap_create' 'tmem_sb_enable|tmem_clean_create'; do
		grep -q -E "$place" /tmp/allocations || { wrong "no allocation by $place was seen"; return 1; }
	done
	! grep -v -E 'tmem_(swapon|swap_create|sb_enable|clean_create)' /tmp/allocations || { wrong "something was allocated on a page's way"; return 1; }
	end_fs && swap_off && unload
}
