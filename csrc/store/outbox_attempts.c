/* outbox.h: reading intents with their attempts, and what makes an attempt. */
#include "store/outbox_internal.h"

#include <stdlib.h>
#include <string.h>

/* States in which an attempt with a nonce may still be mined. */
#define UNRESOLVED                                                                                 \
    "('reserved', 'signed', 'sent', 'dropped', 'replaced', 'reorged', 'needs_operator')"

/* ---- reading ---- */

static void clear_attempts(struct mlp_intent *intent)
{
    for (size_t i = 0; i < intent->attempts_count; i++) {
        mlp_buffer_clear(&intent->attempts[i].reference);
        mlp_buffer_clear(&intent->attempts[i].bytes);
    }
    free(intent->attempts);
    intent->attempts = NULL;
    intent->attempts_count = 0;
}

void mlp_intent_clear(struct mlp_intent *intent)
{
    mlp_buffer_clear(&intent->payload);
    mlp_buffer_clear(&intent->shown);
    clear_attempts(intent);
}

const struct mlp_attempt *mlp_intent_last(const struct mlp_intent *intent)
{
    static const struct mlp_attempt none;
    return intent->attempts_count > 0 ? &intent->attempts[intent->attempts_count - 1] : &none;
}

static int read_state(const struct mlp_store *store, enum mlp_anchor_state *state, const char *text,
                      struct mlp_error *error)
{
    for (size_t i = 0; text != NULL && i < MLP_ANCHOR_STATES_COUNT; i++) {
        if (strcmp(text, mlp_anchor_state_name((enum mlp_anchor_state)i)) == 0) {
            *state = (enum mlp_anchor_state)i;
            return 0;
        }
    }
    return mlp_store_corrupt(store, error, "an anchor is in the unknown state %.40s",
                             text != NULL ? text : "(none)");
}

static int copy_text(const struct mlp_store *store, char text[MLP_INTENT_TEXT_MAX + 1],
                     sqlite3_stmt *statement, int column, struct mlp_error *error)
{
    const char *found = (const char *)sqlite3_column_text(statement, column);
    if (found == NULL || strlen(found) > MLP_INTENT_TEXT_MAX)
        return mlp_store_corrupt(store, error, "a text of an anchor is missing or too long");
    memcpy(text, found, strlen(found) + 1);
    return 0;
}

static const char intent_columns[] =
    "SELECT id, state, failures, nonce, kind, chain, target, account, root, payload, shown,"
    " CAST((julianday(since) - 2440587.5) * 86400000 AS INTEGER)" /* 1970 as a Julian day */
    " FROM anchor_intents WHERE id = ?1";

static int read_intent(const struct mlp_store *store, struct mlp_intent *intent,
                       sqlite3_stmt *statement, struct mlp_error *error)
{
    char *const texts[] = {intent->kind, intent->chain, intent->target, intent->account};
    bool numbered = sqlite3_column_type(statement, 3) != SQLITE_NULL;
    intent->payload.len = intent->shown.len = 0;
    intent->id = sqlite3_column_int64(statement, 0);
    intent->failures = sqlite3_column_int64(statement, 2);
    intent->nonce = numbered ? sqlite3_column_int64(statement, 3) : MLP_NONCE_NONE;
    intent->since_ms = sqlite3_column_int64(statement, 11);
    int status =
        read_state(store, &intent->state, (const char *)sqlite3_column_text(statement, 1), error);
    for (int i = 0; status == 0 && i < 4; i++)
        status = copy_text(store, texts[i], statement, 4 + i, error);
    if (status == 0)
        status = mlp_sqlite_hash(store, intent->root32, statement, 8, error);
    if (status == 0)
        status = mlp_sqlite_append(&intent->payload, statement, 9, error);
    if (status == 0)
        status = mlp_sqlite_append(&intent->shown, statement, 10, error);
    return status;
}

