#include "tensor/digest.h"

#include "hash/hash.h"
#include "tensor/canonical.h"

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

/* What mlp_tensor_digest_many keeps while it sorts views into those that lie ready and the others.
 */
struct ready_views {
    struct mlp_hash_input *inputs;
    size_t *places; /* index of the view that an input came from */
    uint8_t *digests;
    size_t count;
};

static void ready_views_free(struct ready_views *ready)
{
    free(ready->inputs);
    free(ready->places);
    free(ready->digests);
    memset(ready, 0, sizeof *ready);
}

static int ready_views_new(struct ready_views *ready, size_t views_count, size_t digest_len,
                           struct mlp_error *error)
{
    memset(ready, 0, sizeof *ready);
    ready->inputs = calloc(views_count, sizeof *ready->inputs);
    ready->places = calloc(views_count, sizeof *ready->places);
    ready->digests = calloc(views_count, digest_len);
    if (ready->inputs != NULL && ready->places != NULL && ready->digests != NULL)
        return 0;
    ready_views_free(ready);
    return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", views_count);
}

int mlp_tensor_digest_many(uint8_t *digests, const struct mlp_view *const *views,
                           size_t views_count, int algorithm, size_t *failed,
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

    struct ready_views ready;
    int status = ready_views_new(&ready, views_count, digest_len, error);
    if (status != 0)
        return status;
    for (size_t i = 0; i < views_count; i++) {
        uint64_t len;
        status = mlp_canonical_len(&len, views[i], error);
        if (status == 0 && mlp_canonical_in_place(views[i])) {
            ready.inputs[ready.count].data = views[i]->data;
            ready.inputs[ready.count].len = (size_t)len;
            ready.places[ready.count++] = i;
        } else if (status == 0) {
            status = digest_by_blocks(digests + i * digest_len, views[i], algorithm, error);
        }
        if (status != 0) {
            *failed = i;
            goto done;
        }
    }
    status = mlp_hash_many(algorithm, ready.digests, ready.inputs, ready.count, error);
    if (status != 0)
        goto done;
    for (size_t i = 0; i < ready.count; i++)
        memcpy(digests + ready.places[i] * digest_len, ready.digests + i * digest_len, digest_len);

done:
    ready_views_free(&ready);
    return status;
}
