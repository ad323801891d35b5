/* The pool: every task once, whoever runs it; limits, refusals of the system, fork, signals, exit. */
#include "base/processors.h"
#include "check.h"
#include "hash/pool.h"
#include "pool_fixture.h"
#include "thread_faults.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS_MAX 5000

/* ---- tasks that count themselves ---- */

struct counts {
    atomic_int runs[TASKS_MAX];
};

static void count_run(void *context, size_t index)
{
    struct counts *counts = context;
    atomic_fetch_add(&counts->runs[index], 1);
}

/* Not on the heap: a process that ends meanwhile leaks nothing. */
static _Thread_local struct counts counts_here;

static bool each_ran_once(size_t tasks_count, size_t threads)
{
    bool right = true;
    for (size_t i = 0; i < TASKS_MAX; i++)
        atomic_store_explicit(&counts_here.runs[i], 0, memory_order_relaxed);
    mlp_pool_run(count_run, &counts_here, tasks_count, threads);
    for (size_t i = 0; i < TASKS_MAX; i++)
        right = right && atomic_load(&counts_here.runs[i]) == (i < tasks_count ? 1 : 0);
    return right;
}

static void every_task_runs_once_on_any_number_of_threads(void)
{
    static const size_t numbers[] = {0, 1, 2, 7, 64, 65, 100, TASKS_MAX};
    for (size_t threads = 0; threads <= 8; threads++)
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
            CHECK(each_ran_once(numbers[i], threads));
    CHECK(each_ran_once(TASKS_MAX, 70));
}

static void workers_are_kept_and_no_more_are_made_than_asked_for(void)
{
    CHECK(mlp_pool_set_threads(3, NULL) == 0);
    size_t before = mlp_pool_workers();
    for (int i = 0; i < 100; i++)
        CHECK(each_ran_once(100, 0));
    size_t after = mlp_pool_workers();
    CHECK(after >= 1 && after <= (before > 2 ? before : 2));
}

/* ---- limits ---- */

struct whose {
    pthread_t caller;
    atomic_int by_others;
};

static void note_thread(void *context, size_t index)
{
    struct whose *whose = context;
    (void)index;
    if (!pthread_equal(pthread_self(), whose->caller))
        atomic_fetch_add(&whose->by_others, 1);
}

static void callers_that_are_enough_by_themselves_get_no_workers(void)
{
    struct gate gate = GATE_CLOSED;
    pthread_t callers[2];
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&callers[i], NULL, call_and_wait, &gate) == 0);
    wait_for_arrivals(&gate, 2);
    struct whose whose = {.caller = pthread_self()};
    mlp_pool_run(note_thread, &whose, 1000, 0);
    CHECK(atomic_load(&whose.by_others) == 0);
    open_gate(&gate);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(callers[i], NULL) == 0);
}

struct crowd {
    pthread_t caller;
    struct gate gate;
    atomic_int by_worker;
};

/* The first task of either thread waits at the gate. */
static void wait_once_on_each_thread(void *context, size_t index)
{
    struct crowd *crowd = context;
    bool is_caller = pthread_equal(pthread_self(), crowd->caller);
    (void)index;
    if (!is_caller)
        atomic_fetch_add(&crowd->by_worker, 1);
    arrive_and_wait(&crowd->gate);
}

static void *open_when_crowded(void *context)
{
    struct crowd *crowd = context;
    struct gate other = GATE_CLOSED;
    pthread_t caller;
    wait_for_arrivals(&crowd->gate, 2); /* the caller and a worker are in */
    CHECK(pthread_create(&caller, NULL, call_and_wait, &other) == 0);
    wait_for_arrivals(&other, 1);
    open_gate(&crowd->gate);
    wait_for_arrivals(&crowd->gate, 100);
    open_gate(&other);
    CHECK(pthread_join(caller, NULL) == 0);
    return NULL;
}

static void a_worker_leaves_between_tasks_when_more_callers_come(void)
{
    struct crowd crowd = {.caller = pthread_self(), .gate = GATE_CLOSED};
    pthread_t opener;
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    CHECK(pthread_create(&opener, NULL, open_when_crowded, &crowd) == 0);
    mlp_pool_run(wait_once_on_each_thread, &crowd, 100, 0);
    CHECK(pthread_join(opener, NULL) == 0);
    CHECK(atomic_load(&crowd.by_worker) == 1);
}

