#include "anchor/workers.h"

#include "anchor/deliver.h"
#include "anchor/ethereum_signer.h"
#include "anchor/tlog.h"
#include "base/clock.h"
#include "base/secret.h"
#include "store/store.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#define STACK_LEN      ((size_t)1 << 20)
#define EXIT_MS        1000
#define STORE_RETRY_MS 5000  /* the store could not be used: locked, full */
#define LOOK_MS        60000 /* another process may have planned something */
#define STORE_PATIENCE 1000  /* a worker can wait for its turn, but not for ever at its end */

/* The endpoint's texts, owned. */
struct worker {
    struct mlp_workers *shared;
    struct mlp_anchor_endpoint endpoint;
    struct mlp_http_client *client; /* with the mutex: others interrupt it */
    uint64_t taken;                 /* of shared->handed */
    bool idle;
    bool plan_failed;   /* the last time: then even what is urgent waits */
    int64_t plan_after; /* the earliest moment to plan again, by the monotonic clock */
};

struct mlp_workers {
    pthread_mutex_t mutex;
    pthread_cond_t change; /* of anything below; timed by the monotonic clock */
    char *store_path;
    int64_t every_ms;
    pid_t pid;
    uint64_t handed; /* how often something was handed over */
    uint64_t urgent; /* ... up to where every_ms does not count */
    size_t running;  /* threads that have not ended */
    bool stopping;
    bool abandoned; /* the last worker frees */
    size_t count;
    struct worker workers[MLP_WORKERS_MAX];
    struct mlp_workers *next_open;
};

/* All that were started and not stopped, for exit and fork. */
static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mlp_workers *open_workers;

/* ---- memory ---- */

static void free_secret_text(const char *text)
{
    if (text == NULL)
        return;
    mlp_secret_wipe((char *)(uintptr_t)text, strlen(text));
    free((char *)(uintptr_t)text);
}

static void clear_worker(struct worker *worker)
{
    struct mlp_anchor_endpoint *endpoint = &worker->endpoint;
    for (size_t i = 0; endpoint->headers != NULL && i < endpoint->headers_count; i++)
        free_secret_text(endpoint->headers[i]);
    free((void *)(uintptr_t)endpoint->headers);
    free_secret_text(endpoint->url);
    free_secret_text(endpoint->ca_file);
    free_secret_text(endpoint->chain);
    free_secret_text(endpoint->target);
    free_secret_text(endpoint->account);
    mlp_ethereum_signer_release(endpoint->signer);
}

static void free_workers(struct mlp_workers *workers)
{
    for (size_t i = 0; i < workers->count; i++)
        clear_worker(&workers->workers[i]);
    pthread_cond_destroy(&workers->change);
    pthread_mutex_destroy(&workers->mutex);
    free(workers->store_path);
    free(workers);
}

/* Returns: whether there was memory. */
static bool copy_text(const char **copy, const char *text)
{
    *copy = text != NULL ? strdup(text) : NULL;
    return (*copy != NULL) == (text != NULL);
}

/* Returns: whether there was memory. */
static bool copy_endpoint(struct worker *worker, const struct mlp_anchor_endpoint *endpoint)
{
    struct mlp_anchor_endpoint *copy = &worker->endpoint;
    const char **headers = calloc(endpoint->headers_count + 1, sizeof *headers);
    *copy = *endpoint;
    copy->headers = headers;
    copy->signer = mlp_ethereum_signer_hold(endpoint->signer);
    bool whole = headers != NULL;
    whole = copy_text(&copy->url, endpoint->url) && whole;
    whole = copy_text(&copy->ca_file, endpoint->ca_file) && whole;
    whole = copy_text(&copy->chain, endpoint->chain) && whole;
    whole = copy_text(&copy->target, endpoint->target) && whole;
    whole = copy_text(&copy->account, endpoint->account) && whole;
    for (size_t i = 0; headers != NULL && i < endpoint->headers_count; i++) {
        headers[i] = strdup(endpoint->headers[i]);
        whole = whole && headers[i] != NULL;
    }
    return whole;
}

/* ---- a worker's life ---- */

static bool is_stopping(struct mlp_workers *shared)
{
    pthread_mutex_lock(&shared->mutex);
    bool stopping = shared->stopping;
    pthread_mutex_unlock(&shared->mutex);
    return stopping;
}

