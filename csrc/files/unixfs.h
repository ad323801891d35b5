/* unixfs.h - the CID of a file, and its blocks, from the file where it lies (codec/unixfs.h).
 *
 * Only regular files. One that is written to, truncated or replaced while it is read is MLP_E_CHANGED,
 * as base/reader.h has it.
 *
 * Threads: any thread may call; mlp_file_cid has the pool's help, and CIDs do not depend on how much.
 * Memory: a chunk for each thread, 32 bytes for each chunk of 256 MiB, and what a tree keeps.
 */
#ifndef MLP_FILES_UNIXFS_H
#define MLP_FILES_UNIXFS_H

#include "codec/unixfs.h"
#include "files/watch.h"

/* Every thread reads and hashes chunks of its own.
 * Out:     root: the file's CID and length.
 * In:      threads: as mlp_pool_run.
 *          look: may be NULL.
 * Returns: 0; MLP_E_CHANGED; MLP_E_CONFIG (it does not say how long it is, as files of /proc); as
 *          mlp_reader_open (only_regular), mlp_unixfs_check, mlp_unixfs_tree_add; what look returned.
 */
int mlp_file_cid(struct mlp_unixfs_link *root, const char *path, const struct mlp_unixfs *unixfs,
                 size_t threads, const struct mlp_files_look *look, struct mlp_error *error);

/* Every block, one after another, on the calling thread: each chunk as it is read, and each node after
 * all that is under it.
 * In:      sink: takes them; what it is given is gone when it returns.
 * Returns: as mlp_file_cid; what the sink returned.
 */
int mlp_file_blocks(struct mlp_unixfs_link *root, const char *path, const struct mlp_unixfs *unixfs,
                    const struct mlp_unixfs_sink *sink, const struct mlp_files_look *look,
                    struct mlp_error *error);

#endif
