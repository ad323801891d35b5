/* load.h - ranges of a file read into memory that the caller keeps, and hashed from there.
 *
 * What is handed out is what was checked: bytes are read once, by pread, into memory that nobody else
 * knows of, and the hash reads them from that memory. The file may change at any time after.
 *
 * Threads: those of the pool, and the caller's. Each reads parts of its own and hashes them.
 */
#ifndef MLP_FILES_LOAD_H
#define MLP_FILES_LOAD_H

#include "files/watch.h"
#include "hash/hash.h"

struct mlp_file_part {
    uint64_t offset; /* in the file */
    size_t len;
    void *out; /* room for len bytes, apart from all others */
};

/* Reads every part of a regular file, and hashes each.
 * Out:     parts' memory; digests of request: a row for each part.
 * In:      threads: as mlp_pool_run.
 *          look: may be NULL.
 * Returns: 0; MLP_E_CHANGED (the file ends before); MLP_E_MEMORY; as mlp_hash, mlp_reader_at; what
 *          look returned. Whether the file changed otherwise is the caller's to check.
 */
int mlp_file_load(const struct mlp_hash_request *request, const struct mlp_file_part *parts,
                  size_t parts_count, const struct mlp_reader *reader, size_t threads,
                  const struct mlp_files_look *look, struct mlp_error *error);

/* The digest of a head and of the parts' memory after it, one after another: of the whole file, where
 * they make it up.
 * Out:     digest of request: one row.
 * Returns: 0 or as mlp_hash.
 */
int mlp_file_parts_digest(const struct mlp_hash_request *request, const void *head, size_t head_len,
                          const struct mlp_file_part *parts, size_t parts_count, size_t threads,
                          struct mlp_error *error);

#endif
