/* clock.h - moments of a clock that nobody sets: nanoseconds since some beginning.
 *
 * Threads: any thread.
 */
#ifndef MLP_BASE_CLOCK_H
#define MLP_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

#define MLP_CLOCK_NEVER INT64_MAX

int64_t mlp_clock_now(void);

/* Returns: the moment ms milliseconds from now; MLP_CLOCK_NEVER for a negative number. */
int64_t mlp_clock_after_ms(long ms);

/* Returns: milliseconds until a moment, rounded up, at most most_ms; 0 where it has come. */
long mlp_clock_left_ms(int64_t moment, long most_ms);

/* How long the calling thread has not run since some beginning: asleep, or waiting for a processor. Two
 * answers are compared.
 */
int64_t mlp_clock_waited(void);

/* A condition, and a wait for it that ends at a moment.
 * Returns: 0, ETIMEDOUT when the moment has come.
 */
void mlp_clock_condition_init(pthread_cond_t *condition);
int mlp_clock_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t moment);

#endif
