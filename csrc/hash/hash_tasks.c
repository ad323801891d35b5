#include "hash/hash_tasks.h"

#include "base/first_failure.h"
#include "hash/blake3_input.h"
#include "hash/blake3_tree.h"
#include "hash/pool.h"
#include "hash/task_size.h"

#include <stdlib.h>

/* What an input costs beside its bytes, in bytes. [measured: 15 ns for 64 bytes of which 9 are theirs, or
 * 45 bytes of a long input; an empty one 116 bytes of it. 0 to 1,024 here give the same rates] */
#define INPUT_COST 64

/* What a byte costs with SHA-2 beside BLAKE3, at least. [measured: 4.2 with SHA extensions and AVX-512. But 4
 * here gives 0.92 of the rate, as BLAKE3's tasks become longer; 1 gives 1.00 to 1.05] */
#define SHA2_COST 2

struct task {
    const struct mlp_hash_request *request;
    size_t first;  /* index of an input */
    size_t count;  /* of whole inputs; 0: a part of one */
    size_t offset; /* of the part, whose length is the plan's or what is left */
    uint8_t cv32[MLP_BLAKE3_OUT_LEN];
};

struct mlp_hash_plan {
    const struct mlp_hash_input *inputs;
    size_t inputs_count;
    size_t part_len;
    struct task *tasks; /* NULL: they are only counted */
    size_t tasks_count;
    struct mlp_first_failure failure;
};

/* ---- running ---- */

static int hash_inputs(const struct mlp_hash_request *request, const struct mlp_hash_input *inputs,
                       size_t first, size_t count, struct mlp_error *error)
{
    uint8_t *digests = request->digests + first * mlp_algorithm_digest_len(request->algorithm);
    return mlp_hash_many_alone(request->algorithm, digests, inputs + first, count, error);
}

static size_t part_len(const struct mlp_hash_plan *plan, const struct task *task)
{
    size_t left = plan->inputs[task->first].len - task->offset;
    return left < plan->part_len ? left : plan->part_len;
}

void mlp_hash_plan_run(struct mlp_hash_plan *plan, size_t index)
{
    struct task *task = &plan->tasks[index];
    if (task->count == 0) {
        mlp_blake3_input_part(task->cv32, &plan->inputs[task->first], task->offset,
                              part_len(plan, task));
        return;
    }
    struct mlp_error error;
    int status = hash_inputs(task->request, plan->inputs, task->first, task->count, &error);
    mlp_first_failure_note(&plan->failure, status, &error);
}

/* ---- planning ---- */

static void add_task(struct mlp_hash_plan *plan, struct task task)
{
    if (plan->tasks != NULL)
        plan->tasks[plan->tasks_count] = task;
    plan->tasks_count++;
}

static void add_parts(struct mlp_hash_plan *plan, const struct mlp_hash_request *request,
                      size_t input)
{
    for (size_t offset = 0; offset < plan->inputs[input].len; offset += plan->part_len)
        add_task(plan, (struct task){.request = request, .first = input, .offset = offset});
}

static void add_whole(struct mlp_hash_plan *plan, const struct mlp_hash_request *request,
                      size_t first, size_t end)
{
    if (end > first)
        add_task(plan, (struct task){.request = request, .first = first, .count = end - first});
}

/* Inputs that make up a part share a task; one that is longer has its own, or several. */
static void plan_request(struct mlp_hash_plan *plan, const struct mlp_hash_request *request)
{
    size_t first = 0, cost = 0;
    for (size_t i = 0; i < plan->inputs_count; i++) {
        size_t len = plan->inputs[i].len;
        if (len > plan->part_len) {
            add_whole(plan, request, first, i);
            if (request->algorithm == MLP_BLAKE3)
                add_parts(plan, request, i);
            else
                add_whole(plan, request, i, i + 1);
            first = i + 1;
            cost = 0;
            continue;
        }
        cost += len + INPUT_COST;
        if (cost >= plan->part_len) {
            add_whole(plan, request, first, i + 1);
            first = i + 1;
            cost = 0;
        }
    }
    add_whole(plan, request, first, plan->inputs_count);
}

/* SHA-2 first: its tasks are slower, and may be long. */
static void plan_requests(struct mlp_hash_plan *plan, const struct mlp_hash_request *requests,
                          size_t requests_count)
{
    plan->tasks_count = 0;
    for (size_t i = 0; i < requests_count; i++) {
        if (requests[i].algorithm != MLP_BLAKE3)
            plan_request(plan, &requests[i]);
    }
    for (size_t i = 0; i < requests_count; i++) {
        if (requests[i].algorithm == MLP_BLAKE3)
            plan_request(plan, &requests[i]);
    }
}

/* ---- joining ---- */

/* The parts of one input, from the task at index on. Returns: the index after them. */
static size_t join_parts(const struct mlp_hash_plan *plan, size_t index)
{
    const struct mlp_hash_request *request = plan->tasks[index].request;
    size_t input = plan->tasks[index].first;
    struct mlp_blake3_state state;
    mlp_blake3_init(&state, mlp_blake3_iv, 0, 0);
    for (size_t done = 0; done < plan->inputs[input].len; done += plan->part_len)
        mlp_blake3_push_subtree(&state, plan->tasks[index++].cv32,
                                plan->part_len / MLP_BLAKE3_CHUNK_LEN);
    mlp_blake3_output(&state, 0, request->digests + input * MLP_BLAKE3_OUT_LEN, MLP_BLAKE3_OUT_LEN);
    return index;
}

