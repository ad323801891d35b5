#include "hash/hash.h"
#include "merkle/merkle.h"

#include <string.h>

/* Leaves up to this length are prefixed in a copy on the stack; longer ones go through a hasher,
 * which allocates. Our own leaves are JSON objects of a few hundred bytes. */
#define STACK_LEAF_LEN 1023

static int long_leaf_hash(uint8_t hash32[32], const void *leaf, size_t leaf_len,
                          struct mlp_error *error)
{
    static const uint8_t prefix = 0x00;
    struct mlp_hasher *hasher = NULL;
    uint8_t digest[MLP_MERKLE_HASH_LEN];
    int status = mlp_hasher_new(&hasher, MLP_SHA256, NULL, error);
    if (status != 0)
        return status;
    status = mlp_hasher_update(hasher, &prefix, 1, error);
    if (status == 0)
        status = mlp_hasher_update(hasher, leaf, leaf_len, error);
    if (status == 0)
        status = mlp_hasher_digest(hasher, digest, error);
    mlp_hasher_free(hasher);
    if (status == 0)
        memcpy(hash32, digest, sizeof digest);
    return status;
}

/* RFC 6962 section 2.1: MTH({d(0)}) = SHA-256(0x00 || d(0)). */
int mlp_merkle_leaf_hash(uint8_t hash32[32], const void *leaf, size_t leaf_len,
                         struct mlp_error *error)
{
    if (leaf_len > STACK_LEAF_LEN)
        return long_leaf_hash(hash32, leaf, leaf_len, error);
    uint8_t input[1 + STACK_LEAF_LEN];
    input[0] = 0x00;
    if (leaf_len > 0)
        memcpy(input + 1, leaf, leaf_len);
    return mlp_hash(MLP_SHA256, hash32, input, 1 + leaf_len, error);
}

/* RFC 6962 section 2.1: MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n])). */
int mlp_merkle_node_hash(uint8_t hash32[32], const uint8_t left32[32], const uint8_t right32[32],
                         struct mlp_error *error)
{
    uint8_t input[1 + 2 * MLP_MERKLE_HASH_LEN];
    input[0] = 0x01;
    memcpy(input + 1, left32, MLP_MERKLE_HASH_LEN);
    memcpy(input + 1 + MLP_MERKLE_HASH_LEN, right32, MLP_MERKLE_HASH_LEN);
    return mlp_hash(MLP_SHA256, hash32, input, sizeof input, error);
}

int mlp_merkle_empty_root(uint8_t root32[32], struct mlp_error *error)
{
    return mlp_hash(MLP_SHA256, root32, "", 0, error);
}
