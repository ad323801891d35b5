/* lock.c - per-object locks. */
#include "python/lock.h"

#include "base/process.h"

int mlp_py_lock_init(struct mlp_py_lock *lock)
{
    lock->process = mlp_process_id();
    lock->lock = PyThread_allocate_lock();
    if (lock->lock == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

void mlp_py_lock_clear(struct mlp_py_lock *lock)
{
    if (lock->lock != NULL)
        PyThread_free_lock(lock->lock);
    lock->lock = NULL;
}

static int fail_forked(struct mlp_py_state *state, const char *what, const char *why)
{
    struct mlp_error error;
    mlp_fail(&error, MLP_E_FORKED, "%s: %s; make a new one in this process", what, why);
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

int mlp_py_lock_take(struct mlp_py_lock *lock, struct mlp_py_state *state, const char *what)
{
    if (PyThread_acquire_lock(lock->lock, NOWAIT_LOCK))
        return 0;
    if (lock->process != mlp_process_id())
        return fail_forked(state, what, "was in use by another thread when this process forked");
    PyThreadState *released = PyEval_SaveThread();
    PyThread_acquire_lock(lock->lock, WAIT_LOCK);
    PyEval_RestoreThread(released);
    return 0;
}

int mlp_py_lock_take_here(struct mlp_py_lock *lock, struct mlp_py_state *state, const char *what)
{
    if (lock->process != mlp_process_id())
        return fail_forked(state, what, "belongs to the process that this one was forked from");
    return mlp_py_lock_take(lock, state, what);
}

void mlp_py_lock_give(struct mlp_py_lock *lock)
{
    PyThread_release_lock(lock->lock);
}
