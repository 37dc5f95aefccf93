// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does a CPU read an old page after it has seen a newer store?
 *
 *   stale file FILE ROUNDS	a shared mapping of FILE, which has 96 pages or more
 *   stale anon ROUNDS		anonymous memory, with swap on
 *
 * One thread has the pages written back and reclaimed, for so many rounds. A second waits for pages that have left, and writes
 * a number to each and then to the page's flag: it has another page in memory then. A third reads the flag and
 * then the page, which may be newer, never older; its CPU may have a TLB entry for the page of before. Each has a CPU of its own.
 *
 * Prints how many writes there were and how many reads were stale, and exits with 0 whatever they were: a kernel without
 * tmem has a few as well, because it leaves the entries until pages are freed. Run it with and without, and compare.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096L
#define PAGES	96L
#define WORDS	(PAGE / (long)sizeof(_Atomic uint64_t))

static struct {
	_Atomic uint64_t *page;
	_Atomic uint64_t flag[PAGES];
	int fd;
	uint64_t rounds;
	atomic_bool over;
	uint64_t writes, reads, stale, oldest;
} run;

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(2, "three CPUs are needed");
}

static bool has_left(long page)
{
	unsigned char cached;

	if (mincore((void *)&run.page[page * WORDS], PAGE, &cached))
		err(2, "mincore");
	return !(cached & 1);
}

static void *writer(void *unused)
{
	on_cpu(0);
	while (!atomic_load(&run.over))
		for (long i = 0; i < PAGES; i++) {
			if (!has_left(i))
				continue;
			run.writes++;
			atomic_store(&run.page[i * WORDS], run.writes);
			atomic_store(&run.flag[i], run.writes);
		}
	return unused;
}

static void *reader(void *unused)
{
	on_cpu(1);
	while (!atomic_load(&run.over))
		for (long i = 0; i < PAGES; i++) {
			uint64_t flag = atomic_load(&run.flag[i]);
			uint64_t is = atomic_load(&run.page[i * WORDS]);

			run.reads++;
			if (is >= flag)
				continue;
			run.stale++;
			if (flag - is > run.oldest)
				run.oldest = flag - is;
		}
	return unused;
}

static void *cleaner(void *unused)
{
	void *memory = (void *)run.page;

	on_cpu(2);
	for (uint64_t round = 0; round < run.rounds; round++) {
		if (run.fd >= 0 && sync_file_range(run.fd, 0, PAGES * PAGE, SYNC_FILE_RANGE_WAIT_BEFORE |
						   SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
			err(2, "sync_file_range");
		if (madvise(memory, PAGES * PAGE, MADV_PAGEOUT))
			err(2, "MADV_PAGEOUT");
	}
	atomic_store(&run.over, true);
	return unused;
}

int main(int argc, char **argv)
{
	void *(*const thread[3])(void *) = { writer, reader, cleaner };
	bool file = argc == 4 && !strcmp(argv[1], "file");
	pthread_t threads[3];
	int failed = 0;
	void *memory;

	if (!file && !(argc == 3 && !strcmp(argv[1], "anon")))
		errx(2, "stale file FILE ROUNDS, or stale anon ROUNDS");
	run.rounds = strtoull(argv[argc - 1], NULL, 10);
	run.fd = file ? open(argv[2], O_RDWR) : -1;
	if (file && run.fd < 0)
		err(2, "%s", argv[2]);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, run.fd, 0);
	if (memory == MAP_FAILED)
		err(2, "mmap");
	/* What is left of an earlier run would be newer than the first writes. */
	memset(memory, 0, PAGES * PAGE);
	run.page = memory;
	for (int i = 0; i < 3; i++)
		failed |= pthread_create(&threads[i], NULL, thread[i], NULL);
	if (failed)
		errx(2, "no threads");
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	printf("%llu writes %llu reads %llu stale %llu oldest\n", (unsigned long long)run.writes,
	       (unsigned long long)run.reads, (unsigned long long)run.stale, (unsigned long long)run.oldest);
	return 0;
}
