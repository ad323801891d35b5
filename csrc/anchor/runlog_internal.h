/* runlog_internal.h - the handle that runlog.c and runlog_open.c share. Others include runlog.h. */
#ifndef MLP_ANCHOR_RUNLOG_INTERNAL_H
#define MLP_ANCHOR_RUNLOG_INTERNAL_H

#include "anchor/runlog.h"
#include "merkle/merkle.h"
#include "sign/key.h"
#include "store/runs.h"

#include <stdbool.h>
#include <sys/types.h>

#define MLP_RUN_PREFIX "mlprov/run/"

/* What the log is after some record. */
struct mlp_runlog_state {
    struct mlp_merkle_frontier frontier;
    char last_time[MLP_TIME_SIZE];
    bool ended; /* its last record is run.end */
};

struct mlp_runlog {
    struct mlp_store *store;
    pid_t pid;
    char run_id[MLP_RUN_ID_LEN + 1];
    char key_name[sizeof MLP_RUN_PREFIX + MLP_RUN_ID_LEN];
    char key_path[5 + MLP_RUN_ID_LEN + 4 + 1]; /* keys/<run id>.pem */
    char vkey[MLP_VKEY_TEXT_MAX + 1];
    char *name;
    char *project;
    struct mlp_signing_key *key; /* NULL once destroyed */
    struct mlp_runlog_state now; /* with the pending records */
    struct mlp_runlog_state committed;
    uint8_t committed_root32[32];
    struct mlp_buffer note;     /* the last committed head's */
    struct mlp_record *pending; /* owned, with owned texts and bytes */
    size_t pending_count;
    size_t pending_capacity;
    bool fresh;         /* made here and never tried to commit: its key file is only ours */
    bool commit_failed; /* since the last success */
};

/* Returns: 0 or MLP_E_FORKED. */
int mlp_runlog_check_process(const struct mlp_runlog *log, struct mlp_error *error);
void mlp_runlog_drop_pending(struct mlp_runlog *log);

#endif
