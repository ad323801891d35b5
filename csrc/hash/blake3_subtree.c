/* blake3_subtree.c - subtrees and their joins as hash.h hands them out, with or without a key. */
#include "hash/blake3_parallel.h"

/* Chunks of a subtree (at most 2^54), rounded up to a power of two. A start that is a multiple of
 * it leaves room for all of them below 2^64. */
static uint64_t rounded_up(uint64_t chunks_count)
{
    uint64_t reach = 1;
    while (reach < chunks_count)
        reach <<= 1;
    return reach;
}

int mlp_blake3_subtree(uint8_t cv32[32], const void *data, size_t data_len, uint64_t chunk_offset,
                       const uint8_t *key32, struct mlp_error *error)
{
    if (data_len == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "a BLAKE3 subtree has at least one byte, got none");
    uint64_t chunks_count = (data_len - 1) / MLP_BLAKE3_CHUNK_LEN + 1;
    uint64_t reach = rounded_up(chunks_count);
    if (chunk_offset % reach != 0)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "a BLAKE3 subtree of %llu chunks begins at a multiple of %llu chunks, got "
                        "chunk %llu",
                        (unsigned long long)chunks_count, (unsigned long long)reach,
                        (unsigned long long)chunk_offset);
    struct mlp_blake3_state state;
    uint32_t key[8];
    uint32_t flags = mlp_blake3_load_key(key, key32);
    mlp_blake3_init(&state, key, flags, chunk_offset);
    mlp_blake3_update_parallel(&state, data, data_len, 0);
    mlp_blake3_chaining_value(&state, cv32);
    explicit_bzero(&state, sizeof state);
    explicit_bzero(key, sizeof key);
    return MLP_OK;
}

static void join(uint8_t out32[32], const uint8_t left32[32], const uint8_t right32[32],
                 const uint8_t *key32, uint32_t root_flag)
{
    uint32_t key[8];
    uint32_t flags = mlp_blake3_load_key(key, key32);
    mlp_blake3_join(out32, left32, right32, key, flags | root_flag);
    explicit_bzero(key, sizeof key);
}

void mlp_blake3_parent(uint8_t cv32[32], const uint8_t left32[32], const uint8_t right32[32],
                       const uint8_t *key32)
{
    join(cv32, left32, right32, key32, 0);
}

void mlp_blake3_root_of_parents(uint8_t digest32[32], const uint8_t left32[32],
                                const uint8_t right32[32], const uint8_t *key32)
{
    join(digest32, left32, right32, key32, MLP_BLAKE3_ROOT);
}
