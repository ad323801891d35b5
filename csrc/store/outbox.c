#include "store/outbox.h"

#include "hash/hash.h"
#include "store/outbox_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- states ---- */

static const char *const state_names[] = {
#define STATE_NAME(name, text) text,
    MLP_ANCHOR_STATES(STATE_NAME)
#undef STATE_NAME
};

const char *mlp_anchor_state_name(enum mlp_anchor_state state)
{
    return (size_t)state < MLP_ANCHOR_STATES_COUNT ? state_names[state] : "unknown";
}

#define TO(state) (1U << MLP_ANCHOR_##state)

/* outbox.h has the same for readers, and a test compares the two. */
static const unsigned transitions[MLP_ANCHOR_STATES_COUNT] = {
    [MLP_ANCHOR_PLANNED] = TO(RESERVED) | TO(INCLUDED) | TO(NEEDS_OPERATOR),
    [MLP_ANCHOR_RESERVED] = TO(SIGNED) | TO(NEEDS_OPERATOR),
    [MLP_ANCHOR_SIGNED] = TO(SENT) | TO(NEEDS_OPERATOR),
    [MLP_ANCHOR_SENT] =
        TO(INCLUDED) | TO(DROPPED) | TO(REPLACED) | TO(REVERTED) | TO(FOREIGN) | TO(NEEDS_OPERATOR),
    [MLP_ANCHOR_INCLUDED] = TO(PROVED) | TO(REORGED),
    [MLP_ANCHOR_PROVED] = TO(FINAL) | TO(REORGED),
    [MLP_ANCHOR_FINAL] = 0,
    [MLP_ANCHOR_REORGED] = TO(SENT) | TO(PLANNED),
    [MLP_ANCHOR_REPLACED] = TO(INCLUDED) | TO(REVERTED) | TO(FOREIGN),
    [MLP_ANCHOR_DROPPED] = TO(SENT),
    [MLP_ANCHOR_REVERTED] = TO(NEEDS_OPERATOR),
    [MLP_ANCHOR_FOREIGN] = TO(NEEDS_OPERATOR),
    [MLP_ANCHOR_NEEDS_OPERATOR] = TO(PLANNED) | TO(SENT),
};

bool mlp_anchor_may_move(enum mlp_anchor_state from, enum mlp_anchor_state to)
{
    return (size_t)from < MLP_ANCHOR_STATES_COUNT && (size_t)to < MLP_ANCHOR_STATES_COUNT &&
           (transitions[from] >> to & 1U) != 0;
}

/* ---- planning ---- */

static void append_field(struct mlp_buffer *bytes, const void *field, size_t field_len)
{
    uint8_t len[4];
    mlp_store_be32(len, (uint32_t)field_len);
    mlp_buffer_append(bytes, len, sizeof len);
    mlp_buffer_append(bytes, field, field_len);
}

static int check_subject(const struct mlp_intent_subject *subject, struct mlp_error *error)
{
    const char *const texts[] = {subject->kind, subject->chain, subject->target, subject->account,
                                 subject->origin};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strlen(texts[i]) > MLP_INTENT_TEXT_MAX)
            return mlp_fail(error, MLP_E_ARGUMENT,
                            "cannot plan an anchor: \"%.40s...\" is longer than %d bytes", texts[i],
                            MLP_INTENT_TEXT_MAX);
    }
    if (subject->size == 0 || subject->size > INT64_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot plan an anchor of an empty log");
    return 0;
}

int mlp_outbox_key(uint8_t key32[32], const struct mlp_intent_subject *subject,
                   struct mlp_error *error)
{
    static const char version[] = "mlprov-anchor-v1";
    char size[24];
    struct mlp_buffer bytes = {0};
    int status = check_subject(subject, error);
    if (status != 0)
        return status;
    (void)snprintf(size, sizeof size, "%llu", (unsigned long long)subject->size);
    const char *const texts[] = {
        version,         subject->kind, subject->chain, subject->target, subject->account,
        subject->origin, size};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        append_field(&bytes, texts[i], strlen(texts[i]));
    append_field(&bytes, subject->root32, 32);
    if (mlp_buffer_status(&bytes) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "cannot plan an anchor: out of memory");
    else
        status = mlp_hash(MLP_SHA256, key32, bytes.data, bytes.len, error);
    mlp_buffer_clear(&bytes);
    return status;
}

