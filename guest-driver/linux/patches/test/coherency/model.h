/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files whose contents are known: for each sector of 512 bytes the version that was last written, 0 for a hole.
 *
 * Every sector holds its file, number and version and a pattern made of them, so that a sector that is old, from
 * elsewhere or torn is told apart from one that is right.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

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

/* MOST sectors, aligned as O_DIRECT wants them. */
extern uint8_t *buffer;

/* Starts the random numbers of a process, or makes them differ from those of the process that it came from. */
void seed(uint64_t with);
uint32_t below(uint32_t n);

/* Says what is wrong, with errno, and ends the process. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The version of a sector's contents; UINT32_MAX if they are none. */
uint32_t version_of(const uint8_t *from, uint32_t id, uint32_t sector);
/* Dies unless data are what the file has at these sectors. */
void check(const struct file *f, uint32_t first, uint32_t n, const uint8_t *data, const char *how);

/* A random run of sectors, or of whole pages, below a limit. */
void span(uint32_t limit, bool pages, uint32_t *first, uint32_t *n);
/* The file ends at this sector or after it. */
void grow(struct file *f, uint32_t end);
/* Gives sectors their next version, in the model and in the buffer. */
void prepare(struct file *f, uint32_t first, uint32_t n);
/* How many sectors have been given one. */
uint32_t versions(void);

void open_file(struct file *f, int flags);
void close_file(struct file *f);
/* Reads a run into the buffer, or dies. */
void all_read(const struct file *f, int fd, uint32_t first, uint32_t n, const char *how);
/* Writes a run from the buffer, or dies. */
void all_written(const struct file *f, int fd, uint32_t first, uint32_t n);

#endif
