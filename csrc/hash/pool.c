#include "hash/pool_internal.h"

#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

/* Thread-local memory of every loaded library comes out of a thread's stack too (glibc), beside the
 * 100 KiB that hashing needs. */
#define STACK_LEN ((size_t)1 << 20)

/* When a worker beside takes the processors for busy: it waited for one so long, and that part of its
 * time. A time slice that it has to share is 3 ms long (Linux); less is another's interrupt. */
#define CROWD_NS   1000000
#define CROWD_PART 4

/* How long it then stays away: short enough for the end of an epoch, where processors become free;
 * doubled, so that a long step is not held up again and again. */
#define PAUSE_MS_MIN 20
#define PAUSE_MS_MAX 1000

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t work;       /* a job may have become joinable, or closing was set */
    pthread_cond_t gone;       /* workers became 0; timed by the monotonic clock */
    struct mlp_pool_job *jobs; /* the open ones, oldest first */
    size_t workers;
    size_t asleep;
    uint64_t process; /* forks between the first process that had a pool and this one */
} pool = {
    .mutex = PTHREAD_MUTEX_INITIALIZER, /* the conditions: prepare */
};

static atomic_size_t running; /* threads that hash now, callers and workers */
static atomic_bool closing;   /* the process ends */

/* This thread runs a task of a shared job. */
static _Thread_local bool in_task;

/* ---- tasks ---- */

/* A worker leaves where more threads hash than the limit; one at a time, for each that is too many.
 * Returns: whether it has left, and is no longer counted. */
static bool leave_to_others(const struct mlp_pool_job *job)
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

/* Who takes tasks. */
struct taker {
    size_t own_share;
    bool is_worker;
    int64_t until;  /* a caller's patience */
    int64_t began;  /* a worker's: when */
    int64_t waited; /* ... mlp_clock_waited then */
    bool crowded;   /* ... it left because of the crowd */
};

/* A worker that nobody waits for leaves where it has to wait for a processor: the threads of a training
 * run there, and one that is held up holds up all that compute with it. It offers the processor after
 * each task, so that a thread which it held up loses no more than that.
 * Returns: as leave_to_others. */
static bool leave_the_crowd(struct taker *taker, const struct mlp_pool_job *job)
{
    if (job->threads_beside == 0 || atomic_load_explicit(&job->callers, memory_order_relaxed) > 0)
        return false;
    (void)sched_yield();
    int64_t waited = mlp_clock_waited() - taker->waited;
    if (waited < CROWD_NS || waited < (mlp_clock_now() - taker->began) / CROWD_PART)
        return false;
    taker->crowded = true;
    atomic_fetch_sub(&running, 1);
    return true;
}

/* Returns: whether the taker stops here, between two tasks. */
static bool stops(struct taker *taker, const struct mlp_pool_job *job)
{
    if (taker->is_worker)
        return leave_to_others(job) || leave_the_crowd(taker, job);
    return taker->until != MLP_CLOCK_NEVER && mlp_clock_now() >= taker->until;
}

/* Own share first, then what the others have not come to.
 * Returns: whether all tasks are taken; false: the taker stopped before. */
static bool take_tasks(struct mlp_pool_job *job, struct taker *taker)
{
    for (size_t i = 0; i < job->shares_count; i++) {
        struct mlp_pool_share *share = &job->shares[(taker->own_share + i) % job->shares_count];
        for (;;) {
            if (stops(taker, job))
                return false;
            size_t index = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
            if (index >= share->end)
                break;
            in_task = true;
            job->task(job->context, index);
            in_task = false;
        }
    }
    return true;
}

/* ---- workers ---- */

/* With the mutex. Returns: how many workers more the job may have, whatever the limit. */
static size_t missing_workers(const struct mlp_pool_job *job)
{
    size_t wanted = job->threads;
    if (job->callers == 0)
        wanted = mlp_clock_now() < job->paused_until ? 0 : job->threads_beside;
    size_t inside = job->helpers + job->callers;
    return !job->exhausted && wanted > inside ? wanted - inside : 0;
}

/* With the mutex. Returns: an open job that may have one more thread, or NULL; one that somebody
 * waits for before others. */
static struct mlp_pool_job *joinable_job(void)
{
    struct mlp_pool_job *beside = NULL;
    size_t now = atomic_load(&running);
    for (struct mlp_pool_job *job = pool.jobs; job != NULL; job = job->next_job) {
        if (missing_workers(job) == 0 || now >= job->limit)
            continue;
        if (job->callers > 0)
            return job;
        beside = beside != NULL ? beside : job;
    }
    return beside;
}

