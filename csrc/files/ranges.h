/* ranges.h - digests of byte ranges of a file whose bytes come one piece after another.
 *
 * Threads: a struct mlp_ranges_hashing belongs to one thread at a time.
 */
#ifndef MLP_FILES_RANGES_H
#define MLP_FILES_RANGES_H

#include "hash/hash.h"

struct mlp_file_range {
    uint64_t begin;
    uint64_t end;
};

struct mlp_file_ranges {
    int algorithm;
    const struct mlp_file_range *items; /* sorted and apart; they may be empty */
    size_t count;
    uint8_t *digests; /* a row for each */
};

/* ---- for this room ---- */

struct mlp_ranges_hashing {
    const struct mlp_file_ranges *ranges;
    size_t index;              /* of the first range that is not done */
    struct mlp_hasher *hasher; /* of that range; NULL before its first byte */
    uint64_t done;             /* bytes taken so far */
};

/* Zero-initialise with the ranges; mlp_ranges_clear also after a failure.
 * Returns: 0 or what the hash returned.
 */
int mlp_ranges_take(struct mlp_ranges_hashing *hashing, const void *piece, size_t piece_len,
                    struct mlp_error *error);
/* After the file's last byte: the empty ranges that stand there. */
int mlp_ranges_finish(struct mlp_ranges_hashing *hashing, struct mlp_error *error);
void mlp_ranges_clear(struct mlp_ranges_hashing *hashing);

#endif
