// SPDX-License-Identifier: GPL-2.0-only
/* Each way in which the contents of a file change or are read, with what the model says of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "operations.h"

static void do_write(struct file *f, uint32_t limit, bool direct)
{
	uint32_t first, n;

	span(limit, false, &first, &n);
	prepare(f, first, n);
	all_written(f, direct ? f->direct : f->fd, first, n);
	grow(f, first + n);
}

/* Makes a hole, or zeros. */
static void punch(struct file *f, int mode, uint32_t first, uint32_t n)
{
	uint32_t i;

	if (fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)first * SECTOR, (off_t)n * SECTOR)) {
		if (errno == EOPNOTSUPP)
			return;
		die("fallocate %d %s %u+%u", mode, f->path, first, n);
	}
	for (i = 0; i < n; i++)
		f->version[first + i] = 0;
}

/*
 * A write whose data end in memory that cannot be read. The kernel may have prepared for all of it, and has parts of a
 * large folio only; a hole in the middle may split it.
 */
static void do_short_write(struct file *f, uint32_t limit)
{
	static uint8_t *readable;
	uint32_t first, n, i, there, done;
	uint8_t *from;
	ssize_t got;

	if (!readable) {
		readable = mmap(NULL, 2 * MOST * SECTOR, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (readable == MAP_FAILED || mprotect(readable + MOST * SECTOR, MOST * SECTOR, PROT_NONE))
			die("memory that cannot be read");
	}
	span(limit, true, &first, &n);
	if (!n)
		return;
	there = below(n);
	from = readable + (MOST - there) * SECTOR;
	prepare(f, first, there);
	memcpy(from, buffer, (size_t)there * SECTOR);
	got = pwrite(f->fd, from, (size_t)n * SECTOR, (off_t)first * SECTOR);
	if (got < 0 && errno != EFAULT)
		die("pwrite %s %u+%u, with %u that can be read", f->path, first, n, there);
	done = got < 0 ? 0 : got / SECTOR;
	if (done)
		grow(f, first + done);
	/* What the kernel did not take, some sector perhaps in part, is written as it should have been. */
	if (done < there) {
		memcpy(buffer, from + (size_t)done * SECTOR, (size_t)(there - done) * SECTOR);
		all_written(f, f->fd, first + done, there - done);
		grow(f, first + there);
	}
	if (f->sectors <= first)
		return;
	i = first + PAGE_SECTORS * below(n / PAGE_SECTORS);
	if (i + PAGE_SECTORS <= f->sectors && below(2))
		punch(f, FALLOC_FL_PUNCH_HOLE, i, PAGE_SECTORS);
	if (n > f->sectors - first)
		n = f->sectors - first;
	all_read(f, f->fd, first, n, "after a short write");
	check(f, first, n, buffer, "after a short write");
}

/* Checks a run of pages through a mapping, and may then write them through it. */
static void do_mapped(struct file *f, bool write)
{
	int prot = PROT_READ | (write ? PROT_WRITE : 0);
	uint32_t first, n;
	uint8_t *map;

	if (f->sectors < PAGE_SECTORS)
		return;
	span(f->sectors, true, &first, &n);
	if (!n)
		return;
	map = mmap(NULL, (size_t)n * SECTOR, prot, MAP_SHARED, f->fd, (off_t)first * SECTOR);
	if (map == MAP_FAILED)
		die("mmap %s", f->path);
	check(f, first, n, map, write ? "mapped before a write" : "mapped");
	if (write) {
		prepare(f, first, n);
		memcpy(map, buffer, (size_t)n * SECTOR);
	}
	munmap(map, (size_t)n * SECTOR);
}

static void do_read(struct file *f, bool direct)
{
	uint32_t first, n;

	if (!f->sectors)
		return;
	span(f->sectors, false, &first, &n);
	memset(buffer, 0xaa, (size_t)n * SECTOR);
	all_read(f, direct ? f->direct : f->fd, first, n, direct ? "direct" : "buffered");
	check(f, first, n, buffer, direct ? "direct" : "buffered");
}

void read_all(const struct file *f)
{
	uint32_t first, n;

	for (first = 0; first < f->sectors; first += n) {
		n = f->sectors - first < MOST ? f->sectors - first : MOST;
		all_read(f, f->fd, first, n, "in order");
		check(f, first, n, buffer, "read in order");
	}
}

static void do_truncate(struct file *f, uint32_t limit)
{
	uint32_t to = below(limit + 1);
	uint32_t i;

	if (ftruncate(f->fd, (off_t)to * SECTOR))
		die("ftruncate %s to %u", f->path, to);
	for (i = to; i < limit; i++)
		f->version[i] = 0;
	f->sectors = to;
	/* And out again: what was cut off must be zeros now. */
	if (below(2)) {
		to += below(limit - to + 1);
		if (ftruncate(f->fd, (off_t)to * SECTOR))
			die("ftruncate %s to %u", f->path, to);
		f->sectors = to;
	}
}

static void do_punch(struct file *f, int mode)
{
	uint32_t first, n;

	if (!f->sectors)
		return;
	span(f->sectors, false, &first, &n);
	punch(f, mode, first, n);
}

/*
 * Takes out, or puts in, whole blocks in the middle. What moves keeps the contents that name its old place, so it is
 * written again, but first only looked at: byte by byte what was there, in another place.
 */
static void do_shift(struct file *f, uint32_t limit, bool in)
{
	uint32_t first, n = PAGE_SECTORS * (1 + below(8)), left, i, step, expected;

	if (f->sectors < 64 * PAGE_SECTORS || (in && f->sectors + n > limit))
		return;
	first = PAGE_SECTORS * below((f->sectors - n) / PAGE_SECTORS - 1);
	if (fallocate(f->fd, in ? FALLOC_FL_INSERT_RANGE : FALLOC_FL_COLLAPSE_RANGE, (off_t)first * SECTOR,
		      (off_t)n * SECTOR)) {
		if (errno == EOPNOTSUPP)
			return;
		die("fallocate shift %s %u+%u of %u", f->path, first, n, f->sectors);
	}
	left = f->sectors - first - (in ? 0 : n);
	for (i = 0; i < left; i += step) {
		uint32_t from = first + i + (in ? 0 : n), to = first + i + (in ? n : 0), k;

		step = left - i < MOST ? left - i : MOST;
		all_read(f, f->fd, to, step, "after a shift");
		for (k = 0; k < step; k++) {
			expected = f->version[from + k];
			if (version_of(buffer + (size_t)k * SECTOR, f->id, from + k) != expected)
				die("DIFFERENT after a shift: %s sector %u is not what %u was", f->path, to + k, from + k);
		}
	}
	if (in) {
		f->sectors += n;
		for (i = 0; i < n; i++)
			f->version[first + i] = 0;
		all_read(f, f->fd, first, n, "put in");
		check(f, first, n, buffer, "put in");
		first += n;
	} else {
		f->sectors -= n;
		for (i = f->sectors; i < f->sectors + n; i++)
			f->version[i] = 0;
	}
	for (i = first; i < f->sectors; i += step) {
		step = f->sectors - i < MOST ? f->sectors - i : MOST;
		prepare(f, i, step);
		all_written(f, f->fd, i, step);
	}
}

/* Is a run of f the contents of a run of another file, which name their old place? */
static void check_clone(const struct file *f, uint32_t first, const struct file *from, uint32_t old, uint32_t n,
			bool direct)
{
	uint32_t i;

	all_read(f, direct ? f->direct : f->fd, first, n, "after a clone");
	for (i = 0; i < n; i++)
		if (version_of(buffer + (size_t)i * SECTOR, from->id, old + i) != from->version[old + i])
			die("DIFFERENT after a clone: %s sector %u is not what %u of %s is", f->path, first + i, old + i,
			    from->path);
}

/*
 * Makes a file share blocks with another, where the file system can, and looks at both. Then the shared blocks are
 * written, so that the contents name their place again.
 */
static void do_clone(struct file *f, const struct file *from, uint32_t limit)
{
	struct file_clone_range range;
	uint32_t first, old, n;

	if (f == from || from->sectors < PAGE_SECTORS)
		return;
	span(from->sectors, true, &old, &n);
	first = below((limit - n) / PAGE_SECTORS + 1) * PAGE_SECTORS;
	range = (struct file_clone_range) {
		.src_fd = from->fd,
		.src_offset = (uint64_t)old * SECTOR,
		.src_length = (uint64_t)n * SECTOR,
		.dest_offset = (uint64_t)first * SECTOR,
	};
	if (!n)
		return;
	if (ioctl(f->fd, FICLONERANGE, &range)) {
		if (errno == EOPNOTSUPP)
			return;
		die("FICLONERANGE %s %u+%u from %s %u", f->path, first, n, from->path, old);
	}
	grow(f, first + n);
	check_clone(f, first, from, old, n, below(2));
	if (below(2))
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	check_clone(f, first, from, old, n, false);
	prepare(f, first, n);
	all_written(f, below(2) ? f->direct : f->fd, first, n);
	check_clone(from, old, from, old, n, below(2));
}

/* The number of the old file is likely to be the new one's. */
static void do_replace(struct file *f, uint32_t limit)
{
	close_file(f);
	if (unlink(f->path))
		die("unlink %s", f->path);
	open_file(f, O_CREAT | O_EXCL);
	memset(f->version, 0, limit * sizeof(*f->version));
	f->sectors = 0;
	if (below(2)) {
		f->sectors = limit;
		if (ftruncate(f->fd, (off_t)limit * SECTOR))
			die("ftruncate %s", f->path);
	}
}

static void drop_caches(const char *what)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, what, 1) != 1)
		die("drop_caches");
	close(fd);
}

