/* SPDX-License-Identifier: GPL-2.0-only */
/* What is done to files. */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include "model.h"

/* One random operation on one of the files, none of which may grow beyond limit sectors. */
void step(struct file *files, unsigned int nr, uint32_t limit);
/* Prints how many there were of each. */
void tell_steps(void);
/* Reads a whole file and checks it. */
void read_all(const struct file *f);

#endif