/* Without one nothing is sent, and the outbox says why. */
static void make_client(struct worker *worker, struct mlp_error *reason)
{
    struct mlp_http_client *client = NULL;
    if (mlp_http_client_new(&client, reason) != 0)
        return;
    pthread_mutex_lock(&worker->shared->mutex);
    worker->client = client;
    if (worker->shared->stopping)
        mlp_http_interrupt(client);
    pthread_mutex_unlock(&worker->shared->mutex);
}

static void free_client(struct worker *worker)
{
    pthread_mutex_lock(&worker->shared->mutex);
    struct mlp_http_client *client = worker->client;
    worker->client = NULL;
    pthread_mutex_unlock(&worker->shared->mutex);
    mlp_http_client_free(client);
}

/* Enters pending heads and plans an intent for the checkpoint.
 * Returns: 0, or why the store could not be used. */
static int plan(struct worker *worker, struct mlp_store *store, struct mlp_error *error)
{
    struct mlp_tlog *tlog = NULL;
    uint64_t size = 0;
    int status = mlp_tlog_open(&tlog, store, error);
    if (status == 0)
        status = mlp_tlog_integrate(tlog, &size, error);
    if (status == 0)
        status = mlp_deliver_plan(store, &worker->endpoint, mlp_tlog_origin(tlog), error);
    mlp_tlog_free(tlog);
    return status;
}

/* With the mutex. Returns: whether there is something to plan, and when it may be. */
static bool may_plan(const struct worker *worker, int64_t *earliest)
{
    const struct mlp_workers *shared = worker->shared;
    bool urgent = worker->taken < shared->urgent && !worker->plan_failed;
    *earliest = urgent ? 0 : worker->plan_after;
    return worker->taken != shared->handed;
}

/* Sleeps until something may be planned, a moment comes, or the end.
 * Returns: whether to go on. to_plan: the number of what was handed over last, 0: nothing. */
static bool sleep_until(struct worker *worker, int64_t moment, uint64_t *to_plan)
{
    struct mlp_workers *shared = worker->shared;
    int64_t earliest = 0;
    pthread_mutex_lock(&shared->mutex);
    while (!shared->stopping) {
        bool handed = may_plan(worker, &earliest);
        int64_t until = handed && earliest < moment ? earliest : moment;
        if (until <= mlp_clock_now())
            break;
        bool idle = !handed || worker->plan_failed;
        if (idle && !worker->idle) /* once: it wakes the other workers too, who would answer it */
            pthread_cond_broadcast(&shared->change);
        worker->idle = idle;
        (void)mlp_clock_condition_wait(&shared->change, &shared->mutex, until);
    }
    worker->idle = false;
    bool due = may_plan(worker, &earliest) && mlp_clock_now() >= earliest;
    *to_plan = due ? shared->handed : 0;
    bool go_on = !shared->stopping;
    pthread_mutex_unlock(&shared->mutex);
    return go_on;
}

/* Returns: whether it was urgent. */
static bool note_planned(struct worker *worker, uint64_t planned, bool failed)
{
    struct mlp_workers *shared = worker->shared;
    pthread_mutex_lock(&shared->mutex);
    bool urgent = worker->taken < shared->urgent;
    worker->plan_failed = failed;
    if (!failed)
        worker->taken = planned;
    worker->plan_after =
        failed ? mlp_clock_after_ms(STORE_RETRY_MS) : mlp_clock_now() + shared->every_ms * 1000000;
    pthread_mutex_unlock(&shared->mutex);
    return urgent;
}

/* Lets others at the account. */
static void release(const struct worker *worker, const struct mlp_delivery *delivery)
{
    (void)mlp_outbox_release(delivery->store, worker->endpoint.chain, worker->endpoint.account,
                             delivery->holder, NULL);
}

/* Delivers what is due.
 * Returns: the moment to look again. */
static int64_t deliver(struct worker *worker, struct mlp_delivery *delivery)
{
    bool stepped = true, leased = false;
    int64_t next_ms = INT64_MAX;
    while (stepped && !is_stopping(worker->shared)) {
        if (mlp_deliver_step(delivery, &stepped, &next_ms, NULL) != 0)
            return mlp_clock_after_ms(STORE_RETRY_MS);
        leased = leased || stepped;
    }
    if (leased)
        release(worker, delivery);
    int64_t now_ms = mlp_deliver_now_ms();
    int64_t wait_ms = next_ms > now_ms ? next_ms - now_ms : 0;
    return mlp_clock_after_ms(wait_ms < LOOK_MS ? (long)wait_ms : LOOK_MS);
}

