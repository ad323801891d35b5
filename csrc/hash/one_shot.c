/* one_shot.c - one input or many to digests in one call: one face for all algorithms. */
#include "hash/algorithms.h"
#include "hash/blake3_input.h"
#include "hash/blake3_many.h"
#include "hash/blake3_tree.h"
#include "hash/hash_tasks.h"
#include "hash/sha2.h"

void mlp_blake3(uint8_t digest32[32], const void *data, size_t data_len)
{
    if (data_len <= MLP_BLAKE3_CHUNK_LEN) {
        mlp_blake3_one_chunk_root(digest32, data, data_len);
        return;
    }
    struct mlp_blake3_state state;
    mlp_blake3_init(&state, mlp_blake3_iv, 0, 0);
    mlp_blake3_update(&state, data, data_len);
    mlp_blake3_output(&state, 0, digest32, MLP_BLAKE3_OUT_LEN);
}

int mlp_hash(int algorithm, uint8_t *digest, const void *data, size_t data_len,
             struct mlp_error *error)
{
    const struct mlp_hash_input input = {.data = data, .len = data_len};
    return mlp_hash_many(algorithm, digest, &input, 1, error);
}

int mlp_hash_many(int algorithm, uint8_t *digests, const struct mlp_hash_input *inputs,
                  size_t inputs_count, struct mlp_error *error)
{
    const struct mlp_hash_request request = {algorithm, digests};
    return mlp_hash_many_by(&request, 1, inputs, inputs_count, 0, error);
}

int mlp_hash_many_alone(int algorithm, uint8_t *digests, const struct mlp_hash_input *inputs,
                        size_t inputs_count, struct mlp_error *error)
{
    int status = mlp_algorithm_check(algorithm, error);
    if (status != MLP_OK)
        return status;
    if (algorithm != MLP_BLAKE3)
        return mlp_sha2_many(algorithm, digests, inputs, inputs_count, error);
    if (inputs_count == 1)
        mlp_blake3_input(digests, &inputs[0]);
    else
        mlp_blake3_many(digests, inputs, inputs_count);
    return MLP_OK;
}

int mlp_hash_many_by(const struct mlp_hash_request *requests, size_t requests_count,
                     const struct mlp_hash_input *inputs, size_t inputs_count, size_t threads,
                     struct mlp_error *error)
{
    for (size_t i = 0; i < requests_count; i++) {
        int status = mlp_algorithm_check(requests[i].algorithm, error);
        if (status != MLP_OK)
            return status;
    }
    return mlp_hash_tasks(requests, requests_count, inputs, inputs_count, threads, error);
}
