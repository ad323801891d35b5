/* digest.h - the digest of a tensor: the hash of its canonical bytes (docs/format.md, "Tensor
 * digest").
 *
 * Threads: reentrant. Nothing here takes the GIL; a view's stage callback may do what it likes.
 */
#ifndef MLP_TENSOR_DIGEST_H
#define MLP_TENSOR_DIGEST_H

#include "tensor/view.h"

/* Writes mlp_algorithm_digest_len(algorithm) bytes.
 * Returns: 0, MLP_E_ARGUMENT (unknown algorithm), MLP_E_TENSOR, MLP_E_MEMORY, MLP_E_CRYPTO, or what
 * the view's stage returned. */
int mlp_tensor_digest(uint8_t *digest, const struct mlp_view *view, int algorithm,
                      struct mlp_error *error);

/* views_count digests, one row of mlp_algorithm_digest_len each: those whose canonical bytes lie in
 * memory go through mlp_hash_many in one call, the others one by one.
 * failed: may be NULL; receives the index of the view that failed, or views_count when it was none.
 * Returns: as mlp_tensor_digest; digests hold nothing of use on failure. */
int mlp_tensor_digest_many(uint8_t *digests, const struct mlp_view *const *views,
                           size_t views_count, int algorithm, size_t *failed,
                           struct mlp_error *error);

/* Number of canonical bytes, the leaf's "len". Returns: 0, or what mlp_view_check returns. */
int mlp_tensor_len(uint64_t *len, const struct mlp_view *view, struct mlp_error *error);

#endif
