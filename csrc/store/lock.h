/* lock.h - a lock on a file between processes, and between threads of one.
 *
 * Linux: an open-file-description lock (fcntl F_OFD_SETLK), elsewhere flock. Each acquisition opens
 * the file anew, so two threads exclude each other just as two processes do; closing another
 * descriptor of the file drops nothing (plain POSIX locks would be dropped). It ends with the
 * process. A child that was forked meanwhile holds a copy of the descriptor: release unlocks
 * explicitly, but where the holder is killed the lock lasts until such children end too.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_STORE_LOCK_H
#define MLP_STORE_LOCK_H

#include "base/status.h"

/* The file whose lock serialises the making of the database and the growing of the store log. */
#define MLP_LOG_LOCK "log/.lock"

/* Opens path (made 0600 where missing; never a link) and waits at most timeout_ms for the lock.
 * Returns: 0 and *fd (mlp_lock_release); MLP_E_BUSY; MLP_E_IO, MLP_E_READONLY, MLP_E_FULL,
 *          MLP_E_NOT_FOUND (directory).
 */
int mlp_lock_acquire(int *fd, int directory_fd, const char *path, int timeout_ms,
                     struct mlp_error *error);

/* Locks a file that the caller has open for writing.
 * Returns: as mlp_lock_acquire.
 */
int mlp_lock_descriptor(int fd, const char *path, int timeout_ms, struct mlp_error *error);
/* Unlocks, closes, sets *fd to -1; nothing to do where it is -1. */
void mlp_lock_release(int *fd);

#endif
