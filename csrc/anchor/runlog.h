/* runlog.h - the append-only log of one run: records appended, then signed and committed together.
 *
 * docs/format.md section 5. A record is acknowledged when a committed head includes it: records,
 * run row and signed head go into the database in one transaction. The run key lies in keys/<run
 * id>.pem under the name mlprov/run/<run id>.
 *
 * Threads: one at a time.
 * Fork: MLP_E_FORKED in a child. Two processes on one run: the first to commit goes on, the other's
 * commit fails and writes nothing.
 * Lifetime: the store (store.h) must outlive the log; after mlp_store_close calls answer
 * MLP_E_CLOSED.
 * Errors besides those named: store.h, sign/keystore.h (MLP_E_KEY), MLP_E_CRYPTO.
 */
#ifndef MLP_ANCHOR_RUNLOG_H
#define MLP_ANCHOR_RUNLOG_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_TIME_SIZE 25 /* 2026-11-21T09:30:00.000Z and a NUL */

struct mlp_store;
struct mlp_runlog; /* opaque, heap */

/* A new run with a new key file; nothing is in the database before the first commit.
 * In:      run_id: a lower-case UUIDv7. project: NULL for none.
 * Returns: 0 (mlp_runlog_free); MLP_E_ARGUMENT (run id, empty name, exists already).
 */
int mlp_runlog_create(struct mlp_runlog **log, struct mlp_store *store, const char *run_id,
                      const char *name, const char *project, struct mlp_error *error);

/* Goes on with an unfinished run: the tree is rebuilt from the records and held against the last
 * signed head.
 * Returns: 0; MLP_E_NOT_FOUND (no such run); MLP_E_ARGUMENT (run id; it has ended; it is imported);
 *          MLP_E_KEY (its key file is missing or cannot be used); MLP_E_CORRUPT (records and head
 *          disagree).
 */
int mlp_runlog_open(struct mlp_runlog **log, struct mlp_store *store, const char *run_id,
                    struct mlp_error *error);

const char *mlp_runlog_run_id(const struct mlp_runlog *log);
const char *mlp_runlog_vkey(const struct mlp_runlog *log); /* verifier key text */
uint64_t mlp_runlog_size(const struct mlp_runlog *log);    /* records, acknowledged or not */
/* The last one's time, MLP_TIME_SIZE bytes; "" before the first. */
const char *mlp_runlog_last_time(const struct mlp_runlog *log);
/* The last committed head; size 0 with the empty tree's root before the first. */
void mlp_runlog_head(const struct mlp_runlog *log, uint64_t *size, uint8_t root32[32]);

/* Adds one record's exact bytes (copied) to the pending ones. seq, type and time are those in the
 * record.
 * Returns: 0; MLP_E_BUSY (seq is not the log's size: another caller came in between; write the
 *          record anew); MLP_E_ARGUMENT (longer than 16 MiB, time malformed or not later than that
 *          of the record before); MLP_E_CLOSED (after run.end).
 */
int mlp_runlog_append(struct mlp_runlog *log, uint64_t seq, const void *record, size_t record_len,
                      const char *type, const char *time, struct mlp_error *error);

/* Drops pending records. Where a failed commit turns out to be in the database after all, they stay
 * and count as committed.
 * Returns: 0 and the size (may be NULL).
 */
int mlp_runlog_rollback(struct mlp_runlog *log, uint64_t *size, struct mlp_error *error);

/* Writes pending records and a head over all, signed with the run key, in one transaction. Without
 * pending records the last head stands and only the status is written.
 * In:      status: the run's new status, NULL: unchanged.
 * Out:     note: the head note is appended (NULL: not wanted).
 * Returns: 0; MLP_E_ARGUMENT (no record yet); MLP_E_BUSY (another process went on with this run);
 *          MLP_E_CORRUPT; after a failure the pending records are still pending: commit again or
 *          roll back.
 */
int mlp_runlog_commit(struct mlp_runlog *log, struct mlp_buffer *note, const char *status,
                      struct mlp_error *error);

/* Deletes the run key, in memory and on disk.
 * Returns: 0 (also when it is gone already); MLP_E_ARGUMENT (the run has not ended, or its last
 *          head is not in the store log yet).
 */
int mlp_runlog_destroy_key(struct mlp_runlog *log, struct mlp_error *error);

/* Drops pending records and frees. A run that never tried to commit leaves no key file. NULL is
 * allowed. */
void mlp_runlog_free(struct mlp_runlog *log);

#endif
