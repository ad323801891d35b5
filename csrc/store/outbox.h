/* outbox.h - what is to leave the machine: intents, their attempts, and who works on which account.
 *
 * An intent is one checkpoint of the store log for one kind of anchor, chain, target and account. It
 * is planned once, whoever asks and however often (its key is unique), and moves through states that
 * are each true when they are shown. Whatever is about to be sent is here before it is sent: bytes and
 * reference in `signed`, and `sent` ("may be on the network") before the network write.
 *
 * Valid transitions, the only ones that mlp_outbox_move makes (outbox.c has them as a table):
 *
 *     planned        -> reserved, included, needs_operator   (included: it was there already)
 *     reserved       -> signed, needs_operator
 *     signed         -> sent, needs_operator
 *     sent           -> included, dropped, replaced, reverted, foreign, needs_operator
 *     included       -> proved, reorged
 *     proved         -> final, reorged
 *     reorged        -> sent, planned                        (planned: it was not ours to send)
 *     dropped        -> sent
 *     replaced       -> included, reverted, foreign
 *     reverted       -> needs_operator
 *     foreign        -> needs_operator
 *     needs_operator -> planned, sent                        (somebody asked to go on)
 *     final          -> (none)
 *
 * On a chain an account's transactions are numbered, and of one number at most one is ever mined: its
 * nonce. An intent reserves a nonce before anything is signed; all its attempts have it; and while it
 * may still be mined no other intent of (chain, account) gets one: that one stays `planned`.
 *
 * Every function here is a transaction of its own, durable when it returns 0. Threads, errors: as in
 * store.h, where nothing else is said.
 */
#ifndef MLP_STORE_OUTBOX_H
#define MLP_STORE_OUTBOX_H

#include "base/bytes.h"
#include "store/store.h"

/* X(NAME, text). The numbers are this process's; the database has the texts. */
#define MLP_ANCHOR_STATES(X)                                                                       \
    X(PLANNED, "planned")                                                                          \
    X(RESERVED, "reserved")                                                                        \
    X(SIGNED, "signed")                                                                            \
    X(SENT, "sent")                                                                                \
    X(INCLUDED, "included")                                                                        \
    X(PROVED, "proved")                                                                            \
    X(FINAL, "final")                                                                              \
    X(REORGED, "reorged")                                                                          \
    X(REPLACED, "replaced")                                                                        \
    X(DROPPED, "dropped")                                                                          \
    X(REVERTED, "reverted")                                                                        \
    X(FOREIGN, "foreign")                                                                          \
    X(NEEDS_OPERATOR, "needs_operator")

enum mlp_anchor_state {
#define MLP_ANCHOR_STATE(name, text) MLP_ANCHOR_##name,
    MLP_ANCHOR_STATES(MLP_ANCHOR_STATE)
#undef MLP_ANCHOR_STATE
        MLP_ANCHOR_STATES_COUNT
};

const char *mlp_anchor_state_name(enum mlp_anchor_state state);
bool mlp_anchor_may_move(enum mlp_anchor_state from, enum mlp_anchor_state to);

#define MLP_INTENT_TEXT_MAX    255
#define MLP_INTENT_PAYLOAD_MAX 1048576

/* What an intent is about: all of it goes into its key. Texts are NUL-terminated. */
struct mlp_intent_subject {
    const char *kind;    /* of anchor: "ipfs" */
    const char *chain;   /* chain id or genesis hash; "" where a kind has none */
    const char *target;  /* contract or script; "" */
    const char *account; /* who pays; "" */
    const char *origin;  /* of the store log */
    uint64_t size;       /* of the checkpoint */
    const uint8_t *root32;
};

/* The key: SHA-256 of "mlprov-anchor-v1", kind, chain, target, account, origin, size (decimal) and
 * root, each after its length as a big-endian uint32.
 * Returns: 0; MLP_E_ARGUMENT (a text is too long); MLP_E_CRYPTO.
 */
