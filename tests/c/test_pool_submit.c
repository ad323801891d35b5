/* Jobs that are handed to the pool and waited for later: run by workers alone, by the one who waits, by
 * both; limits, patience, cancelling, refusals of the system, fork, exit. */
#include "base/clock.h"
#include "check.h"
#include "hash/pool.h"
#include "pool_fixture.h"
#include "thread_faults.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_COUNT 500

struct counts {
    atomic_int runs[TASKS_COUNT];
    pthread_t caller;
    atomic_int by_others;
};

static void count_run(void *context, size_t index)
{
    struct counts *counts = context;
    atomic_fetch_add(&counts->runs[index], 1);
    if (!pthread_equal(pthread_self(), counts->caller))
        atomic_fetch_add(&counts->by_others, 1);
}

static struct counts counts; /* not on the heap: a process that ends meanwhile leaks nothing */

static void forget_counts(void)
{
    for (size_t i = 0; i < TASKS_COUNT; i++)
        atomic_store(&counts.runs[i], 0);
    atomic_store(&counts.by_others, 0);
    counts.caller = pthread_self();
}

static bool each_ran(int times)
{
    bool right = true;
    for (size_t i = 0; i < TASKS_COUNT; i++)
        right = right && atomic_load(&counts.runs[i]) == times;
    return right;
}

static struct mlp_pool_job *submit_counts(size_t threads_beside)
{
    struct mlp_pool_job *job = NULL;
    forget_counts();
    CHECK(mlp_pool_submit(&job, count_run, &counts, TASKS_COUNT, threads_beside, NULL) == 0);
    return job;
}

static struct mlp_pool_job *submit_gate(struct gate *gate, size_t tasks_count, size_t threads)
{
    struct mlp_pool_job *job = NULL;
    CHECK(mlp_pool_submit(&job, wait_in_task, gate, tasks_count, threads, NULL) == 0);
    return job;
}

/* The workers run it all, or the test runs into its time limit. */
static void wait_without_taking_part(struct mlp_pool_job *job)
{
    while (!mlp_pool_poll(job))
        sched_yield();
}

/* ---- who runs it ---- */

static void workers_run_a_job_that_nobody_waits_for(void)
{
    CHECK(mlp_pool_set_threads(4, NULL) == 0);
    for (size_t threads = 1; threads <= 4; threads++) {
        struct mlp_pool_job *job = submit_counts(threads);
        wait_without_taking_part(job);
        CHECK(each_ran(1) && atomic_load(&counts.by_others) == TASKS_COUNT);
        CHECK(mlp_pool_wait(job, 0) && mlp_pool_wait(job, -1) && !mlp_pool_cancel(job));
        mlp_pool_close(job);
    }
}

static void who_waits_runs_a_job_that_no_worker_may_run(void)
{
    CHECK(mlp_pool_set_threads(1, NULL) == 0);
    struct mlp_pool_job *job = submit_counts(0);
    CHECK(!mlp_pool_poll(job) && each_ran(0));
    CHECK(mlp_pool_wait(job, -1) && mlp_pool_poll(job));
    CHECK(each_ran(1) && atomic_load(&counts.by_others) == 0);
    mlp_pool_close(job);
}

static void a_job_of_no_tasks_is_done_when_somebody_looked(void)
{
    struct mlp_pool_job *job = NULL;
    CHECK(mlp_pool_submit(&job, count_run, &counts, 0, 1, NULL) == 0);
    CHECK(mlp_pool_wait(job, -1));
    mlp_pool_close(job);
    mlp_pool_close(NULL);
}

static void every_task_runs_once_whenever_somebody_waits(void)
{
    CHECK(mlp_pool_set_threads(3, NULL) == 0);
    for (int i = 0; i < 200; i++) {
        struct mlp_pool_job *job = submit_counts((size_t)i % 4);
        for (int spin = 0; spin < i; spin++)
            (void)mlp_pool_poll(job);
        CHECK(mlp_pool_wait(job, -1) && each_ran(1));
        mlp_pool_close(job);
    }
}

/* ---- how many ---- */

static void *open_when_three_are_in(void *gate)
{
    wait_for_arrivals(gate, 3); /* the one beside, who waits, and one more */
    open_gate(gate);
    return NULL;
}

