/* digest.h - the digest of a tensor: the hash of its canonical bytes (docs/format.md section 2).
 *
 * Threads: reentrant. Nothing here takes the GIL; a view's stage callback may do what it likes.
 */
#ifndef MLP_TENSOR_DIGEST_H
#define MLP_TENSOR_DIGEST_H

#include "tensor/view.h"

/* Many digests in one call. Views in host memory go through mlp_hash_many_by together, strided ones as
 * sources that are gathered piece by piece; a view's stage is called on the calling thread.
 * In:      threads: as mlp_hash_many_by.
 * Out:     digests: views_count rows of mlp_algorithm_digest_len(algorithm) bytes; of no use after
 *          a failure.
 *          failed: the index of a view that failed, views_count where it was none; may be NULL.
 * Returns: 0; MLP_E_ARGUMENT (unknown algorithm); MLP_E_TENSOR; MLP_E_MEMORY; MLP_E_CRYPTO; or what
 *          a view's stage returned.
 */
int mlp_tensor_digest_many(uint8_t *digests, const struct mlp_view *const *views,
                           size_t views_count, int algorithm, size_t threads, size_t *failed,
                           struct mlp_error *error);

/* Number of canonical bytes, the leaf's "len".
 * Returns: 0, or what mlp_view_check returns.
 */
int mlp_tensor_len(uint64_t *len, const struct mlp_view *view, struct mlp_error *error);

#endif
