// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that somebody else in the kernel holds while they are reclaimed:
 *
 *   borrowers pinned FILE ROUNDS	anonymous pages that io_uring has pinned: the disk reads into them and writes from them, again
 *	and again, while MADV_PAGEOUT wants them away
 *   borrowers piped FILE ROUNDS	pages of FILE and anonymous ones in a pipe (splice, vmsplice), reclaimed before they are read
 *	from it
 *   borrowers paged MIB ROUNDS		anonymous and shared memory, written by one thread and paged out by another
 *   borrowers collapsed FILE		pages of FILE, each with its number in it, as huge pages (MADV_COLLAPSE), reclaimed, read
 *	again, and read once more after FILE was opened for writing, which ends huge pages
 *
 * FILE of pinned and piped is made anew. Exits with 1 if a page is not what it has to be, with 3 if this kernel cannot do it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE		4096L
#define HUGE		(2L << 20)
#define PINNED		512L	/* pages */
#define PIPED		16L	/* pages, as many as a pipe has room for */
#define FILE_PAGES	2048L

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

static long different;

static void *map(long pages, int flags, int prot, int fd)
{
	void *at = mmap(NULL, pages * PAGE, prot, flags, fd, 0);

	if (at == MAP_FAILED)
		err(2, "mmap");
	return at;
}

static void fill(unsigned char *page, uint64_t number)
{
	uint64_t *words = (uint64_t *)page, i;

	for (i = 0; i < PAGE / sizeof(*words); i++)
		words[i] = number * 0x9e3779b97f4a7c15ULL + i;
}

static void check(const unsigned char *page, uint64_t number, const char *what)
{
	const uint64_t *words = (const uint64_t *)page;
	uint64_t i;

	for (i = 0; i < PAGE / sizeof(*words); i++) {
		if (words[i] == number * 0x9e3779b97f4a7c15ULL + i)
			continue;
		if (!different++)
			printf("%s: page %llu is wrong at word %llu: %llx\n", what, (unsigned long long)number,
			       (unsigned long long)i, (unsigned long long)words[i]);
		return;
	}
}

/* --- somebody who wants pages away, all the time */

static struct {
	void *at;
	long bytes;
	atomic_bool over;
} reclaim;

static void *reclaimer(void *unused)
{
	volatile unsigned char *bytes = reclaim.at;
	long i;

	(void)unused;
	while (!atomic_load(&reclaim.over)) {
		/* What is not mapped is not asked for. */
		for (i = 0; i < reclaim.bytes; i += PAGE)
			(void)bytes[i];
		if (madvise(reclaim.at, reclaim.bytes, MADV_PAGEOUT) && errno != EAGAIN)
			err(2, "MADV_PAGEOUT");
	}
	return NULL;
}

static pthread_t reclaim_start(void *at, long pages)
{
	pthread_t thread;

	reclaim.at = at;
	reclaim.bytes = pages * PAGE;
	atomic_store(&reclaim.over, false);
	if (pthread_create(&thread, NULL, reclaimer, NULL))
		errx(2, "no thread");
	return thread;
}

static void reclaim_stop(pthread_t thread)
{
	atomic_store(&reclaim.over, true);
	pthread_join(thread, NULL);
}

/* --- io_uring by hand: one request at a time */

static struct {
	int fd;
	struct io_uring_params params;
	unsigned char *sq, *cq;
	struct io_uring_sqe *sqes;
} ring;