static void more_workers_come_when_somebody_waits(void)
{
    struct gate gate = GATE_CLOSED;
    pthread_t opener;
    CHECK(mlp_pool_set_threads(3, NULL) == 0);
    struct mlp_pool_job *job = submit_gate(&gate, 100, 1);
    wait_for_arrivals(&gate, 1);
    CHECK(pthread_create(&opener, NULL, open_when_three_are_in, &gate) == 0);
    CHECK(mlp_pool_wait(job, -1));
    CHECK(pthread_join(opener, NULL) == 0);
    mlp_pool_close(job);
}

static void the_limit_holds_for_jobs_beside(void)
{
    struct holder holder;
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_pool_job *job = submit_counts(1);
    for (int i = 0; i < 1000; i++)
        sched_yield();
    CHECK(each_ran(0) && !mlp_pool_poll(job));
    let_go(&holder);
    wait_without_taking_part(job); /* a place became free: a worker comes by itself */
    CHECK(each_ran(1));
    mlp_pool_close(job);
}

struct order {
    struct gate gate;
    pthread_t caller;
    atomic_bool beside_ran;
    atomic_bool right;
};

static void note_beside(void *context, size_t index)
{
    struct order *order = context;
    (void)index;
    atomic_store(&order->beside_ran, true);
}

/* The caller's task ends when a worker has come. */
static void expect_to_be_first(void *context, size_t index)
{
    struct order *order = context;
    (void)index;
    bool is_caller = pthread_equal(pthread_self(), order->caller);
    if (!is_caller)
        atomic_store(&order->right, !atomic_load(&order->beside_ran));
    open_gate(&order->gate);
    arrive_and_wait(&order->gate);
    if (is_caller)
        wait_for_arrivals(&order->gate, 2);
}

static void *run_two(void *context)
{
    struct order *order = context;
    order->caller = pthread_self();
    mlp_pool_run(expect_to_be_first, order, 2, 2);
    return NULL;
}

/* Both jobs wait for a place when the holders leave, and one worker comes. */
static void a_job_that_somebody_waits_for_comes_first(void)
{
    struct order order = {.gate = GATE_CLOSED};
    struct holder holders[2];
    pthread_t caller;
    struct mlp_pool_job *beside = submit_counts(1);
    wait_without_taking_part(beside); /* now there is a worker */
    mlp_pool_close(beside);
    if (!hold_the_only_place(&holders[0]) || !hold_the_only_place(&holders[1]))
        return;
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    CHECK(mlp_pool_submit(&beside, note_beside, &order, 1, 1, NULL) == 0);
    CHECK(pthread_create(&caller, NULL, run_two, &order) == 0);
    wait_for_arrivals(&order.gate, 1);
    let_go(&holders[0]);
    let_go(&holders[1]);
    CHECK(pthread_join(caller, NULL) == 0);
    CHECK(atomic_load(&order.right));
    CHECK(mlp_pool_wait(beside, -1) && atomic_load(&order.beside_ran));
    mlp_pool_close(beside);
}

static void *wait_for_job(void *job)
{
    return mlp_pool_wait(job, -1) ? job : NULL;
}

static void several_may_wait_for_one_job(void)
{
    pthread_t waiting[4];
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    for (int round = 0; round < 50; round++) {
        struct mlp_pool_job *job = submit_counts(1);
        for (int i = 0; i < 4; i++)
            CHECK(pthread_create(&waiting[i], NULL, wait_for_job, job) == 0);
        for (int i = 0; i < 4; i++) {
            void *answer = NULL;
            CHECK(pthread_join(waiting[i], &answer) == 0 && answer == job);
        }
        CHECK(each_ran(1));
        mlp_pool_close(job);
    }
}

/* A task that calls the pool itself. */
static void run_tasks_in_task(void *context, size_t index)
{
    (void)index;
    mlp_pool_run(count_run, context, TASKS_COUNT, 4);
}

