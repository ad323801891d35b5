/* anchor.h - what a kind of anchor is: five functions. Adding a kind is one file with such a table, and
 * one line in kinds.c.
 *
 * The order of things is not a kind's business: deliver.c makes every state durable before the network
 * is written to (store/outbox.h), retries, and backs off. A kind says what is to be sent, sends it, looks
 * what came of it, fetches evidence, and judges evidence.
 *
 * Threads: a kind is constant. A struct mlp_anchor_work belongs to one thread.
 */
#ifndef MLP_ANCHOR_ANCHOR_H
#define MLP_ANCHOR_ANCHOR_H

#include "base/bytes.h"
#include "base/status.h"
#include "net/http.h"
#include "store/outbox.h"

/* Where a kind's server is. Comes from the user's own configuration, never from a project's files. */
struct mlp_anchor_endpoint {
    const struct mlp_anchor_kind *kind;
    const char *url;
    const char *const *headers; /* may hold credentials */
    size_t headers_count;
    const char *ca_file; /* NULL */
    long timeout_ms;
};

/* One intent in somebody's hands. */
struct mlp_anchor_work {
    const struct mlp_anchor_endpoint *endpoint;
    struct mlp_http_client *client;
    struct mlp_http_answer answer; /* of the last request, for Retry-After */
    const struct mlp_intent *intent;
};

/* Functions that ask a server return, besides what they name: 0; MLP_E_NETWORK (later may do);
 * MLP_E_REMOTE, MLP_E_MISMATCH (the server says or does what it must not: somebody has to look). */
struct mlp_anchor_kind {
    const char *name;  /* in configuration, tables, files: "ipfs" */
    const char *chain; /* of leases and keys, where an endpoint cannot be asked for another */

    /* Says what is to be sent for an intent, and how the network will name it. No network; the same
     * intent always gives the same. Appends to both. */
    int (*plan)(struct mlp_buffer *reference, struct mlp_buffer *bytes,
                const struct mlp_intent *intent, struct mlp_error *error);

    /* Sends the attempt's bytes; again when they were sent before: that must do no harm.
     * Out: next: where to go from `sent`; MLP_ANCHOR_SENT: accepted, to be polled. */
    int (*submit)(struct mlp_anchor_work *work, enum mlp_anchor_state *next,
                  struct mlp_error *error);

    /* Looks what became of an attempt in `sent`, `proved`, `reorged` or `dropped`.
     * Out: next: where to go; the state that it is in: nothing has changed. found: whether the network
     * has it; otherwise it is sent again. */
    int (*poll)(struct mlp_anchor_work *work, enum mlp_anchor_state *next, bool *found,
                struct mlp_error *error);

    /* Appends the evidence of an attempt in `included`. */
    int (*prove)(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                 struct mlp_error *error);

    /* Holds evidence against what was anchored. No network.
     * Returns: 0; MLP_E_MISMATCH; MLP_E_MALFORMED. */
    int (*verify)(const void *evidence, size_t evidence_len, const void *payload,
                  size_t payload_len, struct mlp_error *error);

    /* Its intents are files that somebody names, not checkpoints: mlp_deliver_plan does nothing. */
    bool takes_files;
};

/* Returns: NULL: no such kind. */
const struct mlp_anchor_kind *mlp_anchor_kind_named(const char *name, size_t name_len);

extern const struct mlp_anchor_kind mlp_anchor_ipfs;
extern const struct mlp_anchor_kind mlp_anchor_ipfs_file;

#endif
