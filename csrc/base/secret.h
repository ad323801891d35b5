/* secret.h - memory for keys and passphrases: locked, left out of core dumps, wiped.
 *
 * Locking and dump exclusion are best effort (RLIMIT_MEMLOCK may be small); wiping always happens.
 * A forked child inherits a copy.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_BASE_SECRET_H
#define MLP_BASE_SECRET_H

#include <stddef.h>

/* Returns: len zeroed bytes on pages of their own (mmap, mlock, MADV_DONTDUMP), or NULL when there
 *          is no memory or len is 0. Free with mlp_secret_free and the same len.
 */
void *mlp_secret_new(size_t len);

/* Wipes and unmaps. NULL is allowed. */
void mlp_secret_free(void *secret, size_t len);

/* Overwrites bytes with zeros in a way that the compiler keeps. NULL with len 0 is allowed. */
void mlp_secret_wipe(void *bytes, size_t len);

#endif