static void a_task_that_calls_the_pool_runs_its_tasks_itself(void)
{
    struct mlp_pool_job *job = NULL;
    CHECK(mlp_pool_set_threads(4, NULL) == 0);
    forget_counts();
    CHECK(mlp_pool_submit(&job, run_tasks_in_task, &counts, 3, 2, NULL) == 0);
    CHECK(mlp_pool_wait(job, -1) && each_ran(3));
    mlp_pool_close(job);
}

/* ---- busy processors ---- */

struct crowd {
    struct gate gate;
    atomic_llong opened; /* moments */
    atomic_llong went_on;
};

/* The first task is held up, as by a processor that others use; the second notes when it begins. */
static void be_held_up(void *context, size_t index)
{
    struct crowd *crowd = context;
    if (index == 0) {
        arrive_and_wait(&crowd->gate);
        return;
    }
    atomic_store(&crowd->went_on, mlp_clock_now());
}

static void hold_up(struct crowd *crowd, double ms)
{
    wait_for_arrivals(&crowd->gate, 1);
    int64_t until = mlp_clock_now() + (int64_t)(ms * 1e6);
    while (mlp_clock_now() < until)
        sched_yield();
    atomic_store(&crowd->opened, mlp_clock_now());
    open_gate(&crowd->gate);
}

static void a_worker_that_has_to_wait_for_a_processor_leaves_for_a_while(void)
{
    struct crowd crowd = {.gate = GATE_CLOSED};
    struct mlp_pool_job *job = NULL;
    CHECK(mlp_pool_set_threads(1, NULL) == 0);
    CHECK(mlp_pool_submit(&job, be_held_up, &crowd, 2, 1, NULL) == 0);
    hold_up(&crowd, 5);
    wait_without_taking_part(job); /* it comes back by itself */
    CHECK(atomic_load(&crowd.went_on) - atomic_load(&crowd.opened) > 15000000);
    mlp_pool_close(job);
}

static void a_pause_ends_when_somebody_waits(void)
{
    struct crowd crowd = {.gate = GATE_CLOSED};
    struct mlp_pool_job *job = NULL;
    CHECK(mlp_pool_set_threads(1, NULL) == 0);
    CHECK(mlp_pool_submit(&job, be_held_up, &crowd, 2, 1, NULL) == 0);
    hold_up(&crowd, 5);
    CHECK(mlp_pool_wait(job, -1) && atomic_load(&crowd.went_on) != 0);
    mlp_pool_close(job);
}

/* ---- patience, cancelling ---- */

static void patience_ends_between_two_tasks(void)
{
    struct holder holder;
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_pool_job *job = submit_counts(1);
    CHECK(!mlp_pool_wait(job, 0) && each_ran(0));
    let_go(&holder);
    CHECK(mlp_pool_wait(job, -1) && each_ran(1));
    mlp_pool_close(job);
}

static void patience_ends_while_a_worker_is_inside(void)
{
    struct gate gate = GATE_CLOSED;
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    struct mlp_pool_job *job = submit_gate(&gate, 1, 1);
    wait_for_arrivals(&gate, 1);
    CHECK(!mlp_pool_wait(job, 20) && !mlp_pool_poll(job));
    open_gate(&gate);
    CHECK(mlp_pool_wait(job, -1));
    mlp_pool_close(job);
}

static void what_is_cancelled_before_it_began_never_runs(void)
{
    struct holder holder;
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_pool_job *job = submit_counts(1);
    CHECK(mlp_pool_cancel(job) && !mlp_pool_cancel(job));
    CHECK(mlp_pool_poll(job) && mlp_pool_wait(job, -1) && each_ran(0));
    let_go(&holder);
    mlp_pool_close(job);
    CHECK(each_ran(0));
}

static void what_has_begun_is_finished_before_a_job_is_closed(void)
{
    struct gate gate = GATE_CLOSED;
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    struct mlp_pool_job *job = submit_gate(&gate, 5, 1);
    wait_for_arrivals(&gate, 1);
    CHECK(mlp_pool_cancel(job) && !mlp_pool_poll(job) && !mlp_pool_wait(job, 20));
    open_gate(&gate);
    mlp_pool_close(job);
    CHECK(gate.arrived == 1);
}

/* ---- a system that makes no threads ---- */

