#include "base/clock.h"

#define NS_PER_SECOND 1000000000

struct timespec mlp_clock_after_ms(long ms)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    if (ms <= 0)
        return moment;
    moment.tv_sec += ms / 1000;
    moment.tv_nsec += ms % 1000 * (NS_PER_SECOND / 1000);
    if (moment.tv_nsec >= NS_PER_SECOND) {
        moment.tv_sec++;
        moment.tv_nsec -= NS_PER_SECOND;
    }
    return moment;
}

bool mlp_clock_is_past(const struct timespec *moment)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec != moment->tv_sec)
        return now.tv_sec > moment->tv_sec;
    return now.tv_nsec >= moment->tv_nsec;
}

void mlp_clock_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}
