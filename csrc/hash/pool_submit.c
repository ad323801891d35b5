/* pool_submit.c - jobs that are handed to the pool and waited for later. */
#include "base/clock.h"
#include "hash/pool_internal.h"

#include <stdlib.h>

int mlp_pool_submit(struct mlp_pool_job **job_out, mlp_pool_task task, void *context,
                    size_t tasks_count, size_t threads_beside, struct mlp_error *error)
{
    struct mlp_pool_job *job = aligned_alloc(_Alignof(struct mlp_pool_job), sizeof *job);
    if (job == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory for a job of %zu tasks", tasks_count);
    size_t setting = mlp_pool_threads();
    *job =
        (struct mlp_pool_job){.task = task,
                              .context = context,
                              .threads = setting,
                              .threads_beside = threads_beside < setting ? threads_beside : setting,
                              .limit = setting};
    mlp_pool_open_job(job, tasks_count);
    *job_out = job;
    return MLP_OK;
}

bool mlp_pool_is_here(const struct mlp_pool_job *job)
{
    return job->process == mlp_pool_process();
}

bool mlp_pool_poll(struct mlp_pool_job *job)
{
    mlp_pool_lock();
    bool done = mlp_pool_is_done(job);
    mlp_pool_unlock();
    return done;
}

bool mlp_pool_wait(struct mlp_pool_job *job, long timeout_ms)
{
    int64_t until = mlp_clock_after_ms(timeout_ms);
    if (mlp_pool_poll(job))
        return true;
    mlp_pool_take_part(job, until);
    return mlp_pool_wait_for_others(job, until);
}

bool mlp_pool_cancel(struct mlp_pool_job *job)
{
    mlp_pool_lock();
    bool in_time = !job->exhausted;
    if (in_time) {
        for (size_t i = 0; i < job->shares_count; i++)
            atomic_store(&job->shares[i].next, job->shares[i].end);
        job->exhausted = true;
    }
    mlp_pool_unlock();
    return in_time;
}

void mlp_pool_close(struct mlp_pool_job *job)
{
    if (job == NULL)
        return;
    if (mlp_pool_is_here(job)) {
        (void)mlp_pool_cancel(job);
        mlp_pool_close_job(job);
    }
    free(job);
}
