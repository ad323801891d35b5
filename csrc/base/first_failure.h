/* first_failure.h - the first failure of tasks that run at the same time: the others are forgotten.
 *
 * Whoever has begun the tasks makes one, every task notes how it ended, and the failure is taken when all
 * have ended.
 *
 * Threads: mlp_first_failure_note and mlp_first_failure_status any, at the same time; the others while no
 * task runs.
 */
#ifndef MLP_BASE_FIRST_FAILURE_H
#define MLP_BASE_FIRST_FAILURE_H

#include "base/status.h"

#include <stdatomic.h>

struct mlp_first_failure {
    atomic_int status;
    struct mlp_error error; /* of the task that set status */
};

void mlp_first_failure_init(struct mlp_first_failure *failure);

/* In:      status: 0: nothing is noted. error: its detail, which is copied; not read where status is 0. */
void mlp_first_failure_note(struct mlp_first_failure *failure, int status,
                            const struct mlp_error *error);

/* Returns: 0 while no task has failed, or the status noted first: tasks that have not begun need not. */
int mlp_first_failure_status(const struct mlp_first_failure *failure);

/* Returns: as mlp_first_failure_status, with its detail in error (which may be NULL) where it is not 0. */
int mlp_first_failure_take(const struct mlp_first_failure *failure, struct mlp_error *error);

#endif
