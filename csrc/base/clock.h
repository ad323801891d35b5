/* clock.h - deadlines that a clock which somebody sets does not move.
 *
 * Threads: any thread.
 */
#ifndef MLP_BASE_CLOCK_H
#define MLP_BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* Returns: the moment ms milliseconds from now, of the monotonic clock; now for a negative number.
 */
struct timespec mlp_clock_after_ms(long ms);

/* Whether a moment of the monotonic clock has come. */
bool mlp_clock_is_past(const struct timespec *moment);

/* Returns: milliseconds until a moment of the monotonic clock, rounded up; 0 where it has come. */
long mlp_clock_left_ms(const struct timespec *moment);

/* A condition whose timed waits take moments of the monotonic clock. */
void mlp_clock_condition_init(pthread_cond_t *condition);

#endif
