/* save.h - tensors written to a file, and every digest of it, in one pass over their memory.
 *
 * Canonical bytes are copied block by block into pieces, those of strided tensors gathered on the way.
 * A piece is written and hashed from there: what was hashed is what was written, even where somebody
 * writes to a tensor meanwhile.
 *
 * Threads: as takers.h; tensors in device memory are copied on the calling thread.
 * Memory: as takers.h.
 */
#ifndef MLP_FILES_SAVE_H
#define MLP_FILES_SAVE_H

#include "files/ranges.h"
#include "files/watch.h"
#include "tensor/view_set.h"

/* What the file will hold. Nothing is owned. */
struct mlp_file_image {
    const void *head; /* what stands before the tensors */
    size_t head_len;
    const struct mlp_view_set *views;
    const size_t *order; /* views->count indices: as the tensors follow each other */
};

/* Writes at fd's position. Nothing is synced.
 * Out:     requests: the digests of all bytes, a row each.
 *          tensors: the digests of the tensors, a row each, in their order in the file.
 *          len: bytes written.
 * In:      requests: at most MLP_HASH_REQUESTS_MAX.
 *          what: names the file in errors.
 *          threads: as mlp_pool_run.
 *          look: may be NULL.
 * Returns: 0; as mlp_hash, mlp_file_write_all; what a view's stage or look returned. What was written
 *          by then stays.
 */
int mlp_file_save(const struct mlp_hash_request *requests, size_t requests_count,
                  const struct mlp_hash_request *tensors, uint64_t *len, int fd,
                  const struct mlp_file_image *image, const char *what, size_t threads,
                  const struct mlp_files_look *look, struct mlp_error *error);

#endif
