/* slice.h - proofs of a slice: that a range of bytes stands at one place of an input whose BLAKE3
 * digest is known (docs/format.md section 13).
 *
 * A proof holds what the root needs beside the slice's own bytes: the rest of the chunks in which the
 * slice begins and ends, and the chaining values of the subtrees on either side. Its shape follows from
 * the input's length, the slice's place and its length alone; verification demands that shape.
 *
 * The place is bound by the digest (chunks are hashed with their number). The input's length is bound
 * where the slice reaches the end, or is empty at the end; elsewhere the shape of the tree bounds it
 * only roughly: take it from where the digest stands (a tensor leaf has both).
 *
 * Source: BLAKE3 (2021), sections 2.1, 2.4 to 2.6.
 *
 * Threads: functions touch only what they are given; a large slice is hashed by several threads of the
 * process's pool. Nothing here allocates. *proof is of no use after a failure.
 */
#ifndef MLP_MERKLE_SLICE_H
#define MLP_MERKLE_SLICE_H

#include "hash/blake3_groups.h"

struct mlp_slice_proof {
    size_t head_len;                    /* 0 to 1024: an empty slice may end the last chunk */
    size_t tail_len;                    /* 0 to 1024: an empty slice may begin a chunk */
    size_t path_count;                  /* rows of path */
    uint8_t head[MLP_BLAKE3_CHUNK_LEN]; /* from the begin of the slice's first chunk to the slice */
    uint8_t tail[MLP_BLAKE3_CHUNK_LEN]; /* from the slice to the end of its last chunk */
    uint8_t path[MLP_BLAKE3_SPANS_MAX * MLP_BLAKE3_OUT_LEN]; /* as mlp_blake3_spans_around lists */
};

/* The input, as the prover reads it. */
struct mlp_slice_source {
    /* Writes out_len bytes, at most 8 KiB, from offset on.
     * Returns: 0, or a status, which ends the work and is returned.
     */
    int (*read)(void *context, uint8_t *out, size_t out_len, uint64_t offset,
                struct mlp_error *error);
    void *context;
};

/* Of the input, only what shares a group with an end of the slice is read: less than 32 KiB.
 * In:      group_cvs: group_cvs_len bytes, the rows of mlp_blake3_with_groups for the whole input. They
 *          are not checked: from wrong ones comes a proof that does not hold.
 * Returns: 0; MLP_E_RANGE (the slice reaches beyond the end); MLP_E_ARGUMENT (group_cvs_len is not 32
 *          for each group); or what read returned.
 */
int mlp_slice_prove(struct mlp_slice_proof *proof, uint64_t total_len, uint64_t start,
                    uint64_t slice_len, const uint8_t *group_cvs, size_t group_cvs_len,
                    const struct mlp_slice_source *source, struct mlp_error *error);

/* That slice stands at start of the input of total_len bytes with that digest.
 * Returns: 0; MLP_E_MISMATCH (well-formed, leads to another digest); MLP_E_MALFORMED (the slice reaches
 *          beyond the end, or the proof is not of the shape that the numbers demand).
 */
int mlp_slice_verify(const uint8_t digest32[32], uint64_t total_len, uint64_t start,
                     const void *slice, size_t slice_len, const struct mlp_slice_proof *proof,
                     struct mlp_error *error);

#endif
