/* processors.h - how many processors this process may use.
 *
 * Threads: any thread; reads the system each time it is asked (a few system calls), keeps nothing.
 */
#ifndef MLP_BASE_PROCESSORS_H
#define MLP_BASE_PROCESSORS_H

#include <stddef.h>

/* Returns: the processors of the calling thread's affinity mask, but no more than the CPU time that
 *          its control group may use (cpu.max of cgroup v2, rounded up); at least 1.
 */
size_t mlp_processors(void);

/* The processors' worth of time that a line of cpu.max allows: "max 100000", "150000 100000" (2).
 * Returns: 0 where it sets no limit or cannot be read.
 */
size_t mlp_processors_of_quota(const char *line);

#endif
