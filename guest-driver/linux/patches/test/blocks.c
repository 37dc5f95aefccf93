// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file and what the disk has of it:
 *
 *   blocks same FILE		reads each page through the page cache and past it; both have to say the same
 *   blocks damage FILE WRITES	writes single sectors and pages past the page cache while others read it; that a write fails
 *	is no fault here, the disk being one that fails
 *   blocks shutdown DIR HOW	ends the file system at once (FS_IOC_SHUTDOWN; 0: after what is under way, 1: after its log, 2: as it is)
 *   blocks exchange ONE TWO	exchanges the blocks of two files of XFS (XFS_IOC_EXCHANGE_RANGE)
 *
 * Exits with 1 if a page is not what it has to be.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	4096L
#define SECTOR	512L
#define READERS	2

/* fs/xfs/libxfs/xfs_fs.h, which xfsprogs of Debian 12 are older than. */
struct exchange_range {
	int32_t file1_fd;
	uint32_t pad;
	uint64_t file1_offset;
	uint64_t file2_offset;
	uint64_t length;
	uint64_t flags;
};
/* The same number for ext4 and XFS. */
#define IOC_SHUTDOWN		_IOR('X', 125, uint32_t)
#define XFS_IOC_EXCHANGE_RANGE	_IOW('X', 129, struct exchange_range)

static int file_open(const char *path, int flags, long *size)
{
	int fd = open(path, flags);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		err(2, "%s", path);
	*size = st.st_size;
	return fd;
}

static void *page_alloc(void)
{
	void *page;

	if (posix_memalign(&page, PAGE, PAGE))
		errx(2, "no memory");
	return page;
}

static int same(const char *path)
{
	long size, at, different = 0;
	int cached = file_open(path, O_RDONLY, &size), direct = file_open(path, O_RDONLY | O_DIRECT, &size);
	unsigned char *one = page_alloc(), *two = page_alloc();

	for (at = 0; at + PAGE <= size; at += PAGE) {
		if (pread(cached, one, PAGE, at) != PAGE || pread(direct, two, PAGE, at) != PAGE)
			err(2, "pread at %ld", at);
		if (memcmp(one, two, PAGE)) {
			if (!different)
				printf("page %ld: %02x%02x.. in the cache, %02x%02x.. on the disk\n", at / PAGE, one[0],
				       one[1], two[0], two[1]);
			different++;
		}
	}
	printf("%ld pages looked at, %ld different\n", size / PAGE, different);
	return !!different;
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

	/* The disk may refuse that, too. */
	while (!atomic_load(&reading.over))
		if (pread(reading.fd, page, PAGE, rand_r(&state) % reading.pages * PAGE) < 0 && errno != EIO)
			err(2, "pread");
	return NULL;
}

static int damage(const char *path, long writes)
{
	long size, i, k, failed = 0;
	int fd = file_open(path, O_RDWR | O_DIRECT, &size);
	unsigned char *page = page_alloc();
	pthread_t readers[READERS];
	unsigned int state = 1;

	reading.fd = file_open(path, O_RDONLY, &size);
	reading.pages = size / PAGE;
	for (i = 0; i < READERS; i++)
		if (pthread_create(&readers[i], NULL, reader, (void *)(i + 1)))
			errx(2, "no threads");
	for (k = 0; k < writes; k++) {
		long length = rand_r(&state) % 2 ? PAGE : SECTOR;
		long at = rand_r(&state) % (size / length) * length;

		memset(page, k + 1, length);
		if (pwrite(fd, page, length, at) == length)
			continue;
		if (errno != EIO)
			err(2, "direct write");
		failed++;
	}
	atomic_store(&reading.over, true);
	for (i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	printf("%ld direct writes, %ld failed\n", writes, failed);
	return 0;
}

static int shut_down(const char *path, uint32_t how)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY);

	if (fd < 0 || ioctl(fd, IOC_SHUTDOWN, &how))
		err(2, "%s", path);
	return 0;
}

static int exchange(const char *one, const char *two)
{
	long size, other;
	struct exchange_range range = { .file1_fd = file_open(one, O_RDWR, &size) };
	int fd = file_open(two, O_RDWR, &other);

	range.length = size;
	if (size != other)
		errx(2, "sizes differ");
	if (ioctl(fd, XFS_IOC_EXCHANGE_RANGE, &range))
		err(2, "XFS_IOC_EXCHANGE_RANGE");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "same"))
		return same(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "damage"))
		return damage(argv[2], atol(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "shutdown"))
		return shut_down(argv[2], atoi(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "exchange"))
		return exchange(argv[2], argv[3]);
	errx(2, "blocks same FILE, blocks damage FILE WRITES, blocks shutdown DIR HOW, or blocks exchange ONE TWO");
}
