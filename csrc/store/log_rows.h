/* log_rows.h - the store log's rows: entries in order, hashes of full tiles, signed checkpoints.
 *
 * The database is what the log is; tiles and the published checkpoint are derived from it
 * (anchor/tlog.h). Hashes are kept where C2SP tlog-tiles has them: those of the leaves, and the
 * root of every full subtree of 256^level leaves, so that any subtree takes at most 128 of them.
 *
 * Every function here works in a transaction (mlp_store_begin or mlp_store_begin_read).
 * Threads: as in store.h.
 * Errors: as in store.h where nothing else is said; those that name others may also return these.
 */
#ifndef MLP_STORE_LOG_ROWS_H
#define MLP_STORE_LOG_ROWS_H

#include "base/bytes.h"
#include "merkle/merkle.h"
#include "store/store.h"

#define MLP_LOG_TILE_WIDTH 256   /* C2SP tlog-tiles: a full tile; 2^8, so a tile spans 8 levels */
#define MLP_LOG_ENTRY_MAX  65535 /* its length is a big-endian uint16 in an entry bundle */

/* How many entries there are; that none is missing is seen when they are read.
 * Returns: 0.
 */
int mlp_store_log_size(struct mlp_store *store, uint64_t *size, struct mlp_error *error);

/* Write transaction. Gives every pending head of every own run the next index, in the order of
 * commits, and keeps its leaf hash and the hashes of the tiles that become full.
 * Out:     size: entries after it.
 * Returns: 0; MLP_E_CORRUPT (a head is longer than MLP_LOG_ENTRY_MAX, or a hash is missing);
 *          MLP_E_CRYPTO.
 */
int mlp_store_log_sequence(struct mlp_store *store, uint64_t *size, struct mlp_error *error);

/* count consecutive hashes from tile level `level`: level 0 the leaf hashes, level l the roots of
 * 256^l leaves each.
 * Returns: 0; MLP_E_CORRUPT (one is missing).
 */
int mlp_store_log_hashes(struct mlp_store *store, uint8_t *hashes, unsigned level, uint64_t first,
                         size_t count, struct mlp_error *error);

/* Appends count entries from first on as an entry bundle: for each its length as big-endian uint16,
 * then the entry (C2SP tlog-tiles, "Log entries").
 * Returns: 0; MLP_E_CORRUPT (an entry is missing or too long).
 */
int mlp_store_log_bundle(struct mlp_store *store, struct mlp_buffer *bundle, uint64_t first,
                         size_t count, struct mlp_error *error);

/* Subtree roots for merkle.h's source functions. Valid within the transaction. */
struct mlp_merkle_source mlp_store_log_source(struct mlp_store *store);

/* The last signed checkpoint.
 * Out:     size: 0 where none was ever signed.
 *          note: appended.
 * Returns: 0; MLP_E_CORRUPT (its root is not 32 bytes long).
 */
int mlp_store_log_checkpoint(struct mlp_store *store, uint64_t *size, uint8_t root32[32],
                             struct mlp_buffer *note, struct mlp_error *error);

/* Write transaction. Keeps a newly signed checkpoint.
 * In:      size: above that of every one before.
 * Returns: 0; MLP_E_CORRUPT (there is one of that size).
 */
int mlp_store_log_checkpoint_put(struct mlp_store *store, uint64_t size, const uint8_t root32[32],
                                 const void *note, size_t note_len, struct mlp_error *error);

#endif