int mlp_outbox_key(uint8_t key32[32], const struct mlp_intent_subject *subject,
                   struct mlp_error *error);

/* Keeps an intent in `planned`, or finds the one that there is. Where an account pays, earlier intents
 * for the same place and log that wait with nothing signed are taken back: a log only grows, so that
 * its later checkpoint covers them.
 * In:      payload: what is to be published or anchored: at most MLP_INTENT_PAYLOAD_MAX bytes; that
 *          of a row that is there stays.
 * Out:     id: of the row. made: whether it is new.
 * Returns: 0; MLP_E_ARGUMENT.
 */
int mlp_outbox_plan(struct mlp_store *store, int64_t *id, bool *made,
                    const struct mlp_intent_subject *subject, const void *payload,
                    size_t payload_len, struct mlp_error *error);

#define MLP_NONCE_NONE   INT64_C(-1)
#define MLP_ATTEMPTS_MAX 64 /* of one nonce */

/* What was signed to be sent, or what the network showed instead. */
struct mlp_attempt {
    int64_t accepted_ms; /* when a server took it (Unix time); 0: none is known to have it */
    struct mlp_buffer reference; /* how the network names it: a transaction id, a CID */
    struct mlp_buffer bytes;     /* what is sent; empty: it was found there, and is not ours */
};

/* One intent as it was when it was read. Zero-initialise; mlp_intent_clear. */
struct mlp_intent {
    int64_t id;
    enum mlp_anchor_state state;
    int64_t since_ms; /* when it came into that state (Unix time) */
    int64_t failures; /* in a row, since the last step that went well */
    int64_t nonce;    /* MLP_NONCE_NONE: none is reserved, or the kind has none */
    char kind[MLP_INTENT_TEXT_MAX + 1];
    char chain[MLP_INTENT_TEXT_MAX + 1];
    char target[MLP_INTENT_TEXT_MAX + 1];
    char account[MLP_INTENT_TEXT_MAX + 1];
    uint8_t root32[32];
    struct mlp_buffer payload;
    struct mlp_buffer shown; /* what the network showed of it: JSON of the kind's own; or empty */
    /* Those of its nonce, oldest first; none before `signed`. */
    struct mlp_attempt *attempts;
    size_t attempts_count;
};
void mlp_intent_clear(struct mlp_intent *intent);

/* Returns: the last attempt; one without reference and bytes where there is none. */
const struct mlp_attempt *mlp_intent_last(const struct mlp_intent *intent);

/* Returns: 0; MLP_E_NOT_FOUND (no such intent). */
int mlp_outbox_get(struct mlp_store *store, struct mlp_intent *intent, int64_t id,
                   struct mlp_error *error);

/* The intent that has been due longest, is neither final nor waits for somebody, nor for another one
 * of its account.
 * In:      place: kind, chain, target and account of it; the rest is not looked at.
 * Out:     id: 0 where none is due. next_ms: when the next one will be (INT64_MAX: never).
 * Returns: 0.
 */
int mlp_outbox_due(struct mlp_store *store, int64_t *id, int64_t *next_ms,
                   const struct mlp_intent_subject *place, int64_t now_ms, struct mlp_error *error);

/* Moves an intent that is in `from`; its failures begin at 0 again, and it is due at due_ms. With
 * `dropped` and `reorged` no server is known to have it, and what was shown and proved is forgotten; a
 * nonce is given up with `reverted` and `foreign` (the network used it), and where nothing was signed
 * with it.
 * In:      text: what is to be known or done (needs_operator); NULL: none.
 * Returns: 0; MLP_E_ARGUMENT (no valid transition); MLP_E_CHANGED (it is in another state: somebody
 *          else was here).
 */
int mlp_outbox_move(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                    enum mlp_anchor_state to, int64_t due_ms, const char *text,
                    struct mlp_error *error);

