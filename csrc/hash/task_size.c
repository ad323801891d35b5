#include "hash/task_size.h"

#include "hash/pool.h"

size_t mlp_task_threads(size_t total_len, size_t threads)
{
    if (total_len < MLP_TASKS_TOTAL_MIN)
        return 1;
    if (threads == 0)
        threads = mlp_pool_threads();
    size_t worth = total_len / (MLP_TASKS_TOTAL_MIN / 2);
    return worth < threads ? worth : threads;
}

size_t mlp_task_len(size_t total_len, size_t threads)
{
    size_t len = MLP_TASK_MIN;
    while (len < MLP_TASK_MAX && len * 16 * threads <= total_len)
        len *= 2;
    while (total_len / len > MLP_TASKS_COUNT_MAX)
        len *= 2;
    return len;
}
