#include "base/first_failure.h"

#include <stddef.h>

void mlp_first_failure_init(struct mlp_first_failure *failure)
{
    atomic_init(&failure->status, MLP_OK);
}

/* The one task whose exchange succeeds writes the detail; it is read when that task has ended. */
void mlp_first_failure_note(struct mlp_first_failure *failure, int status,
                            const struct mlp_error *error)
{
    int expected = MLP_OK;
    if (status != MLP_OK && atomic_compare_exchange_strong(&failure->status, &expected, status))
        failure->error = *error;
}

int mlp_first_failure_status(const struct mlp_first_failure *failure)
{
    return atomic_load_explicit(&failure->status, memory_order_relaxed);
}

int mlp_first_failure_take(const struct mlp_first_failure *failure, struct mlp_error *error)
{
    int status = atomic_load(&failure->status);
    if (status != MLP_OK && error != NULL)
        *error = failure->error;
    return status;
}
