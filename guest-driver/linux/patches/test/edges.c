// SPDX-License-Identifier: GPL-2.0-only
/*
 * What scripts cannot do to files and memory, and what they cannot see:
 *
 *   edges move ORIG DONOR	exchanges the blocks of two files of the same size (EXT4_IOC_MOVE_EXT); afterwards ORIG is
 *	the same, and DONOR, whose new blocks are unwritten, is zeros wherever it was not cached
 *   edges exchange ORIG DONOR	the same, and looks at nothing
 *   edges direct FILE WRITES	writes parts of FILE with direct I/O while others read it, and reads each part
 *	afterwards
 *   edges fail FILE		writes parts of FILE with direct I/O to a disk on which each such write fails in its second half;
 *	the source is a mapping of the same part, shifted by a page, so that what was there is read meanwhile
 *   edges same FILE		every page of FILE that is not cached is what a direct read finds on the disk
 *   edges pageout MIB		has so much memory in single pages reclaimed, as far as it goes
 *
 * Exits with 1 if a page is not what it has to be. Run it with less memory than the files have, so that pages leave.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	4096L
/* One direct write: its invalidation takes a while. */
#define PART	(2L << 20)
#define READERS	2

/* fs/ext4/ext4.h; no header of the kernel's user-space API has it. */
struct move_extent {
	uint32_t reserved;
	uint32_t donor_fd;
	uint64_t orig_start;
	uint64_t donor_start;
	uint64_t len;
	uint64_t moved_len;
};
#define EXT4_IOC_MOVE_EXT	_IOWR('f', 15, struct move_extent)

static int file_open(const char *path, int flags, long *size)
{
	int fd = open(path, flags);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		err(2, "%s", path);
	*size = st.st_size;
	return fd;
}

static void read_at(int fd, void *to, long length, long at)
{
	if (pread(fd, to, length, at) != length)
		err(2, "pread at %ld", at);
}

/* Of each page of a file, whether it is cached (bit 0). */
static unsigned char *cached_pages(int fd, long size)
{
	unsigned char *cached = malloc(size / PAGE);
	void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	if (!cached || map == MAP_FAILED || mincore(map, size, cached))
		err(2, "mincore");
	munmap(map, size);
	return cached;
}

static void exchange(int orig, int donor, long pages)
{
	struct move_extent move = { .donor_fd = donor, .len = pages };

	/* What is on its way to the disk would be in neither's blocks yet. */
	if (fsync(orig) || fsync(donor) || ioctl(orig, EXT4_IOC_MOVE_EXT, &move))
		err(2, "EXT4_IOC_MOVE_EXT");
	if ((long)move.moved_len != pages)
		errx(2, "of %ld blocks %ld were moved", pages, (long)move.moved_len);
}

static int move(const char *orig_path, const char *donor_path, bool looks)
{
	long size, donor_size, pages, i, looked_at = 0, different = 0;
	int orig = file_open(orig_path, O_RDWR, &size), donor = file_open(donor_path, O_RDWR, &donor_size);
	unsigned char *cached, *was, is[PAGE];
	const unsigned char zeros[PAGE] = { 0 };

	pages = size / PAGE;
	was = malloc(size);
	if (size != donor_size || !was)
		errx(2, "%s is not as large as %s", donor_path, orig_path);
	if (!looks) {
		exchange(orig, donor, pages);
		return 0;
	}
	cached = cached_pages(donor, size);
	read_at(orig, was, size, 0);
	exchange(orig, donor, pages);
	for (i = 0; i < pages; i++) {
		read_at(orig, is, PAGE, i * PAGE);
		different += !!memcmp(was + i * PAGE, is, PAGE);
		/* A page that is cached stays as it is in any kernel. */
		if (cached[i] & 1)
			continue;
		read_at(donor, is, PAGE, i * PAGE);
		looked_at++;
		different += !!memcmp(zeros, is, PAGE);
	}
	printf("%ld pages looked at, %ld different\n", looked_at, different);
	return different || looked_at < pages / 2;
}

static struct {
	int fd;
	long pages;
	atomic_bool over;
} reading;

