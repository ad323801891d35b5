/* tlog.h - the store log: a C2SP tlog-tiles directory whose entries are signed run heads.
 *
 * docs/format.md section 7; C2SP tlog-tiles, tlog-checkpoint, signed-note. The database has the
 * entries and the last signed checkpoint; tiles are derived from it. The key lies in keys/log.pem;
 * its name is the log's origin, mlprov/store/<store id>.
 *
 * Threads: any; entering heads is serialised by a lock on log/.lock, between threads as between
 * processes (store/lock.h). Order of locks: log/.lock, then the store's mutex.
 * Lifetime, errors besides those named: as in runlog.h.
 */
#ifndef MLP_ANCHOR_TLOG_H
#define MLP_ANCHOR_TLOG_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct mlp_store;
struct mlp_tlog; /* opaque, heap */

/* Loads the log's key; makes it at the first call on a writable store. On a read-only store (or
 * where the key file cannot be read) the public half suffices for all but mlp_tlog_integrate.
 * Returns: 0 (mlp_tlog_free); MLP_E_KEY (the key in keys/log.pem is not the one that this log was
 *          begun with).
 */
int mlp_tlog_open(struct mlp_tlog **tlog, struct mlp_store *store, struct mlp_error *error);
void mlp_tlog_free(struct mlp_tlog *tlog); /* NULL is allowed */

/* Both are "" where a read-only store has no log. */
const char *mlp_tlog_origin(const struct mlp_tlog *tlog);
const char *mlp_tlog_vkey(const struct mlp_tlog *tlog); /* verifier key text */

/* Enters every pending head of every run: indices in one transaction with a newly signed checkpoint
 * that was checked to be consistent with the last; then tiles, fsynced; then log/checkpoint. What a
 * crash left out of log/ is written too. Costs O(new entries + log n).
 * Returns: 0 and the log's size; MLP_E_CORRUPT (the database is older than log/checkpoint, or holds
 *          another history: nothing is written, the file stays as evidence); MLP_E_KEY (no private
 *          key); MLP_E_BUSY. After MLP_E_FULL or MLP_E_IO the next call completes what is missing.
 */
int mlp_tlog_integrate(struct mlp_tlog *tlog, uint64_t *size, struct mlp_error *error);

/* Appends the last signed checkpoint; nothing where none was ever signed.
 * Returns: 0, or as in runlog.h.
 */
int mlp_tlog_checkpoint(struct mlp_tlog *tlog, struct mlp_buffer *note, struct mlp_error *error);

/* Inclusion path of entry index in the tree of the log's first size entries. Reads O(log n) tiles'
 * worth of hashes.
 * Out:     path: room for MLP_MERKLE_PATH_MAX hashes of 32 bytes.
 * Returns: 0; MLP_E_RANGE (index >= size, or size above the log's).
 */
int mlp_tlog_proof(struct mlp_tlog *tlog, uint8_t *path, size_t *path_count, uint64_t index,
                   uint64_t size, struct mlp_error *error);

#endif
