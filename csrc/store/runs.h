/* runs.h - the rows of runs: records and signed heads, written together or not at all.
 *
 * Threads, errors: store.h.
 */
#ifndef MLP_STORE_RUNS_H
#define MLP_STORE_RUNS_H

#include "base/bytes.h"
#include "store/store.h"

#define MLP_RUN_ID_LEN     36       /* a lower-case UUIDv7, RFC 9562 section 5.7 */
#define MLP_RECORD_MAX     16777216 /* docs/format.md section 1, "Limits": a leaf */
#define MLP_RUN_NOTE_MAX   65535    /* a head becomes an entry of the store log: uint16 length */
#define MLP_RUN_STATUS_NEW "running"

/* Whether text is a run id; asked before one becomes part of a file name. */
bool mlp_run_id_valid(const char *text);

/* Whether text is a time of docs/format.md section 1 by its shape: 2026-11-21T09:30:00.000Z. */
bool mlp_record_time_valid(const char *text);

struct mlp_record {
    const char *type;
    const char *time;
    const void *bytes;
    size_t bytes_len;
};

struct mlp_head {
    uint64_t size;
    uint8_t root32[32];
    const void *note;
    size_t note_len;
};

/* ---- own runs ---- */

/* One commit. Before it the log has size - records_count records. */
struct mlp_run_commit {
    const char *run_id;
    const char *name;    /* these three are for a run's first commit, later ones ignore them */
    const char *project; /* NULL: none */
    const char *vkey;
    const char *status;     /* the run's new status; NULL: as it is (MLP_RUN_STATUS_NEW at first) */
    uint8_t old_root32[32]; /* of the last committed head; ignored where there is none */
    const struct mlp_record *records;
    size_t records_count;
    struct mlp_head head; /* over all records with these */
};

/* One transaction: the run's row, its records, its head (pending for the store log). A commit that
 * is already in the database exactly so succeeds again.
 * Returns: 0; MLP_E_BUSY (somebody else has added records to this run, or it is imported: nothing
 *          was written); MLP_E_CORRUPT (the database has fewer records than were committed, or
 *          another head: an older copy was put in its place); or as in store.h.
 */
int mlp_store_run_commit(struct mlp_store *store, const struct mlp_run_commit *commit,
                         struct mlp_error *error);

struct mlp_run_facts {
    bool imported;
    bool ended;             /* the last record is run.end */
    uint64_t size;          /* of the last head; 0 where the run is not in the database */
    uint8_t root32[32];     /* of the last head */
    uint64_t heads_pending; /* not yet in the store log */
    char last_time[25];     /* of the last record */
};

/* note: the last head's note is appended. vkey: the run's verifier key is appended; nothing for an
 * imported run. Either may be NULL.
 * Returns: 0; MLP_E_NOT_FOUND (no such run); or store.h.
 */
int mlp_store_run_facts(struct mlp_run_facts *facts, struct mlp_buffer *note,
                        struct mlp_buffer *vkey, struct mlp_store *store, const char *run_id,
                        struct mlp_error *error);

/* Every record's bytes in order of seq. visit runs with the store's mutex held and must not call
 * store functions; its failure ends the walk and is returned.
 * Returns: 0; MLP_E_CORRUPT (a seq is missing); or store.h.
 */
int mlp_store_run_records(struct mlp_store *store, const char *run_id,
                          int (*visit)(void *context, uint64_t seq, const void *bytes,
                                       size_t bytes_len, struct mlp_error *error),
                          void *context, struct mlp_error *error);

/* ---- imported runs ---- */

struct mlp_run_import {
    const char *run_id;
    const char *name;
    const char *project; /* NULL: none */
    const char *status;
    const char *created;
    const struct mlp_record *records;
    size_t records_count;
    const struct mlp_head *heads; /* never entered into this store's log */
    size_t heads_count;
    const char *bundle_path;
};

/* One transaction. A run that was imported before may grow; its records must be the same as before.
 * Nothing is verified here: the caller did.
 * Returns: 0; MLP_E_ARGUMENT (this store recorded the run itself; fewer records than imported
 *          before; no records); MLP_E_MISMATCH (a record or head differs from the one imported
 *          before); or store.h.
 */
int mlp_store_run_import(struct mlp_store *store, const struct mlp_run_import *import,
                         struct mlp_error *error);

#endif