static void join_all_parts(const struct mlp_hash_plan *plan)
{
    for (size_t i = 0; i < plan->tasks_count;)
        i = plan->tasks[i].count == 0 ? join_parts(plan, i) : i + 1;
}

/* ---- the face ---- */

struct alone {
    const struct mlp_hash_request *requests;
    size_t requests_count;
    const struct mlp_hash_input *inputs;
    size_t inputs_count;
    int status;
    struct mlp_error *error;
};

static void run_alone(void *context, size_t index)
{
    struct alone *alone = context;
    (void)index;
    for (size_t i = 0; i < alone->requests_count && alone->status == MLP_OK; i++)
        alone->status =
            hash_inputs(&alone->requests[i], alone->inputs, 0, alone->inputs_count, alone->error);
}

/* In bytes of BLAKE3. */
static size_t total_cost(const struct mlp_hash_request *requests, size_t requests_count,
                         const struct mlp_hash_input *inputs, size_t inputs_count)
{
    size_t len = 0, cost = 0;
    for (size_t i = 0; i < inputs_count; i++)
        len += inputs[i].len + INPUT_COST;
    for (size_t i = 0; i < requests_count; i++)
        cost += requests[i].algorithm == MLP_BLAKE3 ? len : len * SHA2_COST;
    return cost;
}

/* Tasks counted, then written. plan->tasks stays NULL where there is no memory for them. */
static void make_plan(struct mlp_hash_plan *plan, const struct mlp_hash_request *requests,
                      size_t requests_count)
{
    plan_requests(plan, requests, requests_count);
    struct task *tasks = calloc(plan->tasks_count + 1, sizeof *tasks);
    if (tasks == NULL)
        return;
    plan->tasks = tasks;
    plan_requests(plan, requests, requests_count);
}

int mlp_hash_plan_finish(struct mlp_hash_plan *plan, struct mlp_error *error)
{
    int status = mlp_first_failure_take(&plan->failure, error);
    if (status == MLP_OK)
        join_all_parts(plan);
    return status;
}

static void run_task(void *context, size_t index)
{
    mlp_hash_plan_run(context, index);
}

static int run_plan(struct mlp_hash_plan *plan, size_t threads, struct mlp_error *error)
{
    mlp_pool_run(run_task, plan, plan->tasks_count, threads);
    int status = mlp_hash_plan_finish(plan, error);
    free(plan->tasks);
    return status;
}

int mlp_hash_tasks(const struct mlp_hash_request *requests, size_t requests_count,
                   const struct mlp_hash_input *inputs, size_t inputs_count, size_t threads,
                   struct mlp_error *error)
{
    struct alone alone = {requests, requests_count, inputs, inputs_count, MLP_OK, error};
    size_t total = total_cost(requests, requests_count, inputs, inputs_count);
    if (total < MLP_TASKS_TOTAL_MIN) { /* not worth telling the pool */
        run_alone(&alone, 0);
        return alone.status;
    }
    threads = mlp_task_threads(total, threads);
    struct mlp_hash_plan plan = {
        .inputs = inputs, .inputs_count = inputs_count, .part_len = mlp_task_len(total, threads)};
    mlp_first_failure_init(&plan.failure);
    if (threads > 1)
        make_plan(&plan, requests, requests_count);
    if (plan.tasks != NULL)
        return run_plan(&plan, threads, error);
    mlp_pool_run(run_alone, &alone, 1, 1);
    return alone.status;
}

/* ---- plans that outlive a call ---- */

int mlp_hash_plan_new(struct mlp_hash_plan **plan_out, const struct mlp_hash_request *request,
                      const struct mlp_hash_input *inputs, size_t inputs_count, size_t threads,
                      struct mlp_error *error)
{
    size_t total = total_cost(request, 1, inputs, inputs_count);
    struct mlp_hash_plan *plan = calloc(1, sizeof *plan);
    if (plan != NULL) {
        plan->inputs = inputs;
        plan->inputs_count = inputs_count;
        plan->part_len = mlp_task_len(total, threads);
        mlp_first_failure_init(&plan->failure);
        make_plan(plan, request, 1);
    }
    if (plan == NULL || plan->tasks == NULL) {
        free(plan);
        return mlp_fail(error, MLP_E_MEMORY, "no memory to plan the hashing of %zu inputs",
                        inputs_count);
    }
    *plan_out = plan;
    return MLP_OK;
}

size_t mlp_hash_plan_tasks(const struct mlp_hash_plan *plan)
{
    return plan->tasks_count;
}

size_t mlp_hash_plan_size(const struct mlp_hash_plan *plan)
{
    return sizeof *plan + plan->tasks_count * sizeof *plan->tasks;
}

void mlp_hash_plan_free(struct mlp_hash_plan *plan)
{
    if (plan == NULL)
        return;
    free(plan->tasks);
    free(plan);
}
