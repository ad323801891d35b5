/* hasher.c - the incremental hasher: one face for all algorithms. */
#include "hash/algorithms.h"
#include "hash/blake3_parallel.h"
#include "hash/sha2.h"

#include <stdlib.h>

struct mlp_hasher {
    int algorithm;
    union {
        struct mlp_blake3_state blake3;
        struct mlp_sha2 *sha2; /* owned; NULL until it is made */
    } state;
};

static struct mlp_hasher *allocate(int algorithm, struct mlp_error *error)
{
    struct mlp_hasher *hasher = malloc(sizeof *hasher);
    if (hasher == NULL) {
        mlp_fail(error, MLP_E_MEMORY, "making a hasher: out of memory (%zu bytes)", sizeof *hasher);
        return NULL;
    }
    hasher->algorithm = algorithm;
    if (algorithm != MLP_BLAKE3)
        hasher->state.sha2 = NULL;
    return hasher;
}

int mlp_hasher_new(struct mlp_hasher **hasher, int algorithm, const uint8_t *key32,
                   struct mlp_error *error)
{
    int status = mlp_algorithm_check(algorithm, error);
    if (status != MLP_OK)
        return status;
    if (key32 != NULL && algorithm != MLP_BLAKE3)
        return mlp_fail(error, MLP_E_ARGUMENT, "%s takes no key: only blake3 has a keyed mode",
                        mlp_algorithm_name(algorithm));
    struct mlp_hasher *made = allocate(algorithm, error);
    if (made == NULL)
        return MLP_E_MEMORY;
    if (algorithm == MLP_BLAKE3) {
        uint32_t key[8];
        uint32_t flags = mlp_blake3_load_key(key, key32);
        mlp_blake3_init(&made->state.blake3, key, flags, 0);
        explicit_bzero(key, sizeof key);
    } else {
        status = mlp_sha2_new(&made->state.sha2, algorithm, error);
        if (status != MLP_OK) {
            mlp_hasher_free(made);
            return status;
        }
    }
    *hasher = made;
    return MLP_OK;
}

int mlp_hasher_new_derive_key(struct mlp_hasher **hasher, const char *context, size_t context_len,
                              struct mlp_error *error)
{
    struct mlp_hasher *made = allocate(MLP_BLAKE3, error);
    if (made == NULL)
        return MLP_E_MEMORY;
    mlp_blake3_init_derive_key(&made->state.blake3, context, context_len);
    *hasher = made;
    return MLP_OK;
}

int mlp_hasher_copy(struct mlp_hasher **copy, const struct mlp_hasher *hasher,
                    struct mlp_error *error)
{
    struct mlp_hasher *made = allocate(hasher->algorithm, error);
    if (made == NULL)
        return MLP_E_MEMORY;
    if (hasher->algorithm == MLP_BLAKE3) {
        made->state.blake3 = hasher->state.blake3;
    } else {
        int status = mlp_sha2_copy(&made->state.sha2, hasher->state.sha2, error);
        if (status != MLP_OK) {
            mlp_hasher_free(made);
            return status;
        }
    }
    *copy = made;
    return MLP_OK;
}

int mlp_hasher_update(struct mlp_hasher *hasher, const void *data, size_t data_len,
                      struct mlp_error *error)
{
    return mlp_hasher_update_by(hasher, data, data_len, 0, error);
}

int mlp_hasher_update_by(struct mlp_hasher *hasher, const void *data, size_t data_len,
                         size_t threads, struct mlp_error *error)
{
    if (hasher->algorithm != MLP_BLAKE3)
        return mlp_sha2_update(hasher->state.sha2, data, data_len, error);
    mlp_blake3_update_parallel(&hasher->state.blake3, data, data_len, threads);
    return MLP_OK;
}

int mlp_hasher_digest(const struct mlp_hasher *hasher, uint8_t *digest, struct mlp_error *error)
{
    if (hasher->algorithm != MLP_BLAKE3)
        return mlp_sha2_digest(hasher->state.sha2, digest, error);
    mlp_blake3_output(&hasher->state.blake3, 0, digest, MLP_BLAKE3_OUT_LEN);
    return MLP_OK;
}

int mlp_hasher_xof(const struct mlp_hasher *hasher, uint64_t offset, uint8_t *out, size_t out_len,
                   struct mlp_error *error)
{
    if (hasher->algorithm != MLP_BLAKE3)
        return mlp_fail(error, MLP_E_ARGUMENT, "%s has no extendable output: only blake3 has one",
                        mlp_algorithm_name(hasher->algorithm));
    mlp_blake3_output(&hasher->state.blake3, offset, out, out_len);
    return MLP_OK;
}

void mlp_hasher_free(struct mlp_hasher *hasher)
{
    if (hasher == NULL)
        return;
    if (hasher->algorithm != MLP_BLAKE3)
        mlp_sha2_free(hasher->state.sha2);
    explicit_bzero(hasher, sizeof *hasher);
    free(hasher);
}