/* In a transaction. */
static int insert(struct mlp_store *store, const uint8_t key32[32],
                  const struct mlp_intent_subject *subject, const void *payload, size_t payload_len,
                  struct mlp_error *error)
{
    return mlp_sqlite_execute(
        store, error,
        "INSERT INTO anchor_intents(key, kind, chain, target, account, origin, size, root, payload,"
        " state, since, due) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'planned',"
        " strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 0)",
        "btttttibb", key32, (size_t)32, subject->kind, subject->chain, subject->target,
        subject->account, subject->origin, (int64_t)subject->size, subject->root32, (size_t)32,
        payload, payload_len);
}

/* In a transaction. */
static int take_back_earlier(struct mlp_store *store, const struct mlp_intent_subject *subject,
                             struct mlp_error *error)
{
    return mlp_sqlite_execute(
        store, error,
        "DELETE FROM anchor_intents WHERE kind = ?1 AND chain = ?2 AND target = ?3 AND account = ?4"
        " AND account <> '' AND origin = ?5 AND size < ?6 AND state IN ('planned', "
        "'needs_operator')"
        " AND NOT EXISTS(SELECT 1 FROM anchor_attempts a WHERE a.intent = anchor_intents.id)",
        "ttttti", subject->kind, subject->chain, subject->target, subject->account, subject->origin,
        (int64_t)subject->size);
}

int mlp_outbox_plan(struct mlp_store *store, int64_t *id, bool *made,
                    const struct mlp_intent_subject *subject, const void *payload,
                    size_t payload_len, struct mlp_error *error)
{
    static const char find[] = "SELECT id FROM anchor_intents WHERE key = ?1";
    uint8_t key32[32];
    int64_t found = 0;
    bool is_new = false;
    int status = mlp_outbox_key(key32, subject, error);
    if (status == 0 && payload_len > MLP_INTENT_PAYLOAD_MAX)
        status = mlp_fail(error, MLP_E_ARGUMENT,
                          "cannot plan an anchor of %zu bytes: at most %d are published",
                          payload_len, MLP_INTENT_PAYLOAD_MAX);
    if (status == 0)
        status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_number(store, &found, error, find, "b", key32, (size_t)32);
    if (status == 0 && found == 0) {
        is_new = true;
        status = take_back_earlier(store, subject, error);
        if (status == 0)
            status = insert(store, key32, subject, payload, payload_len, error);
        if (status == 0)
            status = mlp_sqlite_number(store, &found, error, find, "b", key32, (size_t)32);
    }
    status = mlp_store_end(store, status, error);
    if (status == 0) {
        *id = found;
        *made = is_new;
    }
    return status;
}

/* ---- moving ---- */

int mlp_outbox_check_moved(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                           struct mlp_error *error)
{
    int64_t moved = 0;
    int status = mlp_sqlite_number(store, &moved, error, "SELECT changes()", "");
    if (status == 0 && moved != 1)
        status = mlp_fail(error, MLP_E_CHANGED,
                          "the anchor %lld is no longer %s: another process went on with it",
                          (long long)id, mlp_anchor_state_name(from));
    return status;
}

/* In a transaction: what is no longer true in the new state. */
static int forget(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                  enum mlp_anchor_state to, struct mlp_error *error)
{
    bool unsigned_yet = from == MLP_ANCHOR_RESERVED && to == MLP_ANCHOR_NEEDS_OPERATOR;
    bool used = to == MLP_ANCHOR_REVERTED || to == MLP_ANCHOR_FOREIGN;
    int status = 0;
    if (to == MLP_ANCHOR_DROPPED || to == MLP_ANCHOR_REORGED)
        status = mlp_sqlite_execute(
            store, error, "UPDATE anchor_attempts SET accepted = 0 WHERE intent = ?1", "i", id);
    if (status == 0 && to == MLP_ANCHOR_REORGED)
        status = mlp_sqlite_execute(
            store, error, "UPDATE anchor_intents SET shown = NULL, evidence = NULL WHERE id = ?1",
            "i", id);
    if (status == 0 && (used || unsigned_yet || to == MLP_ANCHOR_PLANNED))
        status = mlp_sqlite_execute(
            store, error, "UPDATE anchor_intents SET nonce = NULL WHERE id = ?1", "i", id);
    return status;
}

