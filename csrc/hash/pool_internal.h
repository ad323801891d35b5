/* pool_internal.h - what the two files of the pool share: a job, and how threads come to it and go.
 *
 * pool.c has the workers; jobs that are waited for at once live on their callers' stacks there.
 * pool_submit.c has those that are handed in and waited for later.
 */
#ifndef MLP_HASH_POOL_INTERNAL_H
#define MLP_HASH_POOL_INTERNAL_H

#include "hash/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#define MLP_POOL_SHARES_MAX 64
#define MLP_POOL_CACHE_LINE 64

/* A run of neighbouring tasks. Its owner and those who have finished their own take from its front. */
struct mlp_pool_share {
    _Alignas(MLP_POOL_CACHE_LINE) atomic_size_t next;
    size_t end;
};

struct mlp_pool_job {
    mlp_pool_task task;
    void *context;
    size_t threads;        /* that may take part while somebody waits for it */
    size_t threads_beside; /* ... while nobody does */
    size_t limit;          /* of threads that hash at once, for this job's workers */
    uint64_t process;      /* that opened it, as mlp_pool_process counts them */
    size_t shares_count;
    struct mlp_pool_share shares[MLP_POOL_SHARES_MAX];

    /* Guarded by the pool's mutex. */
    struct mlp_pool_job *next_job;
    size_t joined;         /* threads that ever took part: the next one's share */
    size_t helpers;        /* workers inside now */
    bool exhausted;        /* no task is left to take */
    pthread_cond_t left;   /* it may have become done */
    int64_t paused_until;  /* no worker comes before that, unless somebody waits */
    long pause_ms;         /* how long the last pause was */
    atomic_size_t callers; /* threads inside that wait for it; read without the mutex too */
};

/* The pool's mutex; a worker's task never runs under it. */
void mlp_pool_lock(void);
void mlp_pool_unlock(void);

/* How many forks lie between the first process that had a pool and this one. */
uint64_t mlp_pool_process(void);

/* Puts a job where workers find it and calls them, as far as it may have any now.
 * In:      job: task, context, threads, threads_beside and limit are set, the rest is zero.
 */
void mlp_pool_open_job(struct mlp_pool_job *job, size_t tasks_count);

/* The calling thread takes tasks until none is left.
 * In:      until: of mlp_clock_now: when it stops before that.
 */
void mlp_pool_take_part(struct mlp_pool_job *job, int64_t until);

/* Waits for what others have begun.
 * In:      until: as above.
 * Returns: whether the job is done.
 */
bool mlp_pool_wait_for_others(struct mlp_pool_job *job, int64_t until);

/* With the mutex. Whether every task has been run, or is not wanted. */
bool mlp_pool_is_done(const struct mlp_pool_job *job);

/* Takes the job away from the workers, once those inside have left: one task of each. */
void mlp_pool_close_job(struct mlp_pool_job *job);

#endif
