#include "tensor/digest.h"

#include "hash/hash.h"
#include "hash/pool.h"
#include "hash/task_size.h"
#include "tensor/canonical.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int hash_sink(void *context, const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    return mlp_hasher_update(context, bytes, bytes_len, error);
}

static int digest_by_blocks(uint8_t *digest, const struct mlp_view *view, int algorithm,
                            struct mlp_error *error)
{
    struct mlp_hasher *hasher = NULL;
    int status = mlp_hasher_new(&hasher, algorithm, NULL, error);
    if (status != 0)
        return status;
    status = mlp_canonical_write(view, hash_sink, hasher, error);
    if (status == 0)
        status = mlp_hasher_digest(hasher, digest, error);
    mlp_hasher_free(hasher);
    return status;
}

int mlp_tensor_len(uint64_t *len, const struct mlp_view *view, struct mlp_error *error)
{
    return mlp_canonical_len(len, view, error);
}

/* What mlp_tensor_digest_many keeps while it sorts views: those whose bytes lie ready go to the hash
 * together, those that are gathered are tasks for several threads, and a view's stage is called on
 * the calling thread, one after another. */
struct sorted_views {
    const struct mlp_view *const *views;
    int algorithm;
    size_t digest_len;
    uint8_t *digests; /* the caller's rows */

    struct mlp_hash_input *inputs; /* of the views that lie ready */
    size_t *places;                /* indices of their views */
    uint8_t *ready_digests;
    size_t ready_count;

    size_t *gathered; /* indices of views */
    size_t gathered_count;
    size_t gathered_len;

    atomic_int status; /* of the first gathered view that failed */
    size_t failed;
    struct mlp_error error;
};

static void sorted_views_free(struct sorted_views *sorted)
{
    free(sorted->inputs);
    free(sorted->places);
    free(sorted->ready_digests);
    free(sorted->gathered);
}

static int sorted_views_new(struct sorted_views *sorted, size_t views_count,
                            struct mlp_error *error)
{
    sorted->inputs = calloc(views_count, sizeof *sorted->inputs);
    sorted->places = calloc(views_count, sizeof *sorted->places);
    sorted->ready_digests = calloc(views_count, sorted->digest_len);
    sorted->gathered = calloc(views_count, sizeof *sorted->gathered);
    if (sorted->inputs != NULL && sorted->places != NULL && sorted->ready_digests != NULL &&
        sorted->gathered != NULL)
        return 0;
    sorted_views_free(sorted);
    return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", views_count);
}

/* Puts a view where it belongs; a staged one is hashed. */
static int sort_view(struct sorted_views *sorted, size_t index, struct mlp_error *error)
{
    const struct mlp_view *view = sorted->views[index];
    uint64_t len;
    int status = mlp_canonical_len(&len, view, error);
    if (status != 0)
        return status;
    if (view->stage != NULL)
        return digest_by_blocks(sorted->digests + index * sorted->digest_len, view,
                                sorted->algorithm, error);
    if (mlp_canonical_in_place(view)) {
        sorted->inputs[sorted->ready_count].data = view->data;
        sorted->inputs[sorted->ready_count].len = (size_t)len;
        sorted->places[sorted->ready_count++] = index;
    } else {
        sorted->gathered[sorted->gathered_count++] = index;
        sorted->gathered_len += (size_t)len;
    }
    return 0;
}

static void hash_gathered_view(void *context, size_t task)
{
    struct sorted_views *sorted = context;
    size_t index = sorted->gathered[task];
    struct mlp_error error;
    int expected = 0;
    int status = digest_by_blocks(sorted->digests + index * sorted->digest_len,
                                  sorted->views[index], sorted->algorithm, &error);
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

static int hash_ready_views(struct sorted_views *sorted, size_t threads, struct mlp_error *error)
{
    size_t digest_len = sorted->digest_len;
    const struct mlp_hash_request request = {sorted->algorithm, sorted->ready_digests};
    int status = mlp_hash_many_by(&request, 1, sorted->inputs, sorted->ready_count, threads, error);
    for (size_t i = 0; status == 0 && i < sorted->ready_count; i++)
        memcpy(sorted->digests + sorted->places[i] * digest_len,
               sorted->ready_digests + i * digest_len, digest_len);
    return status;
}

int mlp_tensor_digest_many(uint8_t *digests, const struct mlp_view *const *views,
                           size_t views_count, int algorithm, size_t threads, size_t *failed,
                           struct mlp_error *error)
{
    size_t ignored;
    if (failed == NULL)
        failed = &ignored;
    *failed = views_count;
    size_t digest_len = mlp_algorithm_digest_len(algorithm);
    if (digest_len == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "unknown digest algorithm %d", algorithm);
    if (views_count == 0)
        return 0;

    struct sorted_views sorted = {
        .views = views, .algorithm = algorithm, .digest_len = digest_len, .digests = digests};
    int status = sorted_views_new(&sorted, views_count, error);
    if (status != 0)
        return status;
    for (size_t i = 0; i < views_count && status == 0; i++) {
        status = sort_view(&sorted, i, error);
        if (status != 0)
            *failed = i;
    }
    if (status == 0 && sorted.gathered_count > 0)
        status = hash_gathered_views(&sorted, threads, failed, error);
    if (status == 0)
        status = hash_ready_views(&sorted, threads, error);
    sorted_views_free(&sorted);
    return status;
}
