/* digest.h - the digest of a tensor: the hash of its canonical bytes (docs/format.md section 2).
 *
 * Threads: reentrant. Nothing here takes the GIL; a view's stage callback may do what it likes.
 */
#ifndef MLP_TENSOR_DIGEST_H
#define MLP_TENSOR_DIGEST_H

#include "hash/hash.h"
#include "tensor/view_set.h"

/* The digests of every view of a set, by several algorithms, in one call. Views in host memory go through
 * mlp_hash_many_by together (inputs.h), those with strides as sources, which are gathered piece by piece, once
 * for each algorithm; a view's stage is called on the calling thread, once for all of them.
 * In:      requests: 1 to MLP_HASH_REQUESTS_MAX algorithms; each has room for views->count rows.
 *          threads: as mlp_hash_many_by.
 * Out:     failed: the index of a view that failed, views->count where it was none; may be NULL.
 *          The requests' rows are of no use after a failure.
 * Returns: 0; MLP_E_ARGUMENT (unknown algorithm, their number); MLP_E_TENSOR; MLP_E_MEMORY;
 *          MLP_E_CRYPTO; or what a view's stage returned.
 */
int mlp_tensor_digest_many(const struct mlp_hash_request *requests, size_t requests_count,
                           const struct mlp_view_set *views, size_t threads, size_t *failed,
                           struct mlp_error *error);

#endif
