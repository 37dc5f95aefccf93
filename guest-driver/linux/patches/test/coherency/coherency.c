// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coherency torture of a file system over tmem.
 *
 *   coherency DIRECTORY SEED OPERATIONS [FILES [MIB [JOBS]]]
 *
 * Each job owns some files and a model of them (model.h). The operations are chosen at random (operations.c): all the
 * ways in which the contents of a file change, through the page cache, around it and under it, and all the ways of
 * reading. It is to be run where the files do not fit into memory; then pages go to the store and come back all the
 * time.
 *
 * Beside that, each job has a reader process, which reads what its job is writing: after a write has returned no read
 * may find an older version.
 *
 * Exits with 0 if everything was right. With a difference it says where, and what was found.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model.h"
#include "operations.h"

/* Shared with the reader: versions that any later read must reach. The reader's file is never truncated. */
struct shared {
	volatile int stop;
	volatile uint32_t version[];
};

/* Until it is stopped: no read may find less than what was promised before the read began. */
static void reader(const struct file *f, const struct shared *shared)
{
	uint32_t promised[MOST], first, n, i, found;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	unsigned long reads = 0;
	uint8_t *map;

	if (fd < 0)
		die("open %s", f->path);
	map = mmap(NULL, (size_t)f->sectors * SECTOR, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap %s", f->path);
	while (!shared->stop) {
		bool mapped = !below(3);

		span(f->sectors, false, &first, &n);
		for (i = 0; i < n; i++)
			promised[i] = __atomic_load_n(&shared->version[first + i], __ATOMIC_SEQ_CST);
		if (mapped)
			memcpy(buffer, map + (size_t)first * SECTOR, (size_t)n * SECTOR);
		else
			all_read(f, fd, first, n, "by the reader");
		for (i = 0; i < n; i++) {
			found = version_of(buffer + (size_t)i * SECTOR, f->id, first + i);
			/* A sector that is being written may be torn; the next read of it is not. */
			if (found == UINT32_MAX && promised[i] != shared->version[first + i])
				continue;
			if (found == UINT32_MAX) {
				usleep(1000);
				if (pread(fd, buffer + (size_t)i * SECTOR, SECTOR, (off_t)(first + i) * SECTOR) != SECTOR)
					die("pread %s", f->path);
				found = version_of(buffer + (size_t)i * SECTOR, f->id, first + i);
				if (found == UINT32_MAX)
					continue;
			}
			if (found < promised[i])
				die("STALE %s: %s sector %u (page %u): version %u after %u was written",
				    mapped ? "mapped" : "read", f->path, first + i, (first + i) / PAGE_SECTORS, found,
				    promised[i]);
		}
		reads++;
	}
	printf("reader %s: %lu reads\n", f->path, reads);
	fflush(stdout);
	_exit(0);
}

/* One write of the shared file, through the cache or around it, promised once it has returned. */
static void write_shared(struct file *f, struct shared *shared)
{
	uint32_t first, n, i;
	/* A direct write of parts of a page may meet a reader's page, which the kernel does not promise to be coherent. */
	bool direct = below(2);

	span(f->sectors, direct, &first, &n);
	prepare(f, first, n);
	all_written(f, direct ? f->direct : f->fd, first, n);
	for (i = 0; i < n; i++)
		__atomic_store_n(&shared->version[first + i], f->version[first + i], __ATOMIC_SEQ_CST);
}

static void make_file(struct file *f, const char *dir, unsigned int job, unsigned int nr, uint32_t limit)
{
	snprintf(f->path, sizeof(f->path), "%s/job%u-file%u", dir, job, nr);
	f->id = job << 16 | nr | 1 << 30;
	f->version = calloc(limit, sizeof(*f->version));
	if (!f->version)
		die("no memory");
	open_file(f, O_CREAT | O_TRUNC);
}

static int job(const char *dir, unsigned int nr, unsigned long operations, unsigned int files, uint32_t limit)
{
	struct file *f = calloc(files + 1, sizeof(*f));
	struct shared *shared;
	unsigned long done;
	unsigned int i;
	pid_t pid;
	int status;

	shared = mmap(NULL, sizeof(*shared) + (size_t)limit * sizeof(uint32_t), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	buffer = aligned_alloc(PAGE, MOST * SECTOR);
	if (!f || !buffer || shared == MAP_FAILED)
		die("no memory");
	for (i = 0; i <= files; i++)
		make_file(&f[i], dir, nr, i, limit);
	f[files].sectors = limit;
	if (ftruncate(f[files].fd, (off_t)limit * SECTOR))
		die("ftruncate %s", f[files].path);

	fflush(stdout);
	pid = fork();
	if (!pid) {
		seed(0x5555);
		buffer = aligned_alloc(PAGE, MOST * SECTOR);
		reader(&f[files], shared);
	}
	for (done = 0; done < operations; done++) {
		step(f, files, limit);
		write_shared(&f[files], shared);
	}
	shared->stop = 1;
	if (waitpid(pid, &status, 0) != pid || status)
		die("the reader of job %u ended with %#x", nr, status);
	for (i = 0; i <= files; i++) {
		read_all(&f[i]);
		close_file(&f[i]);
	}
	printf("job %u: %lu operations, %u sectors written:", nr, operations, versions());
	tell_steps();
	printf("\n");
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int files, jobs, i, bad = 0;
	unsigned long operations;
	uint32_t limit;
	int status;

	if (argc < 4) {
		fprintf(stderr, "usage: %s DIRECTORY SEED OPERATIONS [FILES [MIB [JOBS]]]\n", argv[0]);
		return 2;
	}
	operations = strtoul(argv[3], NULL, 0);
	files = argc > 4 ? strtoul(argv[4], NULL, 0) : 4;
	limit = (argc > 5 ? strtoul(argv[5], NULL, 0) : 8) * (1 << 20) / SECTOR;
	jobs = argc > 6 ? strtoul(argv[6], NULL, 0) : 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < jobs; i++) {
		fflush(stdout);
		if (!fork()) {
			seed(strtoull(argv[2], NULL, 0) + i);
			_exit(job(argv[1], i, operations, files, limit));
		}
	}
	for (i = 0; i < jobs; i++)
		if (wait(&status) < 0 || status)
			bad++;
	printf(bad ? "BAD: %u jobs\n" : "GOOD\n", bad);
	return bad != 0;
}
