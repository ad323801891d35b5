/* hashing.h - the hashes of bytes that come once: of all of them by several algorithms, and of ranges.
 *
 * Threads: a struct mlp_hashing belongs to one job; its takers may run at the same time.
 */
#ifndef MLP_FILES_HASHING_H
#define MLP_FILES_HASHING_H

#include "files/digest.h"
#include "files/takers.h"

#define MLP_HASHING_TAKERS_MAX (MLP_HASH_REQUESTS_MAX + 1)

struct mlp_hashing {
    struct mlp_hasher *hashers[MLP_HASH_REQUESTS_MAX]; /* those of SHA-2 first: the slowest */
    uint8_t *digests[MLP_HASH_REQUESTS_MAX];           /* where theirs go */
    size_t count;
    struct mlp_ranges_hashing ranges;
};

/* In:      requests: at most MLP_HASH_REQUESTS_MAX, a row each.
 *          ranges: may be NULL.
 * Returns: 0 or as mlp_hasher_new. mlp_hashing_clear also after a failure.
 */
int mlp_hashing_init(struct mlp_hashing *hashing, const struct mlp_hash_request *requests,
                     size_t requests_count, const struct mlp_file_ranges *ranges,
                     struct mlp_error *error);

/* Out:     takers: room for MLP_HASHING_TAKERS_MAX; valid as long as hashing is.
 * Returns: their count.
 */
size_t mlp_hashing_takers(struct mlp_hashing *hashing, struct mlp_taker *takers);

/* After the last byte: writes every digest. Returns: 0 or what a hash returned. */
int mlp_hashing_finish(struct mlp_hashing *hashing, struct mlp_error *error);

void mlp_hashing_clear(struct mlp_hashing *hashing);

#endif