/* In a transaction. */
static int read_attempts(struct mlp_store *store, struct mlp_intent *intent,
                         struct mlp_error *error)
{
    sqlite3_stmt *statement = NULL;
    clear_attempts(intent);
    intent->attempts = calloc(MLP_ATTEMPTS_MAX, sizeof *intent->attempts);
    if (intent->attempts == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read an anchor: out of memory");
    int status = mlp_sqlite_prepare(
        store, &statement, error,
        "SELECT a.reference, a.bytes, a.accepted FROM anchor_attempts a JOIN anchor_intents i ON"
        " i.id = a.intent WHERE a.intent = ?1 AND a.nonce IS i.nonce ORDER BY a.number LIMIT ?2",
        "ii", intent->id, (int64_t)MLP_ATTEMPTS_MAX);
    while (status == 0 && (status = mlp_sqlite_step(store, statement, error)) > 0) {
        struct mlp_attempt *attempt = &intent->attempts[intent->attempts_count++];
        attempt->accepted_ms = sqlite3_column_int64(statement, 2);
        status = mlp_sqlite_append(&attempt->reference, statement, 0, error);
        if (status == 0)
            status = mlp_sqlite_append(&attempt->bytes, statement, 1, error);
    }
    sqlite3_finalize(statement);
    return status;
}

int mlp_outbox_get(struct mlp_store *store, struct mlp_intent *intent, int64_t id,
                   struct mlp_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_prepare(store, &statement, error, intent_columns, "i", id);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status > 0)
        status = read_intent(store, intent, statement, error);
    else if (status == 0)
        status = mlp_fail(error, MLP_E_NOT_FOUND, "%s has no anchor %lld", mlp_store_path(store),
                          (long long)id);
    sqlite3_finalize(statement);
    if (status == 0)
        status = read_attempts(store, intent, error);
    return mlp_store_end(store, status, error);
}

int mlp_outbox_due(struct mlp_store *store, int64_t *id, int64_t *next_ms,
                   const struct mlp_intent_subject *place, int64_t now_ms, struct mlp_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_prepare(
        store, &statement, error,
        "SELECT i.id, i.due FROM anchor_intents i WHERE i.kind = ?1 AND i.chain = ?2"
        " AND i.target = ?3 AND i.account = ?4 AND i.state NOT IN ('final', 'needs_operator')"
        " AND NOT (i.state = 'planned' AND EXISTS(SELECT 1 FROM anchor_intents o"
        " WHERE o.chain = ?2 AND o.account = ?4 AND o.nonce IS NOT NULL"
        " AND o.state IN " UNRESOLVED ")) ORDER BY i.due, i.id LIMIT 1",
        "tttt", place->kind, place->chain, place->target, place->account);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    int64_t first = status > 0 ? sqlite3_column_int64(statement, 0) : 0;
    int64_t due = status > 0 ? sqlite3_column_int64(statement, 1) : INT64_MAX;
    sqlite3_finalize(statement);
    status = mlp_store_end(store, status > 0 ? 0 : status, error);
    if (status == 0) {
        *id = due <= now_ms ? first : 0;
        *next_ms = due;
    }
    return status;
}

/* ---- nonces ---- */

int mlp_outbox_next_nonce(struct mlp_store *store, int64_t *nonce, const char *chain,
                          const char *account, struct mlp_error *error)
{
    int64_t next = 0;
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_number(
        store, &next, error,
        "SELECT coalesce(max(a.nonce) + 1, 0) FROM anchor_attempts a JOIN anchor_intents i ON"
        " i.id = a.intent WHERE i.chain = ?1 AND i.account = ?2",
        "tt", chain, account);
    status = mlp_store_end(store, status, error);
    if (status == 0)
        *nonce = next;
    return status;
}

/* In a transaction. */
static int reserve(struct mlp_store *store, bool *reserved, int64_t id, int64_t nonce,
                   struct mlp_error *error)
{
    int64_t others = 0;
    int status = mlp_sqlite_number(
        store, &others, error,
        "SELECT count(*) FROM anchor_intents o JOIN anchor_intents i ON i.chain = o.chain AND"
        " i.account = o.account WHERE i.id = ?1 AND o.id <> i.id AND o.nonce IS NOT NULL"
        " AND o.state IN " UNRESOLVED,
        "i", id);
    if (status != 0 || (others > 0 && nonce != MLP_NONCE_NONE))
        return status;
    status =
        mlp_outbox_move_within(store, id, MLP_ANCHOR_PLANNED, MLP_ANCHOR_RESERVED, 0, NULL, error);
    if (status == 0 && nonce != MLP_NONCE_NONE)
        status = mlp_sqlite_execute(
            store, error, "UPDATE anchor_intents SET nonce = ?2 WHERE id = ?1", "ii", id, nonce);
    *reserved = status == 0;
    return status;
}

