/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * On a kernel with CONFIG_TMEM (patches/): the host as the back end of the kernel's own hooks, for pages of any swap
 * device and clean pages of files.
 */
#ifndef TMEM_HOOKS_H
#define TMEM_HOOKS_H

#include <linux/types.h>

#if IS_ENABLED(CONFIG_TMEM)
void tmem_hooks_init(bool swap, bool clean);
void tmem_hooks_exit(void);
#else
static inline void tmem_hooks_init(bool swap, bool clean)
{
}

static inline void tmem_hooks_exit(void)
{
}
#endif

#endif /* TMEM_HOOKS_H */
