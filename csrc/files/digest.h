/* digest.h - digests of files, pipes and devices.
 *
 * What cannot be hashed is said of that file alone. A file that is written to, truncated or replaced
 * while it is read is MLP_E_CHANGED, as base/reader.h has it.
 *
 * Threads: any thread may call; the pool's help (hash/pool.h). Digests do not depend on how many.
 * Memory: at most some 32 MiB beside the list of entries, however long files are.
 */
#ifndef MLP_FILES_DIGEST_H
#define MLP_FILES_DIGEST_H

#include "files/ranges.h"
#include "files/watch.h"
#include "hash/hash.h"

/* ---- one ---- */

/* A file, pipe or device by one algorithm or several, and byte ranges of it, in one reading (of a
 * regular file by BLAKE3 alone every thread reads its own part).
 * Out:     the digests of requests (a row each) and of ranges; len: how long it is.
 * In:      requests: of the whole, 1 to MLP_HASH_REQUESTS_MAX; with ranges also none.
 *          ranges: NULL; then a FIFO is waited for. Otherwise only regular files are opened.
 *          threads: as mlp_pool_run.
 *          look: may be NULL.
 * Returns: 0; MLP_E_CHANGED; MLP_E_RANGE (the last range ends behind the file); as
 *          mlp_reader_open and mlp_hash; what look returned.
 */
int mlp_file_digest(const struct mlp_hash_request *requests, size_t requests_count,
                    const struct mlp_file_ranges *ranges, uint64_t *len, const char *path,
                    size_t threads, const struct mlp_files_look *look, struct mlp_error *error);

/* ---- many ---- */

enum mlp_file_outcome {
    MLP_FILE_FAILED,
    MLP_FILE_HASHED,
    MLP_FILE_LARGE, /* left alone: mlp_file_digest gives it all threads */
};

struct mlp_file_entry {
    const char *path; /* the caller's */
    int outcome;      /* enum mlp_file_outcome */
    uint64_t len;     /* of a file that was hashed */
    uint8_t digest[MLP_HASH_MAX_LEN];
    struct mlp_error *error; /* of one that failed; NULL where there is no memory for it */
};

/* Many regular files; those which are small together share lanes. Files that several threads are worth
 * are left to mlp_file_digest.
 * Out:     outcome, len, digest and error of every entry; mlp_file_entries_clear frees them, also
 *          after a failure. They are zero before.
 * Returns: 0, whatever the outcomes; MLP_E_ARGUMENT (unknown algorithm); MLP_E_MEMORY; what look
 *          returned.
 */
int mlp_file_digest_many(struct mlp_file_entry *entries, size_t entries_count, int algorithm,
                         size_t threads, const struct mlp_files_look *look,
                         struct mlp_error *error);

void mlp_file_entries_clear(struct mlp_file_entry *entries, size_t entries_count);

#endif
