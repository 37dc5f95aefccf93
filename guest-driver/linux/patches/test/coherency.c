// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coherency torture of a file system over tmem.
 *
 *   coherency DIRECTORY SEED OPERATIONS [FILES [MIB [JOBS]]]
 *
 * Each job owns some files and a model of them: for each sector of 512 bytes the version that was last written, 0 for
 * a hole. Every sector holds its file, number and version and a pattern made of them, so that a sector that is old,
 * from elsewhere or torn is told apart from one that is right. The operations are chosen at random: all the ways in
 * which the contents of a file change, through the page cache, around it and under it, and all the ways of reading.
 * It is to be run where the files do not fit into memory; then pages go to the store and come back all the time.
 *
 * Beside that, each job has a reader process, which reads what its job is writing: after a write has returned no read
 * may find an older version.
 *
 * Exits with 0 if everything was right. With a difference it says where, and what was found.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTOR		512
#define PAGE		4096
#define PAGE_SECTORS	(PAGE / SECTOR)
/* Longest read or write, in sectors. */
#define MOST		512

struct file {
	char path[256];
	int fd;
	int direct;
	uint32_t id;
	uint32_t sectors;
	uint32_t *version;
};

/* Shared with the reader: versions that any later read must reach. The reader's file is never truncated. */
struct shared {
	volatile int stop;
	volatile uint32_t version[];
};

static uint64_t rng;
static uint32_t next_version = 1;
static uint8_t *buffer;
static unsigned long counts[17];

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

static uint64_t random64(void)
{
	return mix(rng += 0x9e3779b97f4a7c15ULL);
}

static uint32_t below(uint32_t n)
{
	return random64() % n;
}

static void die(const char *format, ...)
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

/* The version of a sector's contents; UINT32_MAX if they are none. */
static uint32_t version_of(const uint8_t *from, uint32_t id, uint32_t sector)
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

static void check(const struct file *f, uint32_t first, uint32_t n, const uint8_t *data, const char *how)
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

/* A random run of sectors, or of whole pages, below a limit. */
static void span(uint32_t limit, bool pages, uint32_t *first, uint32_t *n)
{
	uint32_t unit = pages ? PAGE_SECTORS : 1;

	*first = below(limit / unit) * unit;
	*n = (1 + below(below(4) ? 4 * PAGE_SECTORS : MOST) / unit) * unit;
	if (*n > limit - *first)
		*n = (limit - *first) / unit * unit;
	if (*n > MOST)
		*n = MOST;
}

static void grow(struct file *f, uint32_t end)
{
	if (end > f->sectors)
		f->sectors = end;
}

static void prepare(struct file *f, uint32_t first, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		f->version[first + i] = next_version;
		fill(buffer + (size_t)i * SECTOR, f->id, first + i, next_version++);
	}
}

static void all_written(const struct file *f, int fd, uint32_t first, uint32_t n)
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

static void do_write(struct file *f, uint32_t limit, bool direct)
{
	uint32_t first, n;

	span(limit, false, &first, &n);
	prepare(f, first, n);
	all_written(f, direct ? f->direct : f->fd, first, n);
	grow(f, first + n);
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
	ssize_t got;

	if (!f->sectors)
		return;
	span(f->sectors, false, &first, &n);
	memset(buffer, 0xaa, (size_t)n * SECTOR);
	got = pread(direct ? f->direct : f->fd, buffer, (size_t)n * SECTOR, (off_t)first * SECTOR);
	if (got != (ssize_t)n * SECTOR)
		die("pread %s %u+%u of %u: %zd", f->path, first, n, f->sectors, got);
	check(f, first, n, buffer, direct ? "direct" : "buffered");
}

