/* pool.h - the one thread pool of the process: work that is cut into tasks, and who runs them.
 *
 * The thread that has work always takes part in it, so that a call never waits for a thread to become
 * free and is finished even where no thread can be made. Workers are made when they are first
 * needed, sleep on a condition variable between jobs, and are shared by all calls: a worker joins a
 * job only while fewer threads hash than the limit, and leaves it between two tasks when there are
 * more (several Python threads hashing at once are enough by themselves).
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

#include <stddef.h>
#include <stdint.h>

#define MLP_THREADS_MAX         1024 /* more are taken for a mistake */
#define MLP_THREADS_DEFAULT_MAX 64
#define MLP_POOL_EXIT_MS        1000

/* One of the tasks of a job; run on any thread, in any order, at the same time as others. */
typedef void (*mlp_pool_task)(void *context, size_t index);

/* Calls task(context, i) for every i below tasks_count, each once, on this thread and on workers. What
 * they wrote is visible to the caller afterwards. Neighbouring tasks tend to run on one thread, one
 * after another. A task must not call this function.
 * In:      threads: how many may take part, the caller included, 1 to MLP_THREADS_MAX; 0: the
 *          setting.
 */
void mlp_pool_run(mlp_pool_task task, void *context, size_t tasks_count, size_t threads);

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
