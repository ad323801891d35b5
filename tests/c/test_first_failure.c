/* The first failure of tasks that run at the same time: its status and its detail belong together. */
#include "base/first_failure.h"
#include "check.h"
#include "hash/pool.h"

#include <string.h>

#define THREADS 8

/* Statuses of tasks: -1 to -18, one after another; the detail names the status. */
static int status_of(size_t index)
{
    return -(int)(index % 18) - 1;
}

static void fail(void *context, size_t index)
{
    struct mlp_first_failure *failure = context;
    struct mlp_error error;
    int status = mlp_fail(&error, status_of(index), "status %d", status_of(index));
    mlp_first_failure_note(failure, status, &error);
}

static void fail_once(void *context, size_t index)
{
    if (index == 700)
        fail(context, index);
    else
        mlp_first_failure_note(context, MLP_OK, NULL);
}

static void without_a_failure_nothing_is_written(void)
{
    struct mlp_first_failure failure;
    struct mlp_error error = {.status = 7};
    mlp_first_failure_init(&failure);
    mlp_first_failure_note(&failure, MLP_OK, NULL);
    CHECK(mlp_first_failure_status(&failure) == MLP_OK);
    CHECK(mlp_first_failure_take(&failure, &error) == MLP_OK);
    CHECK(error.status == 7);
}

static void the_first_failure_stays(void)
{
    struct mlp_first_failure failure;
    struct mlp_error error;
    mlp_first_failure_init(&failure);
    fail(&failure, 4);
    fail(&failure, 9);
    mlp_first_failure_note(&failure, MLP_OK, NULL);
    CHECK(mlp_first_failure_status(&failure) == status_of(4));
    CHECK(mlp_first_failure_take(&failure, &error) == status_of(4));
    CHECK(strcmp(error.message, "status -5") == 0);
    CHECK(mlp_first_failure_take(&failure, NULL) == status_of(4));
}

static void of_tasks_that_fail_together_one_is_told_whole(void)
{
    for (int turn = 0; turn < 200; turn++) {
        struct mlp_first_failure failure;
        struct mlp_error error = {0};
        char expected[32];
        mlp_first_failure_init(&failure);
        mlp_pool_run(fail, &failure, 64, THREADS);
        int status = mlp_first_failure_take(&failure, &error);
        (void)snprintf(expected, sizeof expected, "status %d", status);
        CHECK(status < 0 && error.status == status);
        CHECK(strcmp(error.message, expected) == 0);
    }
}

static void one_failure_among_many_tasks_is_found(void)
{
    struct mlp_first_failure failure;
    mlp_first_failure_init(&failure);
    mlp_pool_run(fail_once, &failure, 1000, THREADS);
    CHECK(mlp_first_failure_take(&failure, NULL) == status_of(700));
}

int main(void)
{
    RUN(without_a_failure_nothing_is_written);
    RUN(the_first_failure_stays);
    RUN(of_tasks_that_fail_together_one_is_told_whole);
    RUN(one_failure_among_many_tasks_is_found);
    return check_finish();
}
