#include "base/clock.h"

#include <time.h>

#define NS_PER_SECOND INT64_C(1000000000)
#define NS_PER_MS     (NS_PER_SECOND / 1000)

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

int64_t mlp_clock_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t mlp_clock_after_ms(long ms)
{
    int64_t now = mlp_clock_now();
    if (ms < 0 || ms > (MLP_CLOCK_NEVER - now) / NS_PER_MS)
        return MLP_CLOCK_NEVER;
    return now + ms * NS_PER_MS;
}

long mlp_clock_left_ms(int64_t moment, long most_ms)
{
    int64_t left = moment - mlp_clock_now();
    if (left <= 0)
        return 0;
    int64_t left_ms = (left - 1) / NS_PER_MS + 1;
    return left_ms < most_ms ? (long)left_ms : most_ms;
}

int64_t mlp_clock_waited(void)
{
    return mlp_clock_now() - read_clock(CLOCK_THREAD_CPUTIME_ID);
}

void mlp_clock_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

int mlp_clock_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t moment)
{
    const struct timespec until = {
        .tv_sec = (time_t)(moment / NS_PER_SECOND),
        .tv_nsec = (long)(moment % NS_PER_SECOND),
    };
    return pthread_cond_timedwait(condition, mutex, &until);
}