/* What step() chooses from. */
enum what {
	WRITE, WRITE_DIRECT, WRITE_MAPPED, WRITE_SHORT, READ, READ_DIRECT, READ_MAPPED, READ_ALL, TRUNCATE, PUNCH, ZERO,
	SHIFT, REOPEN, REPLACE, SYNC, FORGET, CLONE, DROP_CACHES, KINDS
};

static const struct {
	const char *name;
	unsigned int percent;
} operations[KINDS] = {
	[WRITE] = { "write", 14 },
	[WRITE_DIRECT] = { "write direct", 10 },
	[WRITE_MAPPED] = { "write mapped", 10 },
	[WRITE_SHORT] = { "write short", 4 },
	[READ] = { "read", 20 },
	[READ_DIRECT] = { "read direct", 8 },
	[READ_MAPPED] = { "read mapped", 10 },
	[READ_ALL] = { "read all", 4 },
	[TRUNCATE] = { "truncate", 3 },
	[PUNCH] = { "punch", 4 },
	[ZERO] = { "zero", 3 },
	[SHIFT] = { "shift", 1 },
	[REOPEN] = { "reopen", 2 },
	[REPLACE] = { "replace", 1 },
	[SYNC] = { "sync", 3 },
	[FORGET] = { "forget", 1 },
	[CLONE] = { "clone", 1 },
	[DROP_CACHES] = { "drop caches", 1 },
};