int mlp_outbox_reserve(struct mlp_store *store, bool *reserved, int64_t id, int64_t nonce,
                       struct mlp_error *error)
{
    bool moved = false;
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_store_end(store, reserve(store, &moved, id, nonce, error), error);
    if (status == 0)
        *reserved = moved;
    return status;
}

/* ---- attempts ---- */

/* In a transaction. */
static int add_attempt(struct mlp_store *store, int64_t id, const void *reference,
                       size_t reference_len, const void *bytes, size_t bytes_len,
                       struct mlp_error *error)
{
    int64_t count = 0;
    int status = mlp_sqlite_number(
        store, &count, error,
        "SELECT count(*) FROM anchor_attempts a JOIN anchor_intents i ON i.id = a.intent"
        " WHERE i.id = ?1 AND a.nonce IS i.nonce",
        "i", id);
    if (status == 0 && count >= MLP_ATTEMPTS_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "the anchor %lld has %d attempts: no more are made",
                        (long long)id, MLP_ATTEMPTS_MAX);
    if (status != 0)
        return status;
    return mlp_sqlite_execute(
        store, error,
        "INSERT INTO anchor_attempts(intent, number, reference, bytes, nonce) VALUES(?1,"
        " (SELECT coalesce(max(number) + 1, 1) FROM anchor_attempts WHERE intent = ?1), ?2, ?3,"
        " (SELECT nonce FROM anchor_intents WHERE id = ?1))",
        "ibb", id, reference, reference_len, bytes, bytes_len);
}

/* In a transaction: an intent in `sent` stays there. */
static int stay_sent(struct mlp_store *store, int64_t id, int64_t due_ms, struct mlp_error *error)
{
    int status = mlp_sqlite_execute(store, error,
                                    "UPDATE anchor_intents SET failures = 0, due = ?2, note = NULL"
                                    " WHERE id = ?1 AND state = 'sent'",
                                    "ii", id, due_ms);
    return status == 0 ? mlp_outbox_check_moved(store, id, MLP_ANCHOR_SENT, error) : status;
}

int mlp_outbox_sign(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                    const void *reference, size_t reference_len, const void *bytes,
                    size_t bytes_len, struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    if (from == MLP_ANCHOR_SENT)
        status = stay_sent(store, id, 0, error);
    else
        status = mlp_outbox_move_within(store, id, from, MLP_ANCHOR_SIGNED, 0, NULL, error);
    if (status == 0)
        status = add_attempt(store, id, reference, reference_len, bytes, bytes_len, error);
    return mlp_store_end(store, status, error);
}

int mlp_outbox_accept(struct mlp_store *store, int64_t id, int64_t now_ms, int64_t due_ms,
                      struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = stay_sent(store, id, due_ms, error);
    if (status == 0)
        status = mlp_sqlite_execute(
            store, error,
            "UPDATE anchor_attempts SET accepted = ?2 WHERE intent = ?1 AND number ="
            " (SELECT max(number) FROM anchor_attempts WHERE intent = ?1)",
            "ii", id, now_ms);
    return mlp_store_end(store, status, error);
}

/* In a transaction. */
static int find(struct mlp_store *store, int64_t id, const struct mlp_buffer *reference,
                const struct mlp_buffer *shown, struct mlp_error *error)
{
    int64_t known = 0;
    int status = mlp_sqlite_execute(
        store, error, "UPDATE anchor_intents SET shown = CAST(?2 AS TEXT) WHERE id = ?1", "ib", id,
        shown->data, shown->len);
    if (status == 0)
        status = mlp_sqlite_number(
            store, &known, error,
            "SELECT count(*) FROM anchor_attempts a JOIN anchor_intents i ON i.id = a.intent"
            " WHERE i.id = ?1 AND a.nonce IS i.nonce AND a.reference = ?2",
            "ib", id, reference->data, reference->len);
    if (status == 0 && known == 0)
        status = add_attempt(store, id, reference->data, reference->len, "", 0, error);
    return status;
}

int mlp_outbox_find(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
                    enum mlp_anchor_state to, const struct mlp_buffer *reference,
                    const struct mlp_buffer *shown, struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = find(store, id, reference, shown, error);
    if (status == 0)
        status = mlp_outbox_move_within(store, id, from, to, 0, NULL, error);
    return mlp_store_end(store, status, error);
}
