#include "tensor/digest.h"

#include "hash/pool.h"
#include "hash/task_size.h"
#include "tensor/canonical.h"

#include <stdatomic.h>
#include <stdlib.h>

/* ---- one view that is gathered or staged ---- */

/* A hasher for each request. */
struct hashers {
    struct mlp_hasher *each[MLP_DIGEST_REQUESTS_MAX];
    size_t count;
};

static int hash_sink(void *context, const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    struct hashers *hashers = context;
    int status = 0;
    for (size_t i = 0; i < hashers->count && status == 0; i++)
        status = mlp_hasher_update(hashers->each[i], bytes, bytes_len, error);
    return status;
}

static int finish_hashers(const struct hashers *hashers, const struct mlp_hash_request *requests,
                          size_t row, struct mlp_error *error)
{
    int status = 0;
    for (size_t i = 0; i < hashers->count && status == 0; i++) {
        size_t digest_len = mlp_algorithm_digest_len(requests[i].algorithm);
        status = mlp_hasher_digest(hashers->each[i], requests[i].digests + row * digest_len, error);
    }
    return status;
}

/* Writes row `row` of every request. */
static int digest_by_blocks(const struct mlp_hash_request *requests, size_t requests_count,
                            size_t row, const struct mlp_view *view, struct mlp_error *error)
{
    struct hashers hashers = {.count = 0};
    int status = 0;
    while (hashers.count < requests_count && status == 0) {
        status = mlp_hasher_new(&hashers.each[hashers.count], requests[hashers.count].algorithm,
                                NULL, error);
        hashers.count += status == 0;
    }
    if (status == 0)
        status = mlp_canonical_write(view, hash_sink, &hashers, error);
    if (status == 0)
        status = finish_hashers(&hashers, requests, row, error);
    while (hashers.count > 0)
        mlp_hasher_free(hashers.each[--hashers.count]);
    return status;
}

/* ---- many views ---- */

/* Views whose bytes lie ready go to the hash together; the others stand among them as empty inputs,
 * so that rows have the views' order, and are hashed by blocks afterwards. */
struct sorted_views {
    const struct mlp_hash_request *requests;
    size_t requests_count;
    const struct mlp_view_set *views;

    struct mlp_hash_input *inputs;
    size_t *others; /* indices: gathered ones from the front, staged ones from the back */
    size_t gathered_count;
    size_t gathered_len;
    size_t staged_count;

    atomic_int status; /* of the first gathered view that failed */
    size_t failed;
    struct mlp_error error;
};

static int sort_views(struct sorted_views *sorted, struct mlp_error *error)
{
    size_t count = sorted->views->count;
    sorted->inputs = calloc(count, sizeof *sorted->inputs);
    sorted->others = calloc(count, sizeof *sorted->others);
    if (sorted->inputs == NULL || sorted->others == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", count);
    struct mlp_view view;
    for (size_t i = 0; i < count; i++) {
        size_t len = (size_t)sorted->views->lens[i]; /* mlp_view_check: below 2^63 */
        mlp_view_set_get(&view, sorted->views, i);
        if (view.stage != NULL) {
            sorted->others[count - ++sorted->staged_count] = i;
        } else if (mlp_canonical_in_place(&view)) {
            sorted->inputs[i] = (struct mlp_hash_input){view.data, len};
        } else {
            sorted->others[sorted->gathered_count++] = i;
            sorted->gathered_len += len;
        }
    }
    return 0;
}

static int hash_view(const struct sorted_views *sorted, size_t index, struct mlp_error *error)
{
    struct mlp_view view;
    mlp_view_set_get(&view, sorted->views, index);
    return digest_by_blocks(sorted->requests, sorted->requests_count, index, &view, error);
}

static void hash_gathered_view(void *context, size_t task)
{
    struct sorted_views *sorted = context;
    size_t index = sorted->others[task];
    struct mlp_error error;
    int expected = 0;
    int status = hash_view(sorted, index, &error);
    if (status != 0 && atomic_compare_exchange_strong(&sorted->status, &expected, status)) {
        sorted->failed = index;
        sorted->error = error;
    }
}

static int hash_gathered_views(struct sorted_views *sorted, size_t threads, size_t *failed,
                               struct mlp_error *error)
{
    threads = mlp_task_threads(sorted->gathered_len, threads);
    if (threads > 1)
        mlp_pool_run(hash_gathered_view, sorted, sorted->gathered_count, threads);
    for (size_t i = 0; threads == 1 && i < sorted->gathered_count; i++)
        hash_gathered_view(sorted, i);
    int status = atomic_load(&sorted->status);
    if (status != 0) {
        *failed = sorted->failed;
        if (error != NULL)
            *error = sorted->error;
    }
    return status;
}

static int hash_staged_views(const struct sorted_views *sorted, size_t *failed,
                             struct mlp_error *error)
{
    int status = 0;
    for (size_t i = 1; i <= sorted->staged_count && status == 0; i++) {
        size_t index = sorted->others[sorted->views->count - i];
        status = hash_view(sorted, index, error);
        if (status != 0)
            *failed = index;
    }
    return status;
}

static int check_requests(const struct mlp_hash_request *requests, size_t requests_count,
                          struct mlp_error *error)
{
    if (requests_count == 0 || requests_count > MLP_DIGEST_REQUESTS_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "%zu algorithms: 1 to %d are possible",
                        requests_count, MLP_DIGEST_REQUESTS_MAX);
    for (size_t i = 0; i < requests_count; i++) {
        if (mlp_algorithm_digest_len(requests[i].algorithm) == 0)
            return mlp_fail(error, MLP_E_ARGUMENT, "unknown digest algorithm %d",
                            requests[i].algorithm);
    }
    return 0;
}

int mlp_tensor_digest_many(const struct mlp_hash_request *requests, size_t requests_count,
                           const struct mlp_view_set *views, size_t threads, size_t *failed,
                           struct mlp_error *error)
{
    size_t ignored;
    if (failed == NULL)
        failed = &ignored;
    *failed = views->count;
    int status = check_requests(requests, requests_count, error);
    if (status != 0 || views->count == 0)
        return status;

    struct sorted_views sorted = {
        .requests = requests, .requests_count = requests_count, .views = views};
    status = sort_views(&sorted, error);
    if (status == 0)
        status =
            mlp_hash_many_by(requests, requests_count, sorted.inputs, views->count, threads, error);
    if (status == 0)
        status = hash_gathered_views(&sorted, threads, failed, error);
    if (status == 0)
        status = hash_staged_views(&sorted, failed, error);
    free(sorted.inputs);
    free(sorted.others);
    return status;
}
