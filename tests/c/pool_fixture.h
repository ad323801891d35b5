/* pool_fixture.h - what tests of threads share: a gate at which tasks wait, and processes to end. */
#ifndef MLP_TESTS_POOL_FIXTURE_H
#define MLP_TESTS_POOL_FIXTURE_H

#include "check.h"
#include "hash/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- a gate: tasks that wait for each other ---- */

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int arrived;
    bool open;
};

#define GATE_CLOSED                                                                                \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false                              \
    }

static inline void arrive_and_wait(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->arrived++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static inline void wait_for_arrivals(struct gate *gate, int count)
{
    pthread_mutex_lock(&gate->mutex);
    while (gate->arrived < count)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static inline void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

static inline void wait_in_task(void *context, size_t index)
{
    (void)index;
    arrive_and_wait(context);
}

/* A caller whose one task waits at the gate: it counts as a thread that hashes. */
static inline void *call_and_wait(void *context)
{
    mlp_pool_run(wait_in_task, context, 1, 1);
    return NULL;
}

/* A thread that holds the only place there is for one that hashes: set_threads(1), then no worker does
 * anything until it is let go. */
struct holder {
    pthread_t thread;
    struct gate gate;
};

static inline bool hold_the_only_place(struct holder *holder)
{
    *holder = (struct holder){.gate = GATE_CLOSED};
    if (!CHECK(mlp_pool_set_threads(1, NULL) == 0) ||
        !CHECK(pthread_create(&holder->thread, NULL, call_and_wait, &holder->gate) == 0))
        return false;
    wait_for_arrivals(&holder->gate, 1);
    return true;
}

static inline void let_go(struct holder *holder)
{
    open_gate(&holder->gate);
    CHECK(pthread_join(holder->thread, NULL) == 0);
}

/* ---- processes ---- */

/* Runs body in a child, which a hang ends after 20 s. Returns: its wait status; *seconds: how long. */
static inline int in_child(void (*body)(void), double *seconds)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(20);
        body();
        _exit(99); /* body ends the process itself */
    }
    int status = -1;
    if (child > 0)
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
    clock_gettime(CLOCK_MONOTONIC, &end);
    *seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
    return status;
}

#endif