static void *call_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < 50; i++)
        CHECK(each_ran_once(200, 4));
    return NULL;
}

static void several_callers_at_once_all_get_their_work_done(void)
{
    pthread_t callers[6];
    for (int i = 0; i < 6; i++)
        CHECK(pthread_create(&callers[i], NULL, call_often, NULL) == 0);
    for (int i = 0; i < 6; i++)
        CHECK(pthread_join(callers[i], NULL) == 0);
}

/* ---- signals ---- */

struct masks {
    pthread_t caller;
    struct gate gate;
    sigset_t of_worker;
};

static void note_mask(void *context, size_t index)
{
    struct masks *masks = context;
    (void)index;
    if (pthread_equal(pthread_self(), masks->caller)) {
        wait_for_arrivals(&masks->gate, 1);
        return;
    }
    (void)pthread_sigmask(SIG_BLOCK, NULL, &masks->of_worker);
    pthread_mutex_lock(&masks->gate.mutex);
    masks->gate.arrived++;
    pthread_cond_broadcast(&masks->gate.changed);
    pthread_mutex_unlock(&masks->gate.mutex);
}

static void workers_block_signals_but_those_of_faults(void)
{
    struct masks masks = {.caller = pthread_self(), .gate = GATE_CLOSED};
    sigset_t before, after;
    (void)pthread_sigmask(SIG_BLOCK, NULL, &before);
    mlp_pool_run(note_mask, &masks, 2, 2);
    CHECK(sigismember(&masks.of_worker, SIGINT) == 1);
    CHECK(sigismember(&masks.of_worker, SIGTERM) == 1);
    CHECK(sigismember(&masks.of_worker, SIGUSR1) == 1);
    CHECK(sigismember(&masks.of_worker, SIGSEGV) == 0);
    CHECK(sigismember(&masks.of_worker, SIGBUS) == 0);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &after);
    CHECK(sigismember(&after, SIGINT) == sigismember(&before, SIGINT));
}

/* ---- processes ---- */

static void use_pool_and_leave(void)
{
    bool none = mlp_pool_workers() == 0;
    bool right = each_ran_once(500, 4) && mlp_pool_workers() > 0;
    _exit(none && right ? 0 : 1);
}

static atomic_bool keep_busy;

static void *be_busy(void *unused)
{
    (void)unused;
    while (atomic_load(&keep_busy))
        (void)each_ran_once(300, 3);
    return NULL;
}

static void a_child_forked_while_the_pool_is_busy_has_a_pool_of_its_own(void)
{
    pthread_t busy[2];
    double seconds;
    atomic_store(&keep_busy, true);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&busy[i], NULL, be_busy, NULL) == 0);
    for (int i = 0; i < 25; i++)
        CHECK(in_child(use_pool_and_leave, &seconds) == 0);
    atomic_store(&keep_busy, false);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(busy[i], NULL) == 0);
    CHECK(each_ran_once(500, 4));
}

static void exit_idle(void)
{
    exit(each_ran_once(500, 4) ? 0 : 1);
}

static void exit_busy(void)
{
    pthread_t busy[2];
    atomic_store(&keep_busy, true);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&busy[i], NULL, be_busy, NULL) != 0)
            _exit(2);
    (void)each_ran_once(500, 4);
    exit(0);
}

static struct gate never = GATE_CLOSED;

static void *hang_in_tasks(void *unused)
{
    (void)unused;
    mlp_pool_run(wait_in_task, &never, 2, 2);
    return NULL;
}

static void exit_while_tasks_hang(void)
{
    pthread_t caller;
    if (mlp_pool_set_threads(2, NULL) != 0 ||
        pthread_create(&caller, NULL, hang_in_tasks, NULL) != 0)
        _exit(2);
    wait_for_arrivals(&never, 2);
    exit(0);
}

static void a_process_ends_whatever_its_workers_do(void)
{
    double seconds;
    CHECK(in_child(exit_idle, &seconds) == 0);
    for (int i = 0; i < 10; i++)
        CHECK(in_child(exit_busy, &seconds) == 0);
    CHECK(in_child(exit_while_tasks_hang, &seconds) == 0);
    CHECK(seconds > MLP_POOL_EXIT_MS / 1000.0 - 0.1 && seconds < 10);
}

