#include "base/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static _Atomic pid_t id; /* 0: not to be remembered */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void remember(void)
{
    atomic_store_explicit(&id, getpid(), memory_order_relaxed);
}

/* Without the handler, for which there may be no memory, nothing is remembered. */
static void begin(void)
{
    if (pthread_atfork(NULL, NULL, remember) == 0)
        remember();
}

pid_t mlp_process_id(void)
{
    (void)pthread_once(&once, begin);
    pid_t known = atomic_load_explicit(&id, memory_order_relaxed);
    return known != 0 ? known : getpid();
}
