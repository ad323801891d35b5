/* canonical.h - the canonical bytes of a tensor (docs/format.md section 2).
 *
 * The logical values in row-major order, little-endian. Bits are kept (-0.0, NaN payloads), pending
 * conjugation and negation are resolved, bool is 0 or 1, the padding of x87 values is zero. Bytes
 * are pushed in pieces; a contiguous copy of the tensor is never made: memory that already holds
 * the canonical bytes is pushed where it lies, all else goes through one buffer of
 * MLP_CANONICAL_BLOCK.
 *
 * Threads: reentrant.
 * Memory: one block per call, freed before it returns.
 */
#ifndef MLP_TENSOR_CANONICAL_H
#define MLP_TENSOR_CANONICAL_H

#include "tensor/view.h"

#define MLP_CANONICAL_BLOCK 65536

/* Takes the next bytes; they are valid during the call only.
 * Returns: 0, or a status that ends it.
 */
typedef int (*mlp_canonical_sink)(void *context, const void *bytes, size_t bytes_len,
                                  struct mlp_error *error);

/* Pushes all canonical bytes, in order; nothing is pushed for a tensor without elements.
 * Returns: 0, what mlp_view_check returns, MLP_E_MEMORY, or what the sink or the stage returned.
 */
int mlp_canonical_write(const struct mlp_view *view, mlp_canonical_sink sink, void *sink_context,
                        struct mlp_error *error);

/* Number of canonical bytes.
 * Returns: 0, or what mlp_view_check returns.
 */
int mlp_canonical_len(uint64_t *len, const struct mlp_view *view, struct mlp_error *error);

/* Returns: whether the canonical bytes lie in host memory as they are, all of them from view->data
 *          on. A BOOL view is read once to see whether its bytes are 0 or 1. The view passed
 *          mlp_view_check.
 */
bool mlp_canonical_in_place(const struct mlp_view *view);

#endif
