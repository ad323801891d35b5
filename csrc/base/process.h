/* process.h - which process this is, without asking the system each time.
 *
 * getpid() is a call of the kernel, which costs a microsecond and more where the processor's caches
 * have nothing of it [measured]. This one is as right where children are made by fork(); one of a bare
 * clone() without exec is taken for its parent.
 *
 * Threads: any thread.
 */
#ifndef MLP_BASE_PROCESS_H
#define MLP_BASE_PROCESS_H

#include <sys/types.h>

pid_t mlp_process_id(void);

#endif
