/* anchor.h - what a kind of anchor is: six functions. Adding a kind is one file with such a table, and
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

struct mlp_ethereum_signer; /* ethereum_signer.h */

/* Bounds that the user sets, for kinds that pay. */
struct mlp_anchor_limits {
    uint64_t max_fee;  /* for a unit: wei for a unit of gas */
    uint64_t min_tip;  /* of the same unit: offered at least */
    uint64_t max_gas;  /* units that one transaction may take */
    int64_t bump_ms;   /* a transaction that waits longer is replaced */
    int bumps;         /* replacements at most */
    int confirmations; /* where the chain does not say itself what is final */
};

/* Where a kind's server is, and what is paid by whom. Comes from the user's own configuration, never
 * from a project's files. */
struct mlp_anchor_endpoint {
    const struct mlp_anchor_kind *kind;
    const char *url;
    const char *const *headers; /* may hold credentials */
    size_t headers_count;
    const char *ca_file; /* NULL */
    long timeout_ms;
    /* As in struct mlp_intent_subject. Ethereum: the chain id in decimal digits, the contract and the
     * account as EIP-55 writes them. */
    const char *chain;
    const char *target;
    const char *account;
    int contract;                       /* what is at target: enum mlp_ethereum_event */
    struct mlp_ethereum_signer *signer; /* NULL where nothing is signed */
    struct mlp_anchor_limits limits;
};

/* One intent in somebody's hands. */
struct mlp_anchor_work {
    const struct mlp_anchor_endpoint *endpoint;
    struct mlp_http_client *client;
    struct mlp_http_answer answer; /* of the last request: class and retry_after_ms at least */
    const struct mlp_intent *intent;
    uint64_t asked; /* JSON-RPC calls so far: their ids */
};

/* What a look at the network, or a send, came to. */
struct mlp_anchor_outcome {
    /* Where to go; the state that the intent is in: nothing has changed. Set to it before the call. */
    enum mlp_anchor_state next;
    bool found;    /* the network has the last attempt; otherwise that is sent */
    bool accepted; /* a server took the last attempt: to be looked for later */
    bool replace;  /* the last attempt gets nowhere as it is: plan another */
    /* With `included` and `reverted`: what is there, and JSON about it for outbox and people. */
    struct mlp_buffer reference;
    struct mlp_buffer shown;
};

/* Functions that ask a server return, besides what they name: 0; MLP_E_NETWORK (later may do);
 * MLP_E_REMOTE, MLP_E_MISMATCH (the server says or does what it must not, or nothing can be done
 * without the user: somebody has to look). */
struct mlp_anchor_kind {
    const char *name;  /* in configuration, tables, files: "ipfs" */
    const char *chain; /* of leases and keys; NULL: an endpoint names it */

    /* For an intent in `planned`: the nonce to sign with; `included` where it is there already.
     * In:  known: the lowest nonce that this store has not used.
     * NULL: the kind has no nonces. */
    int (*reserve)(struct mlp_anchor_work *work, int64_t *nonce, int64_t known,
                   struct mlp_anchor_outcome *outcome, struct mlp_error *error);

    /* Says what is to be sent, and how the network will name it: for an intent in `reserved` the first
     * attempt, for one in `sent` its replacement. Appends to both. Sends nothing. */
    int (*plan)(struct mlp_anchor_work *work, struct mlp_buffer *reference,
                struct mlp_buffer *bytes, struct mlp_error *error);

    /* Sends the last attempt's bytes; again when they were sent before: that must do no harm. */
    int (*submit)(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                  struct mlp_error *error);

    /* Looks what became of the attempts of an intent in `sent`, `proved`, `replaced`, `reverted` or
     * `foreign`. */
    int (*poll)(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                struct mlp_error *error);

    /* Appends the evidence of an intent in `included`; `reorged`: it is no longer there. */
    int (*prove)(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                 struct mlp_anchor_outcome *outcome, struct mlp_error *error);

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
extern const struct mlp_anchor_kind mlp_anchor_ethereum;

#endif
