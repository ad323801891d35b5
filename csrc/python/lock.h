/* lock.h - one lock for each object whose core struct belongs to one thread at a time.
 *
 * As hashlib does: every function here is called with the GIL held; one that must wait for the lock
 * gives the GIL up while it waits, so that it never holds up the thread which has the lock.
 * A child forked while another thread held the lock would wait for ever; the object remembers its
 * process, and mlp_py_lock_take says so instead.
 *
 * Threads: with the GIL held.
 */
#ifndef MLP_PYTHON_LOCK_H
#define MLP_PYTHON_LOCK_H

#include "python/module.h"

#include <sys/types.h>

struct mlp_py_lock {
    PyThread_type_lock lock; /* NULL before init */
    pid_t process;
};

/* Returns: 0, or -1 with MemoryError set. */
int mlp_py_lock_init(struct mlp_py_lock *lock);
void mlp_py_lock_clear(struct mlp_py_lock *lock);

/* For plain memory (hashers, trees): usable in a forked child, unless it was in use at the fork.
 * Returns: 0, or -1 with StoreError FORKED set.
 */
int mlp_py_lock_take(struct mlp_py_lock *lock, struct mlp_py_state *state, const char *what);

/* For objects that own files: never usable in a forked child.
 * Returns: as mlp_py_lock_take.
 */
int mlp_py_lock_take_here(struct mlp_py_lock *lock, struct mlp_py_state *state, const char *what);

void mlp_py_lock_give(struct mlp_py_lock *lock);

#endif