static unsigned long counts[KINDS];

void step(struct file *files, unsigned int nr, uint32_t limit)
{
	struct file *f = &files[below(nr)];
	unsigned int left = below(100);
	enum what what = WRITE;

	while (left >= operations[what].percent)
		left -= operations[what++].percent;
	counts[what]++;
	switch (what) {
	case WRITE:
		return do_write(f, limit, false);
	case WRITE_DIRECT:
		return do_write(f, limit, true);
	case WRITE_MAPPED:
		return do_mapped(f, true);
	case WRITE_SHORT:
		return do_short_write(f, limit);
	case READ:
		return do_read(f, false);
	case READ_DIRECT:
		return do_read(f, true);
	case READ_MAPPED:
		return do_mapped(f, false);
	case READ_ALL:
		return read_all(f);
	case TRUNCATE:
		return do_truncate(f, limit);
	case PUNCH:
		return do_punch(f, FALLOC_FL_PUNCH_HOLE);
	case ZERO:
		return do_punch(f, FALLOC_FL_ZERO_RANGE);
	case SHIFT:
		return do_shift(f, limit, below(2));
	case REOPEN:
		close_file(f);
		return open_file(f, 0);
	case REPLACE:
		return do_replace(f, limit);
	case SYNC:
		if (fsync(f->fd))
			die("fsync %s", f->path);
		return;
	case FORGET:
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
		return;
	case CLONE:
		return do_clone(f, &files[below(nr)], limit);
	case DROP_CACHES:
		/* For all jobs, so not often. */
		if (!below(8))
			drop_caches(below(2) ? "2" : "3");
		return;
	case KINDS:
		break;
	}
	die("the percents of operations are not 100");
}

void tell_steps(void)
{
	unsigned int i;

	for (i = 0; i < KINDS; i++)
		printf(" %s %lu", operations[i].name, counts[i]);
}