static void *reader(void *seed)
{
	unsigned int state = (uintptr_t)seed;
	unsigned char page[PAGE];

	while (!atomic_load(&reading.over))
		read_at(reading.fd, page, PAGE, rand_r(&state) % reading.pages * PAGE);
	return NULL;
}

static int direct(const char *path, long writes)
{
	long size, at, i, k, different = 0;
	int fd = file_open(path, O_RDWR | O_DIRECT, &size), failed = 0;
	pthread_t readers[READERS];
	unsigned char page[PAGE];
	unsigned int state = 1;
	unsigned char *part;

	reading.fd = file_open(path, O_RDONLY, &size);
	reading.pages = size / PAGE;
	if (size < PART || posix_memalign((void **)&part, PAGE, PART))
		errx(2, "%s is too small", path);
	for (i = 0; i < READERS; i++)
		failed |= pthread_create(&readers[i], NULL, reader, (void *)(i + 1));
	if (failed)
		errx(2, "no threads");
	for (k = 1; k <= writes; k++) {
		at = rand_r(&state) % (size / PART) * PART;
		for (i = 0; i < PART; i += sizeof(k))
			memcpy(part + i, &k, sizeof(k));
		if (pwrite(fd, part, PART, at) != PART)
			err(2, "direct write");
		for (i = 0; i < PART; i += PAGE) {
			read_at(reading.fd, page, PAGE, at + i);
			different += !!memcmp(page, part + i, PAGE);
		}
	}
	atomic_store(&reading.over, true);
	for (i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	printf("%ld direct writes, %ld pages different\n", writes, different);
	return !!different;
}

static int fail(const char *path)
{
	long size, at;
	int fd = file_open(path, O_RDWR | O_DIRECT, &size);
	char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		err(2, "%s", path);
	for (at = 0; at + PART <= size; at += PART)
		if (pwrite(fd, map + at + PAGE, PART - PAGE, at) >= 0)
			errx(2, "the write at %ld did not fail", at);
	return 0;
}

static int same(const char *path)
{
	long size, pages, i, looked_at = 0, different = 0;
	int fd = file_open(path, O_RDONLY, &size), disk = file_open(path, O_RDONLY | O_DIRECT, &size);
	unsigned char *cached = cached_pages(fd, size), *is = malloc(size), *must;

	pages = size / PAGE;
	if (!is || posix_memalign((void **)&must, PAGE, PAGE))
		err(2, "%s", path);
	/* While there is direct I/O nothing comes from tmem. */
	read_at(fd, is, pages * PAGE, 0);
	for (i = 0; i < pages; i++) {
		if (cached[i] & 1)
			continue;
		read_at(disk, must, PAGE, i * PAGE);
		looked_at++;
		different += !!memcmp(is + i * PAGE, must, PAGE);
	}
	printf("%ld of %ld pages looked at, %ld different\n", looked_at, pages, different);
	return different || looked_at < pages / 2;
}

static int pageout(long mib)
{
	long size = mib << 20, i, state = 1;
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* zswap has no use for large folios. */
	if (memory == MAP_FAILED || madvise(memory, size, MADV_NOHUGEPAGE))
		err(2, "mmap");
	for (i = 0; i < size; i += sizeof(state)) {
		state = state * 6364136223846793005L + 1442695040888963407L;
		memcpy(memory + i, &state, sizeof(state));
	}
	if (madvise(memory, size, MADV_PAGEOUT))
		err(2, "MADV_PAGEOUT");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (argc == 4 && (!strcmp(what, "move") || !strcmp(what, "exchange")))
		return move(argv[2], argv[3], !strcmp(what, "move"));
	if (argc == 4 && !strcmp(what, "direct"))
		return direct(argv[2], atol(argv[3]));
	if (argc == 3 && !strcmp(what, "fail"))
		return fail(argv[2]);
	if (argc == 3 && !strcmp(what, "same"))
		return same(argv[2]);
	if (argc == 3 && !strcmp(what, "pageout"))
		return pageout(atol(argv[2]));
	errx(2, "edges move|exchange ORIG DONOR, edges direct FILE WRITES, edges fail|same FILE, or edges pageout MIB");
}