/* With the mutex. A thread less hashes: another job may now be joined. */
static void wake_for_waiting_job(void)
{
    if (pool.jobs != NULL && pool.asleep > 0)
        pthread_cond_signal(&pool.work);
}

bool mlp_pool_is_done(const struct mlp_pool_job *job)
{
    return job->exhausted && job->helpers == 0 && job->callers == 0;
}

/* With the mutex: somebody is inside no more. */
static void note_leaving(struct mlp_pool_job *job, bool all_taken)
{
    job->exhausted = job->exhausted || all_taken;
    if (job->helpers == 0 && job->callers == 0)
        pthread_cond_broadcast(&job->left);
}

/* With the mutex: unless somebody waits no worker comes for a while, each time twice as long. */
static void pause_job(struct mlp_pool_job *job)
{
    job->pause_ms = job->pause_ms == 0 ? PAUSE_MS_MIN : 2 * job->pause_ms;
    if (job->pause_ms > PAUSE_MS_MAX)
        job->pause_ms = PAUSE_MS_MAX;
    job->paused_until = mlp_clock_after_ms(job->pause_ms);
}

/* With the mutex. Until a job is handed in, a place becomes free, or a pause ends. */
static void wait_for_work(void)
{
    int64_t now = mlp_clock_now(), until = MLP_CLOCK_NEVER;
    for (struct mlp_pool_job *job = pool.jobs; job != NULL; job = job->next_job) {
        if (!job->exhausted && now < job->paused_until && job->paused_until < until)
            until = job->paused_until;
    }
    pool.asleep++;
    (void)mlp_clock_condition_wait(&pool.work, &pool.mutex, until);
    pool.asleep--;
}

/* With the mutex, which is given up while the tasks run. */
static void help(struct mlp_pool_job *job)
{
    struct taker taker = {.own_share = job->joined++,
                          .is_worker = true,
                          .began = mlp_clock_now(),
                          .waited = mlp_clock_waited()};
    job->helpers++;
    atomic_fetch_add(&running, 1);
    pthread_mutex_unlock(&pool.mutex);
    bool all_taken = take_tasks(job, &taker);
    if (all_taken)
        atomic_fetch_sub(&running, 1);
    pthread_mutex_lock(&pool.mutex);
    if (taker.crowded)
        pause_job(job);
    job->helpers--;
    note_leaving(job, all_taken);
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
        struct mlp_pool_job *job = joinable_job();
        if (job != NULL)
            help(job);
        else
            wait_for_work();
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
    mlp_clock_condition_init(&pool.work);
    mlp_clock_condition_init(&pool.gone);
    pool.jobs = NULL;
    pool.workers = 0;
    pool.asleep = 0;
    pool.process++;
    atomic_store(&running, 0);
}

static void close_at_exit(void)
{
    int64_t until = mlp_clock_after_ms(MLP_POOL_EXIT_MS);
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&closing, true);
    pthread_cond_broadcast(&pool.work);
    while (pool.workers > 0 && mlp_clock_condition_wait(&pool.gone, &pool.mutex, until) == 0)
        ;
    pthread_mutex_unlock(&pool.mutex);
}

static void prepare(void)
{
    mlp_clock_condition_init(&pool.work);
    mlp_clock_condition_init(&pool.gone);
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    (void)atexit(close_at_exit);
}

static void prepare_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
}

/* ---- jobs ---- */

void mlp_pool_lock(void)
{
    pthread_mutex_lock(&pool.mutex);
}

void mlp_pool_unlock(void)
{
    pthread_mutex_unlock(&pool.mutex);
}

uint64_t mlp_pool_process(void)
{
    return pool.process; /* changes in a child that has one thread */
}

static size_t smaller(size_t left, size_t right)
{
    return left < right ? left : right;
}

static void split_evenly(struct mlp_pool_job *job, size_t tasks_count)
{
    job->shares_count = smaller(job->threads, MLP_POOL_SHARES_MAX);
    size_t begin = 0;
    for (size_t i = 0; i < job->shares_count; i++) {
        size_t end = begin + (tasks_count - begin) / (job->shares_count - i);
        atomic_init(&job->shares[i].next, begin);
        job->shares[i].end = end;
        begin = end;
    }
}

