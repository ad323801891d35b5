/* clock.c - how many cycles a second the processor makes while it is asked; for kernel_cycles.py.
 *
 * Counted by a chain of additions, each waiting for the one before: one cycle each on every processor
 * here. Performance counters would say it too, and virtual machines often have none.
 */
#include <stdint.h>
#include <time.h>

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Returns: cycles a second, over some milliseconds. */
double cycles_per_second(void)
{
    const int rounds = 10000;
    uint64_t sum = 0;
    double began = seconds_now();
    for (int i = 0; i < rounds; i++)
#if defined(__x86_64__)
        __asm__ volatile(".rept 1000\n\taddq $1, %0\n\t.endr" : "+r"(sum));
#elif defined(__aarch64__)
        __asm__ volatile(".rept 1000\n\tadd %0, %0, #1\n\t.endr" : "+r"(sum));
#endif
    return (double)sum / (seconds_now() - began);
}
