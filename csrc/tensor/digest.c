#include "tensor/digest.h"

#include "tensor/canonical.h"
#include "tensor/inputs.h"

/* ---- staged views ---- */

/* A hasher for each request. */
struct hashers {
    struct mlp_hasher *each[MLP_HASH_REQUESTS_MAX];
    size_t count;
};

static int add_block(void *context, const void *bytes, size_t bytes_len, struct mlp_error *error)
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
static int digest_staged(const struct mlp_hash_request *requests, size_t requests_count, size_t row,
                         const struct mlp_view *view, struct mlp_error *error)
{
    struct hashers hashers = {.count = 0};
    int status = 0;
    while (hashers.count < requests_count && status == 0) {
        status = mlp_hasher_new(&hashers.each[hashers.count], requests[hashers.count].algorithm,
                                NULL, error);
        hashers.count += status == 0;
    }
    if (status == 0)
        status = mlp_canonical_stage(view, add_block, &hashers, error);
    if (status == 0)
        status = finish_hashers(&hashers, requests, row, error);
    while (hashers.count > 0)
        mlp_hasher_free(hashers.each[--hashers.count]);
    return status;
}

static int hash_staged_views(const struct mlp_hash_request *requests, size_t requests_count,
                             const struct mlp_view_set *views, size_t *failed,
                             struct mlp_error *error)
{
    for (size_t i = 0; i < views->count; i++) {
        struct mlp_view view;
        mlp_view_set_get(&view, views, i);
        if (view.stage == NULL)
            continue;
        int status = digest_staged(requests, requests_count, i, &view, error);
        if (status != 0) {
            *failed = i;
            return status;
        }
    }
    return 0;
}

/* ---- both ---- */

static int check_requests(const struct mlp_hash_request *requests, size_t requests_count,
                          struct mlp_error *error)
{
    if (requests_count == 0 || requests_count > MLP_HASH_REQUESTS_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "%zu algorithms: 1 to %d are possible",
                        requests_count, MLP_HASH_REQUESTS_MAX);
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

    struct mlp_hash_input *inputs;
    status = mlp_tensor_inputs_new(&inputs, views, false, error);
    if (status != 0)
        return status;
    status = mlp_hash_many_by(requests, requests_count, inputs, views->count, threads, error);
    if (status == 0)
        status = hash_staged_views(requests, requests_count, views, failed, error);
    mlp_tensor_inputs_free(inputs, views->count);
    return status;
}