/* With the mutex. Makes workers where too few sleep.
 * Returns: how many sleeping ones to wake, once the mutex is free. */
static size_t call_workers(const struct mlp_pool_job *job)
{
    size_t now = atomic_load(&running);
    size_t wanted = smaller(missing_workers(job), job->limit > now ? job->limit - now : 0);
    size_t most = job->callers > 0 ? job->limit - 1 : job->limit; /* a caller does one's work */
    if (atomic_load(&closing))
        return 0;
    if (wanted > pool.asleep && pool.workers < most)
        make_workers(smaller(wanted - pool.asleep, most - pool.workers));
    return smaller(wanted, pool.asleep);
}

static void wake_workers(size_t count)
{
    for (; count > 0; count--)
        pthread_cond_signal(&pool.work);
}

void mlp_pool_open_job(struct mlp_pool_job *job, size_t tasks_count)
{
    prepare_once();
    split_evenly(job, tasks_count);
    mlp_clock_condition_init(&job->left);
    pthread_mutex_lock(&pool.mutex);
    job->process = pool.process;
    struct mlp_pool_job **last = &pool.jobs;
    while (*last != NULL)
        last = &(*last)->next_job;
    *last = job;
    size_t to_wake = call_workers(job);
    pthread_mutex_unlock(&pool.mutex);
    wake_workers(to_wake);
}

/* The thread counts as one that hashes, whatever the limit: workers make room for it. */
static void start_running(void)
{
    atomic_fetch_add(&running, 1);
}

static void stop_running(void)
{
    atomic_fetch_sub(&running, 1);
    pthread_mutex_lock(&pool.mutex);
    wake_for_waiting_job();
    pthread_mutex_unlock(&pool.mutex);
}

void mlp_pool_take_part(struct mlp_pool_job *job, int64_t until)
{
    start_running();
    pthread_mutex_lock(&pool.mutex);
    struct taker taker = {.own_share = job->joined++, .until = until};
    job->callers++;
    size_t to_wake = call_workers(job);
    pthread_mutex_unlock(&pool.mutex);
    wake_workers(to_wake);
    bool all_taken = take_tasks(job, &taker);
    pthread_mutex_lock(&pool.mutex);
    job->callers--;
    note_leaving(job, all_taken);
    pthread_mutex_unlock(&pool.mutex);
    stop_running();
}

bool mlp_pool_wait_for_others(struct mlp_pool_job *job, int64_t until)
{
    int answer = 0;
    pthread_mutex_lock(&pool.mutex);
    while (!mlp_pool_is_done(job) && answer == 0)
        answer = mlp_clock_condition_wait(&job->left, &pool.mutex, until);
    bool done = mlp_pool_is_done(job);
    pthread_mutex_unlock(&pool.mutex);
    return done;
}

void mlp_pool_close_job(struct mlp_pool_job *job)
{
    pthread_mutex_lock(&pool.mutex);
    struct mlp_pool_job **place = &pool.jobs;
    while (*place != job)
        place = &(*place)->next_job;
    *place = job->next_job;
    while (job->helpers > 0)
        pthread_cond_wait(&job->left, &pool.mutex);
    pthread_mutex_unlock(&pool.mutex);
    pthread_cond_destroy(&job->left);
}

static void run_alone(mlp_pool_task task, void *context, size_t tasks_count)
{
    for (size_t i = 0; i < tasks_count; i++)
        task(context, i);
}

void mlp_pool_run(mlp_pool_task task, void *context, size_t tasks_count, size_t threads)
{
    if (in_task) { /* counted already, and the others have tasks of their own */
        run_alone(task, context, tasks_count);
        return;
    }
    prepare_once();
    size_t setting = mlp_pool_threads();
    if (threads == 0)
        threads = setting;
    struct mlp_pool_job job = {.task = task,
                               .context = context,
                               .threads = smaller(threads, tasks_count),
                               .limit = threads > setting ? threads : setting};
    if (job.threads <= 1 || atomic_load(&closing)) {
        start_running();
        run_alone(task, context, tasks_count);
        stop_running();
        return;
    }
    mlp_pool_open_job(&job, tasks_count);
    mlp_pool_take_part(&job, MLP_CLOCK_NEVER);
    mlp_pool_close_job(&job);
}

size_t mlp_pool_workers(void)
{
    pthread_mutex_lock(&pool.mutex);
    size_t workers = pool.workers;
    pthread_mutex_unlock(&pool.mutex);
    return workers;
}
