/* pool_setting.c - how many threads hash at once: what the environment, the program and the machine say. */
#include "base/processors.h"
#include "hash/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ENVIRONMENT_NAME "MLPROV_THREADS"

/* A training that is worth overlapping keeps its own threads busy, and one core hashes a GB in some
 * 0.15 s: as much as most models write in a second. */
#define PROCESSORS_PER_WORKER_BESIDE 8

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_size_t setting;
static size_t processors; /* set with the setting */

/* Decimal digits alone: strtoull would take signs, spaces and what follows the number.
 * Returns: 0 for anything else, and for what is out of range. */
static size_t read_threads(const char *text)
{
    size_t digits_count = strspn(text, "0123456789");
    if (digits_count == 0 || digits_count > 4 || text[digits_count] != '\0')
        return 0;
    size_t threads = strtoul(text, NULL, 10);
    return threads <= MLP_THREADS_MAX ? threads : 0;
}

/* Returns: NULL where the variable is unset or empty. */
static const char *environment_text(void)
{
    const char *text = getenv(ENVIRONMENT_NAME);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* A value that is no number leaves the setting as without it; the caller learns of it from
 * mlp_pool_check_environment. */
static void read_setting(void)
{
    const char *text = environment_text();
    size_t threads = text != NULL ? read_threads(text) : 0;
    processors = mlp_processors();
    if (threads == 0) {
        threads = processors;
        if (threads > MLP_THREADS_DEFAULT_MAX)
            threads = MLP_THREADS_DEFAULT_MAX;
    }
    atomic_store(&setting, threads);
}

size_t mlp_pool_threads(void)
{
    size_t threads = atomic_load_explicit(&setting, memory_order_relaxed);
    if (threads > 0)
        return threads;
    pthread_once(&once, read_setting);
    return atomic_load(&setting);
}

size_t mlp_pool_threads_beside(void)
{
    pthread_once(&once, read_setting);
    size_t threads = atomic_load(&setting);
    if (processors <= 1)
        return 0;
    size_t beside = processors / PROCESSORS_PER_WORKER_BESIDE;
    if (beside == 0)
        beside = 1;
    return beside < threads ? beside : threads;
}

int mlp_pool_check_threads(uint64_t threads, const char *what, struct mlp_error *error)
{
    if (threads >= 1 && threads <= MLP_THREADS_MAX)
        return MLP_OK;
    return mlp_fail(error, MLP_E_CONFIG,
                    "%s: %llu is no number of threads; give a whole number from 1 to %d", what,
                    (unsigned long long)threads, MLP_THREADS_MAX);
}

int mlp_pool_set_threads(uint64_t threads, struct mlp_error *error)
{
    int status = mlp_pool_check_threads(threads, "set_threads", error);
    if (status != MLP_OK)
        return status;
    pthread_once(&once, read_setting);
    atomic_store(&setting, (size_t)threads);
    return MLP_OK;
}

int mlp_pool_check_environment(struct mlp_error *error)
{
    const char *text = environment_text();
    if (text == NULL || read_threads(text) > 0)
        return MLP_OK;
    return mlp_fail(
        error, MLP_E_CONFIG,
        "%s \"%.40s\" is no number of threads; give a whole number from 1 to %d, or unset "
        "it for one thread on each processor",
        ENVIRONMENT_NAME, text, MLP_THREADS_MAX);
}
