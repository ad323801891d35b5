#include "tensor/digest.h"

#include "hash/hash.h"
#include "tensor/canonical.h"

#include <stdlib.h>
#include <string.h>

int mlp_tensor_len(uint64_t *len, const struct mlp_view *view, struct mlp_error *error)
{
    return mlp_canonical_len(len, view, error);
}

/* ---- views in host memory ---- */

/* A strided view as the hash sees it. */
struct strided {
    struct mlp_hash_source source;
    struct mlp_canonical_reader reader;
};

static int add_strided(struct mlp_hash_input *input, const struct mlp_view *view,
                       struct mlp_error *error)
{
    struct strided *strided = malloc(sizeof *strided);
    if (strided == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to read a strided tensor");
    mlp_canonical_reader_init(&strided->reader, view);
    strided->source.read = mlp_canonical_read;
    strided->source.context = &strided->reader;
    strided->source.piece_len = mlp_canonical_piece_len(&strided->reader);
    input->source = &strided->source; /* the first member: freed by this address */
    return 0;
}

/* A staged view is left as an empty input. */
static int add_input(struct mlp_hash_input *input, const struct mlp_view *view,
                     struct mlp_error *error)
{
    uint64_t len;
    int status = mlp_canonical_len(&len, view, error);
    if (status != 0 || view->stage != NULL)
        return status;
    input->len = (size_t)len;
    if (!mlp_canonical_in_place(view))
        return add_strided(input, view, error);
    input->data = view->data;
    return 0;
}

static void free_inputs(struct mlp_hash_input *inputs, size_t inputs_count)
{
    for (size_t i = 0; i < inputs_count; i++)
        free((void *)inputs[i].source);
    free(inputs);
}

/* ---- staged views ---- */

static int add_block(void *hasher, const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    return mlp_hasher_update(hasher, bytes, bytes_len, error);
}

static int digest_staged(uint8_t *digest, const struct mlp_view *view, int algorithm,
                         struct mlp_error *error)
{
    struct mlp_hasher *hasher = NULL;
    int status = mlp_hasher_new(&hasher, algorithm, NULL, error);
    if (status != 0)
        return status;
    status = mlp_canonical_stage(view, add_block, hasher, error);
    if (status == 0)
        status = mlp_hasher_digest(hasher, digest, error);
    mlp_hasher_free(hasher);
    return status;
}

/* ---- both ---- */

int mlp_tensor_digest_many(uint8_t *digests, const struct mlp_view *const *views,
                           size_t views_count, int algorithm, size_t threads, size_t *failed,
                           struct mlp_error *error)
{
    size_t ignored;
    if (failed == NULL)
        failed = &ignored;
    *failed = views_count;
    const struct mlp_hash_request request = {algorithm, digests};
    const size_t digest_len = mlp_algorithm_digest_len(algorithm);
    if (digest_len == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "unknown digest algorithm %d", algorithm);
    if (views_count == 0)
        return 0;

    struct mlp_hash_input *inputs = calloc(views_count, sizeof *inputs);
    if (inputs == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", views_count);
    int status = 0;
    for (size_t i = 0; i < views_count && status == 0; i++) {
        status = add_input(&inputs[i], views[i], error);
        if (status != 0)
            *failed = i;
    }
    if (status == 0)
        status = mlp_hash_many_by(&request, 1, inputs, views_count, threads, error);
    for (size_t i = 0; i < views_count && status == 0; i++) {
        if (views[i]->stage == NULL)
            continue;
        status = digest_staged(digests + i * digest_len, views[i], algorithm, error);
        if (status != 0)
            *failed = i;
    }
    free_inputs(inputs, views_count);
    return status;
}
