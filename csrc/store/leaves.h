/* leaves.h - leaves files: the leaves of one tree, written once under the root's name.
 *
 * For each leaf its length as big-endian uint32, the leaf, and the CRC-32C of both, big-endian
 * (docs/format.md section 3, "Leaves file"). In a store: trees/<root hex>.leaves.
 *
 * Threads: encoding and decoding touch only what they are given; the others may be called from any
 * thread (they use the store's directory alone, never its database).
 */
#ifndef MLP_STORE_LEAVES_H
#define MLP_STORE_LEAVES_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_LEAF_MAX        16777216 /* docs/format.md section 1, "Limits" */
#define MLP_LEAF_FRAME_LEN  8        /* length and checksum around each leaf */
#define MLP_LEAVES_FILE_MAX ((size_t)1 << 36)

struct mlp_store;

/* One leaf; points into memory that somebody else owns. */
struct mlp_leaf {
    const void *bytes;
    size_t len;
};

/* Appends one leaf with its frame.
 * Returns: 0; MLP_E_ARGUMENT (longer than MLP_LEAF_MAX); MLP_E_MEMORY. bytes is unchanged on
 *          failure.
 */
int mlp_leaves_encode(struct mlp_buffer *bytes, const void *leaf, size_t leaf_len,
                      struct mlp_error *error);

/* Decoded leaves; they point into the bytes that were decoded. Free with mlp_leaves_clear. */
struct mlp_leaves {
    struct mlp_leaf *leaf; /* owned array of count */
    size_t count;
    struct mlp_buffer bytes; /* owned: a file's content; empty where the caller owns the bytes */
};

/* Strict reading of a whole leaves file that the caller keeps in memory.
 * Returns: 0; MLP_E_MALFORMED (with the offset: cut short, length above MLP_LEAF_MAX, checksum);
 *          MLP_E_MEMORY.
 */
int mlp_leaves_decode(struct mlp_leaves *leaves, const void *bytes, size_t bytes_len,
                      struct mlp_error *error);
void mlp_leaves_clear(struct mlp_leaves *leaves); /* may be called on a zeroed one */

/* Bytes that the longest prefix of whole leaves with right checksums takes, and their count. */
size_t mlp_leaves_whole_len(uint64_t *count, const void *bytes, size_t bytes_len);

/* The RFC 6962 root over leaves.
 * Returns: 0, MLP_E_CRYPTO, MLP_E_MEMORY.
 */
int mlp_leaves_root(uint8_t root32[32], const struct mlp_leaf *leaves, size_t leaves_count,
                    struct mlp_error *error);

/* ---- in a store; errors besides those named: store.h ---- */

/* Writes trees/<root>.leaves: temporary name, fsync, rename, fsync of the directory. A file of that
 * name and the right length stays as it is. After a failure nothing is left.
 * Returns: 0 and the root; MLP_E_ARGUMENT (a leaf too long).
 */
int mlp_store_put_leaves(struct mlp_store *store, uint8_t root32[32], const struct mlp_leaf *leaves,
                         size_t leaves_count, struct mlp_error *error);

/* Reads trees/<root>.leaves and checks that its root is root32.
 * Returns: 0 (mlp_leaves_clear); MLP_E_NOT_FOUND; MLP_E_CORRUPT (malformed, or another root).
 */
int mlp_store_get_leaves(struct mlp_store *store, struct mlp_leaves *leaves,
                         const uint8_t root32[32], struct mlp_error *error);

/* Returns: 0 and whether the file is there. */
int mlp_store_has_leaves(struct mlp_store *store, bool *there, const uint8_t root32[32],
                         struct mlp_error *error);

#endif