/* The lowest nonce that no attempt of the account on the chain has had: 0 where there was none. */
int mlp_outbox_next_nonce(struct mlp_store *store, int64_t *nonce, const char *chain,
                          const char *account, struct mlp_error *error);

/* planned -> reserved, with a nonce, unless another intent of the account has one that may be mined.
 * In:      nonce: MLP_NONCE_NONE for kinds that have none.
 * Out:     reserved: whether it was moved.
 * Returns: as mlp_outbox_move.
 */
int mlp_outbox_reserve(struct mlp_store *store, bool *reserved, int64_t id, int64_t nonce,
                       struct mlp_error *error);

/* reserved -> signed with the attempt that is to be sent, or one attempt more of an intent in `sent`,
 * which stays there; in one transaction.
 * Returns: as mlp_outbox_move; MLP_E_ARGUMENT (beyond MLP_ATTEMPTS_MAX).
 */
int mlp_outbox_sign(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                    const void *reference, size_t reference_len, const void *bytes,
                    size_t bytes_len, struct mlp_error *error);

/* A server took the last attempt of an intent in `sent`: due at due_ms, to be looked for.
 * Returns: as mlp_outbox_move.
 */
int mlp_outbox_accept(struct mlp_store *store, int64_t id, int64_t now_ms, int64_t due_ms,
                      struct mlp_error *error);

/* Moves an intent to `included` or `reverted` with what the network shows.
 * In:      reference: of what is there; where no attempt has it, it becomes one without bytes.
 * Returns: as mlp_outbox_move.
 */
int mlp_outbox_find(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                    enum mlp_anchor_state to, const struct mlp_buffer *reference,
                    const struct mlp_buffer *shown, struct mlp_error *error);

/* included -> proved, with the evidence.
 * Returns: as mlp_outbox_move.
 */
int mlp_outbox_prove(struct mlp_store *store, int64_t id, const void *evidence, size_t evidence_len,
                     int64_t due_ms, struct mlp_error *error);

/* A step failed in a way that may pass: the state stays, one failure more, due again at due_ms.
 * Returns: 0.
 */
int mlp_outbox_postpone(struct mlp_store *store, int64_t id, int64_t due_ms, const char *text,
                        struct mlp_error *error);

/* Somebody looked, and nothing has changed: no failure; due again at due_ms.
 * Returns: 0.
 */
int mlp_outbox_wait(struct mlp_store *store, int64_t id, int64_t due_ms, struct mlp_error *error);

/* Makes every intent that has not ended due now.
 * Returns: 0.
 */
int mlp_outbox_hasten(struct mlp_store *store, int64_t now_ms, struct mlp_error *error);

/* Makes whatever waits for somebody go on: from needs_operator to sent where an attempt may still be
 * mined, else to planned.
 * Out:     count: of them.
 * Returns: 0.
 */
int mlp_outbox_resume(struct mlp_store *store, int64_t *count, struct mlp_error *error);

/* ---- leases: one worker on an account at a time, whatever process it is in ---- */

#define MLP_LEASE_MS 60000

/* Names this worker: the machine's boot, the process, and a number of the caller's own.
 * Out:     holder: room for MLP_INTENT_TEXT_MAX + 1 bytes.
 */
void mlp_lease_holder(char *holder, uint64_t number);

/* Takes or renews the lease on (chain, account) until now_ms + MLP_LEASE_MS. One that has run out is
 * taken over, and at once one whose process has ended on this machine since its last boot.
 * Out:     taken: false: somebody else has it.
 * Returns: 0.
 */
int mlp_outbox_lease(struct mlp_store *store, bool *taken, const char *chain, const char *account,
                     const char *holder, int64_t now_ms, struct mlp_error *error);

/* Gives it back; nothing to do where it is another's.
 * Returns: 0.
 */
int mlp_outbox_release(struct mlp_store *store, const char *chain, const char *account,
                       const char *holder, struct mlp_error *error);

#endif
