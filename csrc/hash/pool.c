#include "hash/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#define SHARES_MAX 64
#define CACHE_LINE 64

/* Thread-local memory of every loaded library comes out of a thread's stack too (glibc), beside the
 * 100 KiB that hashing needs. */
#define STACK_LEN ((size_t)1 << 20)

/* A run of neighbouring tasks. Its owner and those who have finished their own take from its front. */
struct share {
    _Alignas(CACHE_LINE) atomic_size_t next;
    size_t end;
};

/* One call of mlp_pool_run, on its stack. */
struct job {
    mlp_pool_task task;
    void *context;
    size_t threads; /* that may take part */
    size_t limit;   /* of threads that hash at once, for this job's workers */
    size_t shares_count;
    struct share shares[SHARES_MAX];

    /* Guarded by pool.mutex. */
    struct job *next_job;
    size_t joined;       /* threads that ever took part: the next one's share */
    size_t helpers;      /* workers inside now */
    bool exhausted;      /* no task is left to take */
    pthread_cond_t left; /* helpers became 0 */
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t work; /* a job may have become joinable, or closing was set */
    pthread_cond_t gone; /* workers became 0 */
    struct job *jobs;    /* the open ones, oldest first */
    size_t workers;
    size_t asleep;
} pool = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .gone = PTHREAD_COND_INITIALIZER,
};

static atomic_size_t running; /* threads that hash now, callers and workers */
static atomic_bool closing;   /* the process ends */

/* ---- tasks ---- */

/* A worker leaves where more threads hash than the limit; one at a time, for each that is too many.
 * Returns: whether it has left, and is no longer counted. */
static bool leave_to_others(const struct job *job)
{
    if (atomic_load_explicit(&closing, memory_order_relaxed)) {
        atomic_fetch_sub(&running, 1);
        return true;
    }
    size_t seen = atomic_load_explicit(&running, memory_order_relaxed);
    while (seen > job->limit) {
        if (atomic_compare_exchange_weak(&running, &seen, seen - 1))
            return true;
    }
    return false;
}

/* Own share first, then what the others have not come to.
 * Returns: whether all tasks are taken; false: a worker left before. */
static bool take_tasks(struct job *job, size_t own_share, bool is_worker)
{
    for (size_t i = 0; i < job->shares_count; i++) {
        struct share *share = &job->shares[(own_share + i) % job->shares_count];
        for (;;) {
            if (is_worker && leave_to_others(job))
                return false;
            size_t index = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
            if (index >= share->end)
                break;
            job->task(job->context, index);
        }
    }
    return true;
}

/* ---- workers ---- */

/* With the mutex. Returns: an open job that may have one more thread, or NULL. */
static struct job *joinable_job(void)
{
    size_t now = atomic_load(&running);
    for (struct job *job = pool.jobs; job != NULL; job = job->next_job) {
        if (!job->exhausted && job->helpers + 1 < job->threads && now < job->limit)
            return job;
    }
    return NULL;
}

/* With the mutex. A thread less hashes: another job may now be joined. */
static void wake_for_waiting_job(void)
{
    if (pool.jobs != NULL && pool.asleep > 0)
        pthread_cond_signal(&pool.work);
}

/* With the mutex, which is given up while the tasks run. */
static void help(struct job *job)
{
    size_t own_share = job->joined++;
    job->helpers++;
    atomic_fetch_add(&running, 1);
    pthread_mutex_unlock(&pool.mutex);
    bool all_taken = take_tasks(job, own_share, true);
    if (all_taken)
        atomic_fetch_sub(&running, 1);
    pthread_mutex_lock(&pool.mutex);
    job->exhausted = job->exhausted || all_taken;
    job->helpers--;
    if (job->helpers == 0)
        pthread_cond_signal(&job->left);
    wake_for_waiting_job();
}

static void *work(void *unused)
{
    (void)unused;
#if defined(__linux__)
    (void)prctl(PR_SET_NAME, "mlprov-hash", 0, 0, 0);
#endif
    pthread_mutex_lock(&pool.mutex);
    while (!atomic_load(&closing)) {
        struct job *job = joinable_job();
        if (job != NULL) {
            help(job);
        } else {
            pool.asleep++;
            pthread_cond_wait(&pool.work, &pool.mutex);
            pool.asleep--;
        }
    }
    pool.workers--;
    if (pool.workers == 0)
        pthread_cond_broadcast(&pool.gone);
    pthread_mutex_unlock(&pool.mutex);
    return NULL;
}

