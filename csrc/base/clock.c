#include "base/clock.h"

#define NS_PER_SECOND 1000000000
#define NS_PER_MS     (NS_PER_SECOND / 1000)

struct timespec mlp_clock_after_ms(long ms)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    if (ms <= 0)
        return moment;
    moment.tv_sec += ms / 1000;
    moment.tv_nsec += ms % 1000 * NS_PER_MS;
    if (moment.tv_nsec >= NS_PER_SECOND) {
        moment.tv_sec++;
        moment.tv_nsec -= NS_PER_SECOND;
    }
    return moment;
}

/* Of a moment that has come: 0. */
static struct timespec time_left(const struct timespec *moment)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct timespec left = {moment->tv_sec - now.tv_sec, moment->tv_nsec - now.tv_nsec};
    if (left.tv_nsec < 0) {
        left.tv_sec--;
        left.tv_nsec += NS_PER_SECOND;
    }
    return left.tv_sec < 0 ? (struct timespec){0, 0} : left;
}

bool mlp_clock_is_past(const struct timespec *moment)
{
    struct timespec left = time_left(moment);
    return left.tv_sec == 0 && left.tv_nsec == 0;
}

long mlp_clock_left_ms(const struct timespec *moment)
{
    struct timespec left = time_left(moment);
    return left.tv_sec * 1000 + (left.tv_nsec + NS_PER_MS - 1) / NS_PER_MS;
}

void mlp_clock_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}
