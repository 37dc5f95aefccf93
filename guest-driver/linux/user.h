/* SPDX-License-Identifier: GPL-2.0-only */
/* /dev/tmem: pools for programs. */
#ifndef TMEM_USER_DRIVER_H
#define TMEM_USER_DRIVER_H

void tmem_user_init(void);
void tmem_user_exit(void);

#endif /* TMEM_USER_DRIVER_H */