static void use_pool_without_threads(void)
{
    threads_to_go = 0;
    bool right = mlp_pool_set_threads(2, NULL) == 0;
    struct mlp_pool_job *job = submit_counts(1);
    right = right && !mlp_pool_poll(job) && mlp_pool_workers() == 0;
    right = right && mlp_pool_wait(job, -1) && each_ran(1);
    mlp_pool_close(job);
    _exit(right ? 0 : 1);
}

static void who_waits_runs_it_all_where_the_system_makes_no_threads(void)
{
    double seconds;
    CHECK(in_child(use_pool_without_threads, &seconds) == 0);
}

/* ---- processes ---- */

static struct mlp_pool_job *parents_job;

static void close_the_parents_job(void)
{
    bool right = !mlp_pool_is_here(parents_job);
    mlp_pool_close(parents_job);
    struct mlp_pool_job *own = submit_counts(1);
    right = right && mlp_pool_is_here(own) && mlp_pool_wait(own, -1) && each_ran(1);
    mlp_pool_close(own);
    _exit(right ? 0 : 1);
}

static void a_child_can_close_its_parents_job_and_no_more(void)
{
    struct gate gate = GATE_CLOSED;
    double seconds;
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    parents_job = submit_gate(&gate, 3, 1);
    wait_for_arrivals(&gate, 1);
    CHECK(in_child(close_the_parents_job, &seconds) == 0);
    open_gate(&gate);
    CHECK(mlp_pool_is_here(parents_job) && mlp_pool_wait(parents_job, -1));
    mlp_pool_close(parents_job);
}

static struct gate never = GATE_CLOSED;

static void exit_with_jobs_queued(void)
{
    if (mlp_pool_set_threads(2, NULL) != 0)
        _exit(2);
    parents_job = submit_gate(&never, 1000, 1);
    wait_for_arrivals(&never, 1);
    exit(0);
}

static void exit_in_the_middle_of_jobs(void)
{
    parents_job = submit_counts(1);
    exit(0);
}

static void a_process_ends_whatever_is_queued(void)
{
    double seconds;
    for (int i = 0; i < 20; i++)
        CHECK(in_child(exit_in_the_middle_of_jobs, &seconds) == 0);
    CHECK(in_child(exit_with_jobs_queued, &seconds) == 0);
    CHECK(seconds < 2);
}

/* ---- room for others ---- */

static void one_worker_in_eight_processors_is_left_beside(void)
{
    CHECK(mlp_pool_set_threads(64, NULL) == 0);
    size_t beside = mlp_pool_threads_beside();
    CHECK(beside <= 64);
    CHECK(mlp_pool_set_threads(1, NULL) == 0);
    CHECK(mlp_pool_threads_beside() <= 1);
    CHECK((beside == 0) == (mlp_pool_threads_beside() == 0));
}

int main(void)
{
    RUN(workers_run_a_job_that_nobody_waits_for);
    RUN(who_waits_runs_a_job_that_no_worker_may_run);
    RUN(a_job_of_no_tasks_is_done_when_somebody_looked);
    RUN(every_task_runs_once_whenever_somebody_waits);
    RUN(more_workers_come_when_somebody_waits);
    RUN(the_limit_holds_for_jobs_beside);
    RUN(a_job_that_somebody_waits_for_comes_first);
    RUN(several_may_wait_for_one_job);
    RUN(a_task_that_calls_the_pool_runs_its_tasks_itself);
    RUN(a_worker_that_has_to_wait_for_a_processor_leaves_for_a_while);
    RUN(a_pause_ends_when_somebody_waits);
    RUN(patience_ends_between_two_tasks);
    RUN(patience_ends_while_a_worker_is_inside);
    RUN(what_is_cancelled_before_it_began_never_runs);
    RUN(what_has_begun_is_finished_before_a_job_is_closed);
    RUN(one_worker_in_eight_processors_is_left_beside);
    if (THREADS_ARE_WATCHED) {
        SKIP("fork and exit: ThreadSanitizer supports no threads in a forked child");
        return check_finish();
    }
    RUN(who_waits_runs_it_all_where_the_system_makes_no_threads);
    RUN(a_child_can_close_its_parents_job_and_no_more);
    RUN(a_process_ends_whatever_is_queued);
    return check_finish();
}
