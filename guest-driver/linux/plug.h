/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TMEM_PLUG_H
#define TMEM_PLUG_H

#include <linux/bio.h>

struct tmem_device;

int tmem_plug_init(struct tmem_device *dev);
void tmem_plug_exit(struct tmem_device *dev);
bool tmem_plug_bio(struct tmem_device *dev, struct bio *bio);

#endif /* TMEM_PLUG_H */
