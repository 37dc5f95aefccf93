/* SPDX-License-Identifier: GPL-2.0-only */
/* When the machine sleeps. */
#ifndef TMEM_POWER_H
#define TMEM_POWER_H

int tmem_power_init(void);
void tmem_power_exit(void);

#endif /* TMEM_POWER_H */
