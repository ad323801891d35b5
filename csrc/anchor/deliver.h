/* deliver.h - takes the intents of one kind through their states: what workers do, without the thread.
 *
 * Each step makes the state durable first and writes to the network after it, so that a crash at any
 * point is a state of the outbox like any other: recovery is the normal loop (store/outbox.h).
 *
 * Threads: a struct mlp_delivery belongs to one thread, and so does its store connection; several
 * threads and processes may deliver from one store: leases and compare-and-set keep them apart.
 */
#ifndef MLP_ANCHOR_DELIVER_H
#define MLP_ANCHOR_DELIVER_H

#include "anchor/anchor.h"

#define MLP_RETRY_MS_MIN 1000
#define MLP_RETRY_MS_MAX 900000
#define MLP_QUIET_MS_MAX 60000
#define MLP_LOOK_MS_MIN  1000
#define MLP_LOOK_MS_MAX  12000 /* a slot of Ethereum */

struct mlp_delivery {
    struct mlp_store *store;
    const struct mlp_anchor_endpoint *endpoint;
    struct mlp_http_client *client; /* NULL: no request will go well */
    const char *no_client;          /* why */
    char holder[MLP_INTENT_TEXT_MAX + 1];
    int64_t failures;       /* of requests in a row, whatever intent they were for */
    int64_t quiet_until_ms; /* no step before: else each open intent would try a dead server anew */
};

/* Unix time in milliseconds. */
int64_t mlp_deliver_now_ms(void);

/* Plans an intent for the store log's last checkpoint; nothing where none was signed, or it is planned.
 * In:      endpoint: its kind, chain, target and account.
 * Returns: 0, or as mlp_outbox_plan.
 */
int mlp_deliver_plan(struct mlp_store *store, const struct mlp_anchor_endpoint *endpoint,
                     const char *origin, struct mlp_error *error);

/* Takes one step with the intent that has been due longest. A failure of the network is no failure
 * here: it is written down, and the intent is due later; for the others the server is left alone for a
 * while, MLP_QUIET_MS_MAX at most where it asks for no more.
 * Out:     stepped: whether there was one. next_ms: when the next one is due (INT64_MAX: never).
 * Returns: 0, or why the store could not be used.
 */
int mlp_deliver_step(struct mlp_delivery *delivery, bool *stepped, int64_t *next_ms,
                     struct mlp_error *error);

/* When to try again after so many failures in a row: doubled each time from MLP_RETRY_MS_MIN to
 * MLP_RETRY_MS_MAX, with up to a quarter more or less at random, and no sooner than the server asked.
 * In:      retry_after_ms: -1: it did not ask.
 */
int64_t mlp_deliver_pause_ms(int64_t failures, int64_t retry_after_ms, uint64_t random);

/* When to look again where nothing has changed: a quarter of the time that it has been so, from
 * MLP_LOOK_MS_MIN to MLP_LOOK_MS_MAX. */
int64_t mlp_deliver_look_ms(int64_t unchanged_ms);

#endif