static void do_read_all(struct file *f)
{
	uint32_t first, n;

	for (first = 0; first < f->sectors; first += n) {
		n = f->sectors - first < MOST ? f->sectors - first : MOST;
		if (pread(f->fd, buffer, (size_t)n * SECTOR, (off_t)first * SECTOR) != (ssize_t)n * SECTOR)
			die("pread %s %u+%u of %u", f->path, first, n, f->sectors);
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
	uint32_t first, n, i;

	if (!f->sectors)
		return;
	span(f->sectors, false, &first, &n);
	if (fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)first * SECTOR, (off_t)n * SECTOR)) {
		if (errno == EOPNOTSUPP)
			return;
		die("fallocate %d %s %u+%u", mode, f->path, first, n);
	}
	for (i = 0; i < n; i++)
		f->version[first + i] = 0;
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
		if (pread(f->fd, buffer, (size_t)step * SECTOR, (off_t)to * SECTOR) != (ssize_t)step * SECTOR)
			die("pread %s after a shift", f->path);
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
		if (pread(f->fd, buffer, (size_t)n * SECTOR, (off_t)first * SECTOR) != (ssize_t)n * SECTOR)
			die("pread %s of what was put in", f->path);
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

	if (pread(direct ? f->direct : f->fd, buffer, (size_t)n * SECTOR, (off_t)first * SECTOR) !=
	    (ssize_t)n * SECTOR)
		die("pread %s after a clone", f->path);
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

static void open_file(struct file *f, int flags)
{
	f->fd = open(f->path, O_RDWR | O_CLOEXEC | flags, 0600);
	if (f->fd < 0)
		die("open %s", f->path);
	f->direct = open(f->path, O_RDWR | O_CLOEXEC | O_DIRECT);
	if (f->direct < 0)
		die("open %s with O_DIRECT", f->path);
}

static void close_file(struct file *f)
{
	close(f->fd);
	close(f->direct);
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

static void step(struct file *files, unsigned int nr, uint32_t limit)
{
	struct file *f = &files[below(nr)];
	unsigned int what = below(100);

	if (what < 18)
		do_write(f, limit, false), counts[0]++;
	else if (what < 28)
		do_write(f, limit, true), counts[1]++;
	else if (what < 38)
		do_mapped(f, true), counts[2]++;
	else if (what < 58)
		do_read(f, false), counts[3]++;
	else if (what < 66)
		do_read(f, true), counts[4]++;
	else if (what < 76)
		do_mapped(f, false), counts[5]++;
	else if (what < 80)
		do_read_all(f), counts[6]++;
	else if (what < 83)
		do_truncate(f, limit), counts[7]++;
	else if (what < 87)
		do_punch(f, FALLOC_FL_PUNCH_HOLE), counts[8]++;
	else if (what < 90)
		do_punch(f, FALLOC_FL_ZERO_RANGE), counts[9]++;
	else if (what < 91)
		do_shift(f, limit, below(2)), counts[10]++;
	else if (what < 93)
		close_file(f), open_file(f, 0), counts[11]++;
	else if (what < 94)
		do_replace(f, limit), counts[12]++;
	else if (what < 97)
		fsync(f->fd), counts[13]++;
	else if (what < 98)
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED), counts[14]++;
	else if (what < 99)
		do_clone(f, &files[below(nr)], limit), counts[16]++;
	else if (!below(8))
		drop_caches(below(2) ? "2" : "3"), counts[15]++;
}

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
		else if (pread(fd, buffer, (size_t)n * SECTOR, (off_t)first * SECTOR) != (ssize_t)n * SECTOR)
			die("pread %s", f->path);
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
		rng ^= 0x5555;
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
		do_read_all(&f[i]);
		close_file(&f[i]);
	}
	printf("job %u: %lu operations, version %u:", nr, operations, next_version);
	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		printf(" %lu", counts[i]);
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
			rng = mix(strtoull(argv[2], NULL, 0) + i);
			_exit(job(argv[1], i, operations, files, limit));
		}
	}
	for (i = 0; i < jobs; i++)
		if (wait(&status) < 0 || status)
			bad++;
	printf(bad ? "BAD: %u jobs\n" : "GOOD\n", bad);
	return bad != 0;
}