int mlp_outbox_move_within(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                           enum mlp_anchor_state to, int64_t due_ms, const char *text,
                           struct mlp_error *error)
{
    if (!mlp_anchor_may_move(from, to))
        return mlp_fail(error, MLP_E_ARGUMENT, "an anchor cannot go from %s to %s",
                        mlp_anchor_state_name(from), mlp_anchor_state_name(to));
    int status = mlp_sqlite_execute(
        store, error,
        "UPDATE anchor_intents SET state = ?3, since = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),"
        " failures = 0, due = ?4, note = ?5 WHERE id = ?1 AND state = ?2",
        "ittit", id, state_names[from], state_names[to], due_ms, text);
    if (status == 0)
        status = mlp_outbox_check_moved(store, id, from, error);
    return status == 0 ? forget(store, id, from, to, error) : status;
}

int mlp_outbox_move(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                    enum mlp_anchor_state to, int64_t due_ms, const char *text,
                    struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_outbox_move_within(store, id, from, to, due_ms, text, error);
    return mlp_store_end(store, status, error);
}

int mlp_outbox_prove(struct mlp_store *store, int64_t id, const void *evidence, size_t evidence_len,
                     int64_t due_ms, struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_outbox_move_within(store, id, MLP_ANCHOR_INCLUDED, MLP_ANCHOR_PROVED, due_ms, NULL,
                                    error);
    if (status == 0)
        status = mlp_sqlite_execute(store, error,
                                    "UPDATE anchor_intents SET evidence = ?2 WHERE id = ?1", "ib",
                                    id, evidence, evidence_len);
    return mlp_store_end(store, status, error);
}

int mlp_outbox_postpone(struct mlp_store *store, int64_t id, int64_t due_ms, const char *text,
                        struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_execute(
        store, error,
        "UPDATE anchor_intents SET failures = failures + 1, due = ?2, note = ?3 WHERE id = ?1",
        "iit", id, due_ms, text);
    return mlp_store_end(store, status, error);
}

int mlp_outbox_wait(struct mlp_store *store, int64_t id, int64_t due_ms, struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_execute(
        store, error, "UPDATE anchor_intents SET failures = 0, due = ?2, note = NULL WHERE id = ?1",
        "ii", id, due_ms);
    return mlp_store_end(store, status, error);
}

int mlp_outbox_hasten(struct mlp_store *store, int64_t now_ms, struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_execute(store, error,
                                "UPDATE anchor_intents SET due = ?1 WHERE due > ?1"
                                " AND state NOT IN ('final', 'needs_operator')",
                                "i", now_ms);
    return mlp_store_end(store, status, error);
}

int mlp_outbox_resume(struct mlp_store *store, int64_t *count, struct mlp_error *error)
{
    int64_t resumed = 0;
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_execute(
        store, error,
        "UPDATE anchor_intents SET since = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), failures = 0,"
        " due = 0, note = NULL, shown = NULL,"
        " state = CASE WHEN EXISTS(SELECT 1 FROM anchor_attempts a WHERE"
        " a.intent = anchor_intents.id AND a.nonce IS anchor_intents.nonce) THEN 'sent'"
        " ELSE 'planned' END WHERE state = 'needs_operator'",
        "");
    if (status == 0)
        status = mlp_sqlite_number(store, &resumed, error, "SELECT changes()", "");
    status = mlp_store_end(store, status, error);
    if (status == 0)
        *count = resumed;
    return status;
}
