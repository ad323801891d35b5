/* canonical.h - the canonical bytes of a tensor (docs/format.md section 2).
 *
 * The logical values in row-major order, little-endian. Bits are kept (-0.0, NaN payloads), pending
 * conjugation and negation are resolved, bool is 0 or 1, the padding of x87 values is zero. A
 * contiguous copy of the tensor is never made: memory that already holds the canonical bytes is
 * hashed where it lies, all else goes through buffers.
 *
 * Threads: reentrant.
 */
#ifndef MLP_TENSOR_CANONICAL_H
#define MLP_TENSOR_CANONICAL_H

#include "tensor/gather.h"
#include "tensor/view.h"

/* Number of canonical bytes.
 * Returns: 0, or what mlp_view_check returns.
 */
int mlp_canonical_len(uint64_t *len, const struct mlp_view *view, struct mlp_error *error);

/* Returns: whether the canonical bytes lie in host memory as they are, all of them from view->data
 *          on. A BOOL view is read once to see whether its bytes are 0 or 1. The view passed
 *          mlp_view_check.
 */
bool mlp_canonical_in_place(const struct mlp_view *view);

/* ---- views in host memory ---- */

/* Reads the canonical bytes from any place on. Owns nothing; read-only once it is made. */
struct mlp_canonical_reader {
    const struct mlp_view *view; /* outlives the reader */
    struct mlp_gather gather;
};

/* The view passed mlp_view_check and has no stage. */
void mlp_canonical_reader_init(struct mlp_canonical_reader *reader, const struct mlp_view *view);

/* As struct mlp_hash_source's read (hash/hash.h); context: a struct mlp_canonical_reader. len > 0 bytes
 * from offset on, a multiple of 64.
 * Returns: where they are: in the tensor or in buffer.
 */
const uint8_t *mlp_canonical_read(const void *context, uint64_t offset, size_t len,
                                  uint8_t *buffer);

/* Returns: how many bytes at a time are read fastest, a power of two from 16 to 512 KiB. */
size_t mlp_canonical_piece_len(const struct mlp_canonical_reader *reader);

/* ---- staged views ---- */

/* Copies the canonical bytes of count elements of a staged view, from the first-th on, to out.
 * Returns: 0 or what the stage returned.
 */
int mlp_canonical_stage_part(const struct mlp_view *view, uint64_t first, size_t count, void *out,
                             struct mlp_error *error);

#define MLP_CANONICAL_BLOCK 65536

/* Takes the next bytes, at most MLP_CANONICAL_BLOCK; they are valid during the call only.
 * Returns: 0, or a status that ends it.
 */
typedef int (*mlp_canonical_sink)(void *context, const void *bytes, size_t bytes_len,
                                  struct mlp_error *error);

/* Pushes all canonical bytes of a staged view, in order; nothing is pushed for a tensor without
 * elements. Memory: a block, freed before it returns.
 * Returns: 0, what mlp_view_check returns, MLP_E_MEMORY, or what the sink or the stage returned.
 */
int mlp_canonical_stage(const struct mlp_view *view, mlp_canonical_sink sink, void *sink_context,
                        struct mlp_error *error);

#endif