/* Signals are the program's own threads' business; a fault's cannot be waited for. */
static void signals_of_workers(sigset_t *blocked)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
    sigfillset(blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(blocked, faults[i]);
}

/* With the mutex. Makes up to count workers; where the system refuses one, those there are do. */
static void make_workers(size_t count)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return;
    (void)pthread_attr_setstacksize(&attributes, STACK_LEN);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t blocked, before;
    signals_of_workers(&blocked);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
    for (; count > 0; count--) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, work, NULL) != 0)
            break;
        pool.workers++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* ---- fork and exit ---- */

static void before_fork(void)
{
    pthread_mutex_lock(&pool.mutex);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&pool.mutex);
}

/* The forking thread is the only one, and it runs no job. */
static void after_fork_in_child(void)
{
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.gone, NULL);
    pool.jobs = NULL;
    pool.workers = 0;
    pool.asleep = 0;
    atomic_store(&running, 0);
}

static void close_at_exit(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += MLP_POOL_EXIT_MS / 1000;
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&closing, true);
    pthread_cond_broadcast(&pool.work);
    while (pool.workers > 0 && pthread_cond_timedwait(&pool.gone, &pool.mutex, &until) == 0)
        ;
    pthread_mutex_unlock(&pool.mutex);
}

static void prepare(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    (void)atexit(close_at_exit);
}

static void prepare_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
}

/* ---- jobs ---- */

static size_t smaller(size_t left, size_t right)
{
    return left < right ? left : right;
}

static void split_evenly(struct job *job, size_t tasks_count)
{
    job->shares_count = smaller(job->threads, SHARES_MAX);
    size_t begin = 0;
    for (size_t i = 0; i < job->shares_count; i++) {
        size_t end = begin + (tasks_count - begin) / (job->shares_count - i);
        atomic_init(&job->shares[i].next, begin);
        job->shares[i].end = end;
        begin = end;
    }
}

/* With the mutex. Returns: how many sleeping workers to wake, once the mutex is free. */
static size_t open_job(struct job *job)
{
    struct job **last = &pool.jobs;
    while (*last != NULL)
        last = &(*last)->next_job;
    *last = job;
    size_t now = atomic_load(&running);
    size_t wanted = smaller(job->threads - 1, job->limit > now ? job->limit - now : 0);
    if (wanted > pool.asleep && pool.workers < job->limit - 1)
        make_workers(smaller(wanted - pool.asleep, job->limit - 1 - pool.workers));
    return smaller(wanted, pool.asleep);
}

/* With the mutex. Waits for the workers inside: each has one task to finish. */
static void close_job(struct job *job)
{
    struct job **place = &pool.jobs;
    while (*place != job)
        place = &(*place)->next_job;
    *place = job->next_job;
    while (job->helpers > 0)
        pthread_cond_wait(&job->left, &pool.mutex);
}

static void run_shared(mlp_pool_task task, void *context, size_t tasks_count, size_t threads,
                       size_t limit)
{
    struct job job = {.task = task, .context = context, .threads = threads, .limit = limit};
    split_evenly(&job, tasks_count);
    job.joined = 1;
    pthread_cond_init(&job.left, NULL);
    pthread_mutex_lock(&pool.mutex);
    size_t to_wake = open_job(&job);
    pthread_mutex_unlock(&pool.mutex);
    for (; to_wake > 0; to_wake--)
        pthread_cond_signal(&pool.work);
    (void)take_tasks(&job, 0, false);
    pthread_mutex_lock(&pool.mutex);
    close_job(&job);
    pthread_mutex_unlock(&pool.mutex);
    pthread_cond_destroy(&job.left);
}

void mlp_pool_run(mlp_pool_task task, void *context, size_t tasks_count, size_t threads)
{
    prepare_once();
    size_t setting = mlp_pool_threads();
    if (threads == 0)
        threads = setting;
    size_t limit = threads > setting ? threads : setting;
    threads = smaller(threads, tasks_count);
    atomic_fetch_add(&running, 1);
    if (threads > 1 && !atomic_load(&closing)) {
        run_shared(task, context, tasks_count, threads, limit);
    } else {
        for (size_t i = 0; i < tasks_count; i++)
            task(context, i);
    }
    atomic_fetch_sub(&running, 1);
    pthread_mutex_lock(&pool.mutex);
    wake_for_waiting_job();
    pthread_mutex_unlock(&pool.mutex);
}

size_t mlp_pool_workers(void)
{
    pthread_mutex_lock(&pool.mutex);
    size_t workers = pool.workers;
    pthread_mutex_unlock(&pool.mutex);
    return workers;
}
