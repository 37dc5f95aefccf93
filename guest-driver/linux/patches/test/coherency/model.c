// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model.h"

uint8_t *buffer;

static uint64_t rng;
static uint32_t next_version = 1;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

void seed(uint64_t with)
{
	rng = mix(rng ^ with);
}

static uint64_t random64(void)
{
	return mix(rng += 0x9e3779b97f4a7c15ULL);
}

uint32_t below(uint32_t n)
{
	return random64() % n;
}

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" (errno %d: %s)\n", errno, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void fill(uint8_t *to, uint32_t id, uint32_t sector, uint32_t version)
{
	uint64_t *word = (uint64_t *)to;
	unsigned int i;

	word[0] = (uint64_t)id << 32 | sector;
	word[1] = version;
	for (i = 2; i < SECTOR / 8; i++)
		word[i] = mix(word[0] ^ word[1] << 20 ^ i);
}

uint32_t version_of(const uint8_t *from, uint32_t id, uint32_t sector)
{
	const uint64_t *word = (const uint64_t *)from;
	uint8_t good[SECTOR] __attribute__((aligned(8)));
	unsigned int i;

	for (i = 0; i < SECTOR / 8 && !word[i]; i++)
		;
	if (i == SECTOR / 8)
		return 0;
	fill(good, id, sector, word[1]);
	return memcmp(good, from, SECTOR) ? UINT32_MAX : (uint32_t)word[1];
}

void check(const struct file *f, uint32_t first, uint32_t n, const uint8_t *data, const char *how)
{
	const uint64_t *word;
	uint32_t i, found;

	for (i = 0; i < n; i++) {
		found = version_of(data + (size_t)i * SECTOR, f->id, first + i);
		if (found == f->version[first + i])
			continue;
		word = (const uint64_t *)(data + (size_t)i * SECTOR);
		errno = 0;
		die("DIFFERENT %s: %s sector %u (page %u) of %u: version %u, found %u [%016" PRIx64 " %016" PRIx64 "]",
		    how, f->path, first + i, (first + i) / PAGE_SECTORS, f->sectors, f->version[first + i], found,
		    word[0], word[1]);
	}
}

void span(uint32_t limit, bool pages, uint32_t *first, uint32_t *n)
{
	uint32_t unit = pages ? PAGE_SECTORS : 1;

	*first = below(limit / unit) * unit;
	*n = (1 + below(below(4) ? 4 * PAGE_SECTORS : MOST) / unit) * unit;
	if (*n > limit - *first)
		*n = (limit - *first) / unit * unit;
	if (*n > MOST)
		*n = MOST;
}

void grow(struct file *f, uint32_t end)
{
	if (end > f->sectors)
		f->sectors = end;
}

void prepare(struct file *f, uint32_t first, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		f->version[first + i] = next_version;
		fill(buffer + (size_t)i * SECTOR, f->id, first + i, next_version++);
	}
}

uint32_t versions(void)
{
	return next_version - 1;
}

void all_read(const struct file *f, int fd, uint32_t first, uint32_t n, const char *how)
{
	ssize_t got = pread(fd, buffer, (size_t)n * SECTOR, (off_t)first * SECTOR);

	if (got != (ssize_t)n * SECTOR)
		die("pread %s %u+%u of %u, %s: %zd", f->path, first, n, f->sectors, how, got);
}

void all_written(const struct file *f, int fd, uint32_t first, uint32_t n)
{
	size_t done = 0, size = (size_t)n * SECTOR;
	ssize_t got;

	while (done < size) {
		got = pwrite(fd, buffer + done, size - done, (off_t)first * SECTOR + done);
		if (got <= 0)
			die("pwrite %s %u+%u: %zd", f->path, first, n, got);
		done += got;
	}
}

void open_file(struct file *f, int flags)
{
	f->fd = open(f->path, O_RDWR | O_CLOEXEC | flags, 0600);
	if (f->fd < 0)
		die("open %s", f->path);
	f->direct = open(f->path, O_RDWR | O_CLOEXEC | O_DIRECT);
	if (f->direct < 0)
		die("open %s with O_DIRECT", f->path);
}

void close_file(struct file *f)
{
	close(f->fd);
	close(f->direct);
}
