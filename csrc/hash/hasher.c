/* hasher.c - one face for all algorithms: names, the incremental hasher, one shot. */
#include "hash/blake3_input.h"
#include "hash/blake3_many.h"
#include "hash/blake3_parallel.h"
#include "hash/hash_tasks.h"
#include "hash/sha2.h"

#include <stdlib.h>

/* ---- names ---- */

struct algorithm_row {
    const char *name;
    size_t digest_len;
    size_t block_len;
};

static const struct algorithm_row algorithm_rows[] = {
    [MLP_BLAKE3] = {"blake3", 32, 64},
    [MLP_SHA256] = {"sha256", 32, 64},
    [MLP_SHA384] = {"sha384", 48, 128},
    [MLP_SHA512] = {"sha512", 64, 128},
};

#define ROWS_COUNT ((int)(sizeof algorithm_rows / sizeof algorithm_rows[0]))

static const struct algorithm_row *find_row(int algorithm)
{
    return algorithm >= MLP_BLAKE3 && algorithm < ROWS_COUNT ? &algorithm_rows[algorithm] : NULL;
}

int mlp_algorithm_from_name(const char *name, size_t name_len)
{
    for (int algorithm = MLP_BLAKE3; algorithm < ROWS_COUNT; algorithm++) {
        const char *known = algorithm_rows[algorithm].name;
        if (strlen(known) == name_len && memcmp(known, name, name_len) == 0)
            return algorithm;
    }
    return 0;
}

const char *mlp_algorithm_name(int algorithm)
{
    const struct algorithm_row *row = find_row(algorithm);
    return row != NULL ? row->name : NULL;
}

size_t mlp_algorithm_digest_len(int algorithm)
{
    const struct algorithm_row *row = find_row(algorithm);
    return row != NULL ? row->digest_len : 0;
}

size_t mlp_algorithm_block_len(int algorithm)
{
    const struct algorithm_row *row = find_row(algorithm);
    return row != NULL ? row->block_len : 0;
}

static int fail_unknown(int algorithm, struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_ARGUMENT,
                    "algorithm number %d is none of blake3 (1), sha256 (2), sha384 (3), sha512 (4)",
                    algorithm);
}

/* ---- incremental ---- */

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

/* Loads a key of 32 bytes, or the plain hash's. Returns: the flags of the mode. */
static uint32_t load_key(uint32_t key[8], const uint8_t *key32)
{
    if (key32 == NULL) {
        memcpy(key, mlp_blake3_iv, sizeof mlp_blake3_iv);
        return 0;
    }
    memcpy(key, key32, MLP_BLAKE3_KEY_LEN);
    return MLP_BLAKE3_KEYED_HASH;
}

int mlp_hasher_new(struct mlp_hasher **hasher, int algorithm, const uint8_t *key32,
                   struct mlp_error *error)
{
    if (find_row(algorithm) == NULL)
        return fail_unknown(algorithm, error);
    if (key32 != NULL && algorithm != MLP_BLAKE3)
        return mlp_fail(error, MLP_E_ARGUMENT, "%s takes no key: only blake3 has a keyed mode",
                        mlp_algorithm_name(algorithm));
    struct mlp_hasher *made = allocate(algorithm, error);
    if (made == NULL)
        return MLP_E_MEMORY;
    if (algorithm == MLP_BLAKE3) {
        uint32_t key[8];
        uint32_t flags = load_key(key, key32);
        mlp_blake3_init(&made->state.blake3, key, flags, 0);
        explicit_bzero(key, sizeof key);
    } else {
        int status = mlp_sha2_new(&made->state.sha2, algorithm, error);
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

/* ---- one shot ---- */

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
    if (find_row(algorithm) == NULL)
        return fail_unknown(algorithm, error);
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
        if (find_row(requests[i].algorithm) == NULL)
            return fail_unknown(requests[i].algorithm, error);
    }
    return mlp_hash_tasks(requests, requests_count, inputs, inputs_count, threads, error);
}

/* ---- subtrees ---- */

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
    uint32_t flags = load_key(key, key32);
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
    uint32_t flags = load_key(key, key32);
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