static bool ring_open(void)
{
	unsigned int sq_bytes, cq_bytes;

	ring.fd = syscall(__NR_io_uring_setup, 4, &ring.params);
	if (ring.fd < 0)
		return false;
	sq_bytes = ring.params.sq_off.array + ring.params.sq_entries * sizeof(uint32_t);
	cq_bytes = ring.params.cq_off.cqes + ring.params.cq_entries * sizeof(struct io_uring_cqe);
	ring.sq = mmap(NULL, sq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	ring.cq = mmap(NULL, cq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
	ring.sqes = mmap(NULL, ring.params.sq_entries * sizeof(*ring.sqes), PROT_READ | PROT_WRITE, MAP_SHARED,
			 ring.fd, IORING_OFF_SQES);
	if (ring.sq == MAP_FAILED || ring.cq == MAP_FAILED || (void *)ring.sqes == MAP_FAILED)
		err(2, "mmap of a ring");
	return true;
}

/* Reads or writes with a pinned buffer, and waits for it. */
static long ring_io(int op, int fd, void *at, long bytes, long offset)
{
	_Atomic uint32_t *sq_tail = (void *)(ring.sq + ring.params.sq_off.tail);
	_Atomic uint32_t *cq_head = (void *)(ring.cq + ring.params.cq_off.head);
	uint32_t mask = *(uint32_t *)(ring.sq + ring.params.sq_off.ring_mask);
	uint32_t *array = (void *)(ring.sq + ring.params.sq_off.array);
	uint32_t cq_mask = *(uint32_t *)(ring.cq + ring.params.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(ring.cq + ring.params.cq_off.cqes);
	uint32_t tail = atomic_load(sq_tail), head = atomic_load(cq_head);
	struct io_uring_sqe *sqe = &ring.sqes[tail & mask];
	long result;

	*sqe = (struct io_uring_sqe) { .opcode = op, .fd = fd, .off = offset, .addr = (uintptr_t)at, .len = bytes };
	array[tail & mask] = tail & mask;
	atomic_store(sq_tail, tail + 1);
	if (syscall(__NR_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		err(2, "io_uring_enter");
	result = cqes[head & cq_mask].res;
	atomic_store(cq_head, head + 1);
	return result;
}

static int pinned(const char *path, long rounds)
{
	unsigned char *memory = map(PINNED, MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE, -1);
	struct iovec whole = { memory, PINNED * PAGE };
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
	pthread_t thread;
	long i, k;

	if (fd < 0)
		err(2, "%s", path);
	if (!ring_open())
		return 3;
	thread = reclaim_start(memory, PINNED);
	for (k = 0; k < rounds; k++) {
		for (i = 0; i < PINNED; i++)
			fill(memory + i * PAGE, k * PINNED + i);
		/* Some pages are in swap when they are pinned. */
		if (syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &whole, 1))
			err(2, "IORING_REGISTER_BUFFERS");
		if (ring_io(IORING_OP_WRITE_FIXED, fd, memory, PINNED * PAGE, 0) != PINNED * PAGE)
			errx(2, "write");
		for (i = 0; i < PINNED; i++)
			fill(memory + i * PAGE, ~i);
		if (ring_io(IORING_OP_READ_FIXED, fd, memory, PINNED * PAGE, 0) != PINNED * PAGE)
			errx(2, "read");
		for (i = 0; i < PINNED; i++)
			check(memory + i * PAGE, k * PINNED + i, "while pinned");
		if (syscall(__NR_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0))
			err(2, "IORING_UNREGISTER_BUFFERS");
		for (i = 0; i < PINNED; i++)
			check(memory + i * PAGE, k * PINNED + i, "afterwards");
		/* Pinned for the time of one read or write. */
		if (pwrite(fd, memory, PINNED * PAGE, 0) != PINNED * PAGE ||
		    pread(fd, memory, PINNED * PAGE, 0) != PINNED * PAGE)
			err(2, "direct I/O");
		for (i = 0; i < PINNED; i++)
			check(memory + i * PAGE, k * PINNED + i, "after direct I/O");
	}
	reclaim_stop(thread);
	printf("%ld rounds of %ld pages, %ld different\n", rounds, PINNED, different);
	return !!different;
}

/* --- pipes */

static void pipe_check(int from, uint64_t number, const char *what)
{
	unsigned char page[PAGE];
	long i, got, n;

	for (i = 0; i < PIPED; i++) {
		for (got = 0; got < PAGE; got += n)
			if ((n = read(from, page + got, PAGE - got)) <= 0)
				err(2, "read from a pipe");
		check(page, number + i, what);
	}
}

static int piped(const char *path, long rounds)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), ends[2];
	unsigned char *memory = map(PIPED, MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE, -1), page[PAGE];
	pthread_t thread;
	long i, k, at;
	loff_t offset;

	if (fd < 0 || pipe(ends))
		err(2, "%s", path);
	for (i = 0; i < FILE_PAGES; i++) {
		fill(page, i);
		if (pwrite(fd, page, PAGE, i * PAGE) != PAGE)
			err(2, "write");
	}
	if (fsync(fd))
		err(2, "fsync");
	thread = reclaim_start(map(FILE_PAGES, MAP_SHARED, PROT_READ, fd), FILE_PAGES);
	for (k = 0; k < rounds; k++) {
		at = k * 37 % (FILE_PAGES - PIPED);
		for (offset = at * PAGE, i = 0; i < PIPED * PAGE;) {
			ssize_t n = splice(fd, &offset, ends[1], NULL, PIPED * PAGE - i, 0);

			if (n <= 0)
				err(2, "splice");
			i += n;
		}
		posix_fadvise(fd, at * PAGE, PIPED * PAGE, POSIX_FADV_DONTNEED);
		pipe_check(ends[0], at, "spliced");

		for (i = 0; i < PIPED; i++)
			fill(memory + i * PAGE, k + i);
		if (vmsplice(ends[1], &(struct iovec) { memory, PIPED * PAGE }, 1, 0) != PIPED * PAGE)
			err(2, "vmsplice");
		if (madvise(memory, PIPED * PAGE, MADV_PAGEOUT) && errno != EAGAIN)
			err(2, "MADV_PAGEOUT");
		pipe_check(ends[0], k, "vmspliced");
		for (i = 0; i < PIPED; i++)
			check(memory + i * PAGE, k + i, "after vmsplice");
	}
	reclaim_stop(thread);
	printf("%ld rounds of %ld pages, %ld different\n", rounds, PIPED, different);
	return !!different;
}

/* --- paged out on demand */

static int paged(long mib, long rounds)
{
	long pages = mib * 256, i, k;
	unsigned char *anonymous = map(pages, MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE, -1);
	unsigned char *shared = map(pages, MAP_SHARED | MAP_ANONYMOUS, PROT_READ | PROT_WRITE, -1);
	unsigned char *memories[] = { anonymous, shared };
	pthread_t thread;

	for (k = 0; k < rounds; k++) {
		unsigned char *memory = memories[k % 2];

		thread = reclaim_start(memory, pages);
		for (i = 0; i < pages; i++)
			fill(memory + i * PAGE, k * pages + i);
		for (i = 0; i < pages; i++)
			check(memory + i * PAGE, k * pages + i, "paged out");
		reclaim_stop(thread);
	}
	printf("%ld rounds of %ld pages, %ld different\n", rounds, pages, different);
	return !!different;
}

/* --- huge pages of a file that nobody writes */

static int collapsed(const char *path)
{
	long pages = 4 * HUGE / PAGE, i, k, huge = 0;
	unsigned char page[PAGE], *reserved, *at;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0700);

	if (fd < 0)
		err(2, "%s", path);
	for (i = 0; i < pages; i++) {
		fill(page, i);
		if (pwrite(fd, page, PAGE, i * PAGE) != PAGE)
			err(2, "write");
	}
	if (fsync(fd))
		err(2, "fsync");
	close(fd);
	for (k = 0; k < 8; k++) {
		fd = open(path, O_RDONLY);
		reserved = map(pages + HUGE / PAGE, MAP_PRIVATE | MAP_ANONYMOUS, PROT_NONE, -1);
		at = (unsigned char *)(((uintptr_t)reserved + HUGE - 1) & ~(HUGE - 1));
		if (mmap(at, pages * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
			err(2, "mmap of %s", path);
		for (i = 0; i < pages; i++)
			check(at + i * PAGE, i, "before");
		for (i = 0; i < pages * PAGE / HUGE; i++)
			huge += !madvise(at + i * HUGE, HUGE, MADV_COLLAPSE);
		for (i = 0; i < pages; i++)
			check(at + i * PAGE, i, "as huge pages");
		if (madvise(at, pages * PAGE, MADV_PAGEOUT) && errno != EAGAIN)
			err(2, "MADV_PAGEOUT");
		for (i = 0; i < pages; i++)
			check(at + i * PAGE, i, "reclaimed");
		munmap(reserved, (pages + HUGE / PAGE) * PAGE);
		close(fd);
		fd = open(path, O_RDWR);
		for (i = 0; i < pages; i++) {
			if (pread(fd, page, PAGE, i * PAGE) != PAGE)
				err(2, "read");
			check(page, i, "opened for writing");
		}
		close(fd);
	}
	printf("%ld huge pages, %ld pages different\n", huge, different);
	if (!huge)
		return 3;
	return !!different;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "pinned"))
		return pinned(argv[2], atol(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "piped"))
		return piped(argv[2], atol(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "paged"))
		return paged(atol(argv[2]), atol(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "collapsed"))
		return collapsed(argv[2]);
	errx(2, "borrowers pinned FILE ROUNDS, piped FILE ROUNDS, paged MIB ROUNDS, or collapsed FILE");
}