/* ---- a system that makes no threads ---- */

static void use_pool_without_threads(void)
{
    threads_to_go = 0;
    bool alone = each_ran_once(500, 4) && mlp_pool_workers() == 0;
    threads_to_go = 2;
    bool with_two = each_ran_once(500, 8) && mlp_pool_workers() == 2;
    threads_to_go = -1;
    bool with_all = each_ran_once(500, 8) && mlp_pool_workers() == 7;
    _exit((alone ? 0 : 1) | (with_two ? 0 : 2) | (with_all ? 0 : 4));
}

static void fewer_threads_do_where_the_system_refuses_more(void)
{
    double seconds;
    CHECK(in_child(use_pool_without_threads, &seconds) == 0);
}

/* ---- the setting ---- */

static void absurd_numbers_of_threads_are_refused(void)
{
    static const uint64_t absurd[] = {0, 1025, UINT64_C(1) << 32, UINT64_MAX};
    struct mlp_error error;
    CHECK(mlp_pool_set_threads(5, NULL) == 0 && mlp_pool_threads() == 5);
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++)
        CHECK(mlp_pool_set_threads(absurd[i], &error) == MLP_E_CONFIG);
    CHECK(strstr(error.message, "from 1 to 1024") != NULL);
    CHECK(mlp_pool_threads() == 5);
    CHECK(mlp_pool_set_threads(1024, NULL) == 0 && mlp_pool_threads() == 1024);
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
}

static void absurd_values_of_the_variable_are_refused(void)
{
    static const char *const absurd[] = {"0",  "-1",  "1025", "2.5", "two",   " 2",
                                         "2 ", "0x2", "+2",   "2,",  "99999", "4294967298"};
    struct mlp_error error;
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        CHECK(setenv("MLPROV_THREADS", absurd[i], 1) == 0);
        CHECK(mlp_pool_check_environment(&error) == MLP_E_CONFIG);
        CHECK(strstr(error.message, "MLPROV_THREADS") != NULL);
    }
    static const char *const right[] = {"", "1", "2", "0002", "1024"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        CHECK(setenv("MLPROV_THREADS", right[i], 1) == 0);
        CHECK(mlp_pool_check_environment(&error) == 0);
    }
    CHECK(unsetenv("MLPROV_THREADS") == 0);
    CHECK(mlp_pool_check_environment(&error) == 0);
}

static void the_variable_is_the_first_setting(void)
{
    CHECK(mlp_pool_threads() == 3);
}

static void quotas_of_control_groups_are_read(void)
{
    CHECK(mlp_processors_of_quota("max 100000\n") == 0);
    CHECK(mlp_processors_of_quota("200000 100000\n") == 2);
    CHECK(mlp_processors_of_quota("150000 100000\n") == 2);
    CHECK(mlp_processors_of_quota("100 100000\n") == 1);
    CHECK(mlp_processors_of_quota("0 100000\n") == 0);
    CHECK(mlp_processors_of_quota("5") == 0 && mlp_processors_of_quota("") == 0);
    CHECK(mlp_processors_of_quota("100000 0\n") == 0);
    CHECK(mlp_processors() >= 1);
}

int main(void)
{
    (void)setenv("MLPROV_THREADS", "3", 1);
    RUN(the_variable_is_the_first_setting);
    RUN(every_task_runs_once_on_any_number_of_threads);
    RUN(callers_that_are_enough_by_themselves_get_no_workers);
    RUN(a_worker_leaves_between_tasks_when_more_callers_come);
    RUN(several_callers_at_once_all_get_their_work_done);
    RUN(workers_block_signals_but_those_of_faults);
    RUN(workers_are_kept_and_no_more_are_made_than_asked_for);
    RUN(absurd_numbers_of_threads_are_refused);
    RUN(absurd_values_of_the_variable_are_refused);
    RUN(quotas_of_control_groups_are_read);
    if (THREADS_ARE_WATCHED) {
        SKIP("fork and exit: ThreadSanitizer supports no threads in a forked child");
        return check_finish();
    }
    RUN(fewer_threads_do_where_the_system_refuses_more);
    RUN(a_child_forked_while_the_pool_is_busy_has_a_pool_of_its_own);
    RUN(a_process_ends_whatever_its_workers_do);
    return check_finish();
}
