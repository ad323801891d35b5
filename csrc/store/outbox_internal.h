/* outbox_internal.h - what the files of the outbox share. Other rooms include outbox.h. */
#ifndef MLP_STORE_OUTBOX_INTERNAL_H
#define MLP_STORE_OUTBOX_INTERNAL_H

#include "store/outbox.h"
#include "store/store_internal.h"

/* mlp_outbox_move in a transaction that the caller began. */
int mlp_outbox_move_within(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                           enum mlp_anchor_state to, int64_t due_ms, const char *text,
                           struct mlp_error *error);

/* Whether the statement before changed the intent's row, which asked for its state.
 * Returns: 0 or MLP_E_CHANGED.
 */
int mlp_outbox_check_moved(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                           struct mlp_error *error);

#endif