static void live(struct worker *worker, struct mlp_store *store)
{
    struct mlp_error reason = {0};
    struct mlp_delivery delivery = {.store = store, .endpoint = &worker->endpoint};
    uint64_t to_plan = 0;
    int64_t moment = 0;
    mlp_lease_holder(delivery.holder, (uint64_t)(uintptr_t)worker);
    make_client(worker, &reason);
    delivery.client = worker->client; /* this thread's own to change */
    delivery.no_client = reason.message;
    while (sleep_until(worker, moment, &to_plan)) {
        /* The end of a run tries a server that was left alone once more. */
        if (to_plan != 0 && note_planned(worker, to_plan, plan(worker, store, NULL) != 0))
            delivery.quiet_until_ms = 0;
        moment = deliver(worker, &delivery);
    }
    release(worker, &delivery);
    free_client(worker);
}

static void end(struct mlp_workers *shared)
{
    pthread_mutex_lock(&shared->mutex);
    shared->running--;
    bool last = shared->running == 0 && shared->abandoned;
    pthread_cond_broadcast(&shared->change);
    pthread_mutex_unlock(&shared->mutex);
    if (last)
        free_workers(shared);
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct mlp_store *store = NULL;
    uint64_t to_plan = 0;
#if defined(__linux__)
    (void)prctl(PR_SET_NAME, "mlprov-anchor", 0, 0, 0);
#endif
    while (mlp_store_open(&store, worker->shared->store_path, 0, NULL) != 0) {
        if (!sleep_until(worker, mlp_clock_after_ms(STORE_RETRY_MS), &to_plan))
            break;
    }
    if (store != NULL) {
        (void)mlp_store_set_patience(store, STORE_PATIENCE, NULL);
        live(worker, store);
    }
    mlp_store_free(store);
    end(worker->shared);
    return NULL;
}

/* ---- exit and fork ---- */

static void before_fork(void)
{
    pthread_mutex_lock(&open_mutex);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&open_mutex);
}

static void after_fork_in_child(void)
{
    pthread_mutex_init(&open_mutex, NULL);
    open_workers = NULL;
}

/* With the mutex: everybody is told. */
static void tell_to_stop(struct mlp_workers *workers)
{
    pthread_mutex_lock(&workers->mutex);
    workers->stopping = true;
    for (size_t i = 0; i < workers->count; i++) {
        if (workers->workers[i].client != NULL)
            mlp_http_interrupt(workers->workers[i].client);
    }
    pthread_cond_broadcast(&workers->change);
    pthread_mutex_unlock(&workers->mutex);
}

/* Returns: whether all have ended. */
static bool wait_for_end(struct mlp_workers *workers, int64_t until)
{
    pthread_mutex_lock(&workers->mutex);
    while (workers->running > 0 &&
           mlp_clock_condition_wait(&workers->change, &workers->mutex, until) == 0)
        ;
    bool ended = workers->running == 0;
    pthread_mutex_unlock(&workers->mutex);
    return ended;
}

static void stop_at_exit(void)
{
    int64_t until = mlp_clock_after_ms(EXIT_MS);
    pthread_mutex_lock(&open_mutex);
    for (struct mlp_workers *each = open_workers; each != NULL; each = each->next_open)
        tell_to_stop(each);
    for (struct mlp_workers *each = open_workers; each != NULL; each = each->next_open)
        (void)wait_for_end(each, until);
    pthread_mutex_unlock(&open_mutex);
}

static void prepare(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    (void)atexit(stop_at_exit);
}

static void enter(struct mlp_workers *workers)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    pthread_mutex_lock(&open_mutex);
    workers->next_open = open_workers;
    open_workers = workers;
    pthread_mutex_unlock(&open_mutex);
}

static void leave(const struct mlp_workers *workers)
{
    pthread_mutex_lock(&open_mutex);
    struct mlp_workers **place = &open_workers;
    while (*place != NULL && *place != workers)
        place = &(*place)->next_open;
    if (*place != NULL)
        *place = workers->next_open;
    pthread_mutex_unlock(&open_mutex);
}

