#include "tensor/digest.h"

#include "tensor/canonical.h"

#include <stdlib.h>

/* ---- views in host memory ---- */

/* A strided view as the hash sees it. */
struct strided {
    struct mlp_hash_source source; /* the first member: freed by its address */
    struct mlp_canonical_reader reader;
    struct mlp_view view;
};

static int add_strided(struct mlp_hash_input *input, const struct mlp_view_set *views, size_t index,
                       struct mlp_error *error)
{
    struct strided *strided = malloc(sizeof *strided);
    if (strided == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to read a strided tensor");
    mlp_view_set_get(&strided->view, views, index);
    mlp_canonical_reader_init(&strided->reader, &strided->view);
    strided->source.read = mlp_canonical_read;
    strided->source.context = &strided->reader;
    strided->source.piece_len = mlp_canonical_piece_len(&strided->reader);
    input->source = &strided->source;
    return 0;
}

/* A staged view is left as an empty input. */
static int add_input(struct mlp_hash_input *input, const struct mlp_view_set *views, size_t index,
                     struct mlp_error *error)
{
    struct mlp_view view;
    mlp_view_set_get(&view, views, index);
    if (view.stage != NULL)
        return 0;
    input->len = (size_t)views->lens[index]; /* mlp_view_check: below 2^63 */
    if (!mlp_canonical_in_place(&view))
        return add_strided(input, views, index, error);
    input->data = view.data;
    return 0;
}

static void free_inputs(struct mlp_hash_input *inputs, size_t inputs_count)
{
    for (size_t i = 0; i < inputs_count; i++)
        free((void *)inputs[i].source);
    free(inputs);
}

/* ---- staged views ---- */

/* A hasher for each request. */
struct hashers {
    struct mlp_hasher *each[MLP_DIGEST_REQUESTS_MAX];
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

    struct mlp_hash_input *inputs = calloc(views->count, sizeof *inputs);
    if (inputs == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", views->count);
    for (size_t i = 0; i < views->count && status == 0; i++)
        status = add_input(&inputs[i], views, i, error);
    if (status == 0)
        status = mlp_hash_many_by(requests, requests_count, inputs, views->count, threads, error);
    if (status == 0)
        status = hash_staged_views(requests, requests_count, views, failed, error);
    free_inputs(inputs, views->count);
    return status;
}
