/* blake3_members.h - inputs of several chunks whose parents are computed together, level by level.
 *
 * Internal to the hash room.
 *
 * Threads: one at a time.
 */
#ifndef MLP_HASH_BLAKE3_MEMBERS_H
#define MLP_HASH_BLAKE3_MEMBERS_H

#include "hash/blake3_kernel.h"

/* The last lanes and the last levels of a batch are few. That costs inputs of unequal lengths 1 to 4 % with half
 * as many chunks, and 5 % with a quarter; twice as many gain nothing [measured: Zen 4, AVX-512,
 * log-uniform 32 B to 64 KiB]. */
#define MLP_BLAKE3_MEMBERS_CHUNKS_MAX 512

struct mlp_blake3_member {
    uint8_t *cvs; /* inside those of all; fewer on each level */
    size_t cvs_count;
    uint8_t *digest32;
};

struct mlp_blake3_members {
    const struct mlp_blake3_kernel *kernel;
    size_t count;
    size_t chunks_count; /* of all */
    struct mlp_blake3_member members[MLP_BLAKE3_MEMBERS_CHUNKS_MAX / 2];
    struct mlp_blake3_work work; /* parents about to be compressed */
    uint8_t cvs[MLP_BLAKE3_MEMBERS_CHUNKS_MAX * MLP_BLAKE3_OUT_LEN];
};

void mlp_blake3_members_init(struct mlp_blake3_members *members,
                             const struct mlp_blake3_kernel *kernel);

/* Whether another input of as many chunks has room beside those there are. */
bool mlp_blake3_members_have_room(const struct mlp_blake3_members *members, size_t chunks_count);

/* An input of two chunks or more, at most MLP_BLAKE3_MEMBERS_CHUNKS_MAX, which has room.
 * Returns: where the chaining values of its chunks go, one after another, before
 *          mlp_blake3_finish_members is called.
 */
uint8_t *mlp_blake3_add_member(struct mlp_blake3_members *members, size_t chunks_count,
                               uint8_t digest32[32]);

/* Writes the digests of all and forgets them. */
void mlp_blake3_finish_members(struct mlp_blake3_members *members);

#endif