/* ---- what callers see ---- */

/* Returns: how many were started; signals are the program's own threads' business. */
static size_t start_threads(struct mlp_workers *workers)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    size_t started = 0;
    if (pthread_attr_init(&attributes) != 0)
        return 0;
    (void)pthread_attr_setstacksize(&attributes, STACK_LEN);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&workers->mutex);
    for (; started < workers->count; started++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, work, &workers->workers[started]) != 0)
            break;
        workers->running++;
    }
    pthread_mutex_unlock(&workers->mutex);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

int mlp_workers_start(struct mlp_workers **workers, const char *store_path,
                      const struct mlp_anchor_endpoint *endpoints, size_t endpoints_count,
                      int64_t every_ms, struct mlp_error *error)
{
    if (endpoints_count == 0 || endpoints_count > MLP_WORKERS_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot start %zu anchor workers: 1 to %d are possible", endpoints_count,
                        MLP_WORKERS_MAX);
    struct mlp_workers *made = calloc(1, sizeof *made);
    if (made == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot start anchor workers: out of memory");
    pthread_mutex_init(&made->mutex, NULL);
    mlp_clock_condition_init(&made->change);
    made->every_ms = every_ms;
    made->pid = getpid();
    made->store_path = strdup(store_path);
    bool whole = made->store_path != NULL;
    for (; whole && made->count < endpoints_count; made->count++) {
        struct worker *worker = &made->workers[made->count];
        worker->shared = made;
        whole = copy_endpoint(worker, &endpoints[made->count]);
    }
    if (!whole) {
        free_workers(made);
        return mlp_fail(error, MLP_E_MEMORY, "cannot start anchor workers: out of memory");
    }
    enter(made);
    if (start_threads(made) != endpoints_count) {
        (void)mlp_workers_stop(made, EXIT_MS);
        return mlp_fail(error, MLP_E_MEMORY,
                        "cannot start anchor workers: the system gave no thread; what is to be "
                        "anchored stays in the outbox: run 'mlprov sync' later");
    }
    *workers = made;
    return 0;
}

void mlp_workers_hand_over(struct mlp_workers *workers, bool at_once)
{
    if (getpid() != workers->pid)
        return;
    pthread_mutex_lock(&workers->mutex);
    bool wake = false;
    for (size_t i = 0; i < workers->count; i++) {
        struct worker *worker = &workers->workers[i];
        /* One that has something to plan already sleeps until it may: waking it costs the caller
         * 10 us, and it would only lie down again. */
        if (!at_once && worker->taken != workers->handed)
            continue;
        worker->idle = false;
        wake = true;
    }
    workers->handed++;
    if (at_once)
        workers->urgent = workers->handed;
    if (wake)
        pthread_cond_broadcast(&workers->change);
    pthread_mutex_unlock(&workers->mutex);
}

static bool all_idle(const struct mlp_workers *workers)
{
    for (size_t i = 0; i < workers->count; i++) {
        if (!workers->workers[i].idle)
            return false;
    }
    return true;
}

bool mlp_workers_wait(struct mlp_workers *workers, long timeout_ms)
{
    if (getpid() != workers->pid)
        return true;
    int64_t until = mlp_clock_after_ms(timeout_ms);
    pthread_mutex_lock(&workers->mutex);
    while (!all_idle(workers) &&
           mlp_clock_condition_wait(&workers->change, &workers->mutex, until) == 0)
        ;
    bool idle = all_idle(workers);
    pthread_mutex_unlock(&workers->mutex);
    return idle;
}

bool mlp_workers_stop(struct mlp_workers *workers, long timeout_ms)
{
    if (getpid() != workers->pid)
        return true; /* a child's copy: leaked, as its mutex may be locked */
    leave(workers);
    tell_to_stop(workers);
    (void)wait_for_end(workers, mlp_clock_after_ms(timeout_ms));
    pthread_mutex_lock(&workers->mutex);
    bool ended = workers->running == 0;
    workers->abandoned = !ended;
    pthread_mutex_unlock(&workers->mutex);
    if (ended)
        free_workers(workers);
    return ended;
}
