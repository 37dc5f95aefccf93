/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The lock is a spin lock, as in the kernel. There its holder is not preempted; here it may be, and whoever waits then spins
 * for a time slice, unless the program is run before all others (chrt). FIRST_CORE_MUTEX makes it a mutex, which sleeps instead:
 * slower here, because its waiters sleep through locks that are held for less than a microsecond.
 */
#pragma once
#include <pthread.h>

#ifdef FIRST_CORE_MUTEX
typedef pthread_mutex_t lock_t;
#define lock_init(l) pthread_mutex_init(l, NULL)
#define lock_take pthread_mutex_lock
#define lock_drop pthread_mutex_unlock
#define lock_end pthread_mutex_destroy
#else
typedef pthread_spinlock_t lock_t;
#define lock_init(l) pthread_spin_init(l, PTHREAD_PROCESS_PRIVATE)
#define lock_take pthread_spin_lock
#define lock_drop pthread_spin_unlock
#define lock_end pthread_spin_destroy
#endif
