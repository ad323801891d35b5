/* pool.h - the one thread pool of the process: work that is cut into tasks, and who runs them.
 *
 * The thread that waits for work always takes part in it, so that a call never waits for a thread to
 * become free and is finished even where no thread can be made. Workers are made when they are first
 * needed, sleep on a condition variable between jobs, and are shared by all calls: a worker joins a
 * job only while fewer threads hash than the limit, and leaves it between two tasks when there are
 * more (several Python threads hashing at once are enough by themselves). A job that somebody waits
 * for comes before those that were handed in for later.
 *
 * Fork: a child has no workers and makes its own at need. Exit: workers are sent home, and waited for
 * at most MLP_POOL_EXIT_MS; whoever hashes after that does so alone. Signals are blocked in workers,
 * but those that a fault raises.
 *
 * Threads: any thread. The pool's mutex is held across no task; see ARCHITECTURE.md for its place
 * among the locks.
 */
#ifndef MLP_HASH_POOL_H
#define MLP_HASH_POOL_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_THREADS_MAX         1024 /* more are taken for a mistake */
#define MLP_THREADS_DEFAULT_MAX 64
#define MLP_POOL_EXIT_MS        1000

/* One of the tasks of a job; run on any thread, in any order, at the same time as others. */
typedef void (*mlp_pool_task)(void *context, size_t index);

/* Calls task(context, i) for every i below tasks_count, each once, on this thread and on workers. What
 * they wrote is visible to the caller afterwards. Neighbouring tasks tend to run on one thread, one
 * after another. A task that calls this function runs its own tasks itself.
 * In:      threads: how many may take part, the caller included, 1 to MLP_THREADS_MAX; 0: the
 *          setting.
 */
void mlp_pool_run(mlp_pool_task task, void *context, size_t tasks_count, size_t threads);

/* ---- jobs that are handed in, and waited for later ---- */

struct mlp_pool_job; /* opaque, heap; any thread may call what follows, but for close */

/* Hands in a job and returns at once: workers run its tasks beside whatever the caller does. Where the
 * system makes no thread, and while as many threads hash as the setting allows, nothing happens until
 * mlp_pool_wait.
 * Where the workers have to wait for a processor they leave, and come back after a pause that becomes
 * longer each time.
 * In:      context: kept until mlp_pool_close has returned.
 *          threads_beside: how many workers may take part while nobody waits, as
 *          mlp_pool_threads_beside says; 0: none before mlp_pool_wait.
 * Returns: 0 (end it with mlp_pool_close) or MLP_E_MEMORY.
 */
int mlp_pool_submit(struct mlp_pool_job **job, mlp_pool_task task, void *context,
                    size_t tasks_count, size_t threads_beside, struct mlp_error *error);

/* Takes part in the job, on as many threads as the setting allows, until every task has been run.
 * What they wrote is visible afterwards.
 * In:      timeout_ms: gives up after so long, between two tasks; below 0: never.
 * Returns: whether the job is done: false: time is up. A cancelled job is done when nobody is inside.
 */
bool mlp_pool_wait(struct mlp_pool_job *job, long timeout_ms);

/* Whether the job is done; as mlp_pool_wait with no patience, but takes no part. */
bool mlp_pool_poll(struct mlp_pool_job *job);

/* Tasks that nobody has begun will not be run. Waits for nobody.
 * Returns: whether there may be such tasks: false: the job was done or cancelled before.
 */
bool mlp_pool_cancel(struct mlp_pool_job *job);

/* Whether the job was handed in by this process: in a forked child a parent's job can only be closed,
 * which then frees its memory and no more. */
bool mlp_pool_is_here(const struct mlp_pool_job *job);

/* Cancels, waits for the workers inside (one task of each), frees. NULL is allowed. Nobody else uses
 * the job any more. */
void mlp_pool_close(struct mlp_pool_job *job);

/* ---- settings ---- */

/* How many workers leave room for the threads of a training that goes on meanwhile: an eighth of the
 * processors that there are, at least one, at most the setting; 0 on one processor, where a worker
 * would only take the time that it saves. */
size_t mlp_pool_threads_beside(void);

/* The setting: how many threads hash at once unless a call says otherwise. At first MLPROV_THREADS,
 * and without it mlp_processors, at most MLP_THREADS_DEFAULT_MAX. */
size_t mlp_pool_threads(void);

/* Returns: 0 or MLP_E_CONFIG (not 1 to MLP_THREADS_MAX). */
int mlp_pool_set_threads(uint64_t threads, struct mlp_error *error);

/* Whether a number of threads can be asked for.
 * In:      what: names it in the error text, as "set_threads".
 * Returns: 0 or MLP_E_CONFIG.
 */
int mlp_pool_check_threads(uint64_t threads, const char *what, struct mlp_error *error);

/* Whether MLPROV_THREADS is set to what is no number of threads. Asked by the binding when the module is
 * imported, so that a wrong value is an error and no silent change.
 * Returns: 0 or MLP_E_CONFIG.
 */
int mlp_pool_check_environment(struct mlp_error *error);

/* How many worker threads there are now, asleep or not. */
size_t mlp_pool_workers(void);

#endif
