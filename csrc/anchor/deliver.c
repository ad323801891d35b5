#include "anchor/deliver.h"

#include "base/clock.h"
#include "store/log_rows.h"

#include <stdio.h>
#include <time.h>

int64_t mlp_deliver_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t mlp_deliver_pause_ms(int64_t failures, int64_t retry_after_ms, uint64_t random)
{
    int64_t pause = MLP_RETRY_MS_MIN;
    for (; failures > 0 && pause < MLP_RETRY_MS_MAX; failures--)
        pause *= 2;
    pause = pause < MLP_RETRY_MS_MAX ? pause : MLP_RETRY_MS_MAX;
    pause += (int64_t)(random % (uint64_t)(pause / 2 + 1)) - pause / 4;
    return pause > retry_after_ms ? pause : retry_after_ms;
}

int64_t mlp_deliver_look_ms(int64_t unchanged_ms)
{
    int64_t pause = unchanged_ms / 4;
    if (pause < MLP_LOOK_MS_MIN)
        return MLP_LOOK_MS_MIN;
    return pause < MLP_LOOK_MS_MAX ? pause : MLP_LOOK_MS_MAX;
}

/* Enough to keep many machines apart; nothing secret hangs on it. */
static uint64_t random_number(void)
{
    uint64_t mixed = (uint64_t)mlp_clock_now() * UINT64_C(0x9E3779B97F4A7C15);
    return mixed ^ mixed >> 29;
}

/* ---- planning ---- */

static struct mlp_intent_subject place_of(const struct mlp_anchor_endpoint *endpoint)
{
    return (struct mlp_intent_subject){.kind = endpoint->kind->name,
                                       .chain = endpoint->chain,
                                       .target = endpoint->target,
                                       .account = endpoint->account};
}

int mlp_deliver_plan(struct mlp_store *store, const struct mlp_anchor_endpoint *endpoint,
                     const char *origin, struct mlp_error *error)
{
    struct mlp_buffer note = {0};
    uint8_t root32[32];
    uint64_t size = 0;
    int64_t id = 0;
    bool made = false;
    if (endpoint->kind->takes_files)
        return 0;
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = mlp_store_log_checkpoint(store, &size, root32, &note, error);
    status = mlp_store_end(store, status, error);
    if (status == 0 && size > 0) {
        struct mlp_intent_subject subject = place_of(endpoint);
        subject.origin = origin;
        subject.size = size;
        subject.root32 = root32;
        status = mlp_outbox_plan(store, &id, &made, &subject, note.data, note.len, error);
    }
    mlp_buffer_clear(&note);
    return status;
}

/* ---- one step ---- */

/* The server could not be asked: that holds for every intent, not for one. */
static void leave_alone(struct mlp_delivery *delivery, int64_t retry_after_ms, int64_t now)
{
    int64_t pause = mlp_deliver_pause_ms(delivery->failures++, -1, random_number());
    pause = pause < MLP_QUIET_MS_MAX ? pause : MLP_QUIET_MS_MAX;
    delivery->quiet_until_ms = now + (pause > retry_after_ms ? pause : retry_after_ms);
}

/* What came of a request, or of what went before it: where to go, or what to write down. */
static int settle(struct mlp_delivery *delivery, const struct mlp_anchor_work *work,
                  const struct mlp_anchor_outcome *outcome, int status,
                  const struct mlp_error *detail, struct mlp_error *error)
{
    const struct mlp_intent *intent = work->intent;
    struct mlp_store *store = delivery->store;
    int64_t now = mlp_deliver_now_ms();
    if (status != MLP_E_NETWORK)
        delivery->failures = 0;
    if (mlp_buffer_status(&outcome->shown) != 0 || mlp_buffer_status(&outcome->reference) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot keep what became of an anchor: out of memory");
    if (status == 0 && outcome->next != intent->state)
        return outcome->shown.len > 0
                   ? mlp_outbox_find(store, intent->id, intent->state, outcome->next,
                                     &outcome->reference, &outcome->shown, error)
                   : mlp_outbox_move(store, intent->id, intent->state, outcome->next, 0, NULL,
                                     error);
    if (status == 0 && outcome->accepted)
        return mlp_outbox_accept(store, intent->id, now, now + mlp_deliver_look_ms(0), error);
    if (status == 0)
        return mlp_outbox_wait(store, intent->id, now + mlp_deliver_look_ms(now - intent->since_ms),
                               error);
    if (status == MLP_E_NETWORK && work->answer.class == MLP_HTTP_STOPPED)
        return 0; /* not its failure: the next worker goes on */
    bool somebody_must_look = status == MLP_E_REMOTE || status == MLP_E_MISMATCH;
    if (somebody_must_look && mlp_anchor_may_move(intent->state, MLP_ANCHOR_NEEDS_OPERATOR))
        return mlp_outbox_move(store, intent->id, intent->state, MLP_ANCHOR_NEEDS_OPERATOR, 0,
                               detail->message, error);
    int64_t pause =
        mlp_deliver_pause_ms(intent->failures, work->answer.retry_after_ms, random_number());
    if (status == MLP_E_NETWORK && delivery->client != NULL)
        leave_alone(delivery, work->answer.retry_after_ms, now);
    return mlp_outbox_postpone(store, intent->id, now + pause, detail->message, error);
}

static struct mlp_anchor_outcome unchanged(const struct mlp_anchor_work *work)
{
    return (struct mlp_anchor_outcome){.next = work->intent->state};
}

static void clear_outcome(struct mlp_anchor_outcome *outcome)
{
    mlp_buffer_clear(&outcome->reference);
    mlp_buffer_clear(&outcome->shown);
}

/* A nonce is in the database before anything is signed with it. */
static int reserve(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                   struct mlp_error *error)
{
    const struct mlp_anchor_kind *kind = work->endpoint->kind;
    const struct mlp_intent *intent = work->intent;
    struct mlp_anchor_outcome outcome = unchanged(work);
    struct mlp_error detail = {0};
    int64_t nonce = MLP_NONCE_NONE, known = 0;
    bool reserved = false;
    int outcome_status = 0;
    if (kind->reserve != NULL) {
        int status =
            mlp_outbox_next_nonce(delivery->store, &known, intent->chain, intent->account, error);
        if (status != 0)
            return status;
        outcome_status = kind->reserve(work, &nonce, known, &outcome, &detail);
    }
    int status = outcome_status == 0 && outcome.next == MLP_ANCHOR_PLANNED
                     ? mlp_outbox_reserve(delivery->store, &reserved, intent->id, nonce, error)
                     : settle(delivery, work, &outcome, outcome_status, &detail, error);
    clear_outcome(&outcome);
    return status;
}

/* The first attempt of an intent in `reserved`, or one more of an intent in `sent`. */
static int sign(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                struct mlp_error *error)
{
    struct mlp_buffer reference = {0}, bytes = {0};
    struct mlp_anchor_outcome outcome = unchanged(work);
    struct mlp_error detail = {0};
    int status = work->endpoint->kind->plan(work, &reference, &bytes, &detail);
    if (status == 0 && (mlp_buffer_status(&reference) != 0 || mlp_buffer_status(&bytes) != 0))
        status = mlp_fail(&detail, MLP_E_MEMORY, "cannot plan an anchor: out of memory");
    if (status == 0)
        status = mlp_outbox_sign(delivery->store, work->intent->id, work->intent->state,
                                 reference.data, reference.len, bytes.data, bytes.len, error);
    else
        status = settle(delivery, work, &outcome, status, &detail, error);
    mlp_buffer_clear(&reference);
    mlp_buffer_clear(&bytes);
    return status;
}

/* `sent` is durable: the bytes may be on the network, by this call or an earlier one. */
static int look(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                struct mlp_error *error)
{
    const struct mlp_anchor_kind *kind = work->endpoint->kind;
    struct mlp_anchor_outcome outcome = unchanged(work);
    struct mlp_error detail = {0};
    int status = kind->poll(work, &outcome, &detail);
    bool stays = status == 0 && outcome.next == work->intent->state;
    if (stays && work->intent->state == MLP_ANCHOR_SENT && !outcome.found && !outcome.replace) {
        status = kind->submit(work, &outcome, &detail);
        stays = status == 0 && outcome.next == work->intent->state;
    }
    status = stays && outcome.replace ? sign(delivery, work, error)
                                      : settle(delivery, work, &outcome, status, &detail, error);
    clear_outcome(&outcome);
    return status;
}

static int prove(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                 struct mlp_error *error)
{
    struct mlp_buffer evidence = {0};
    struct mlp_anchor_outcome outcome = unchanged(work);
    struct mlp_error detail = {0};
    const struct mlp_intent *intent = work->intent;
    const struct mlp_anchor_kind *kind = work->endpoint->kind;
    int status = kind->prove(work, &evidence, &outcome, &detail);
    bool stays = status == 0 && outcome.next == intent->state;
    /* What nobody could verify later is no evidence. */
    if (stays)
        status = kind->verify(evidence.data, evidence.len, intent->payload.data,
                              intent->payload.len, &detail);
    if (stays && status == 0)
        status = mlp_outbox_prove(delivery->store, intent->id, evidence.data, evidence.len,
                                  mlp_deliver_now_ms(), error);
    else
        status = settle(delivery, work, &outcome, status, &detail, error);
    mlp_buffer_clear(&evidence);
    clear_outcome(&outcome);
    return status;
}

static int fail_without_client(struct mlp_delivery *delivery, const struct mlp_anchor_work *work,
                               struct mlp_error *error)
{
    struct mlp_anchor_outcome outcome = unchanged(work);
    struct mlp_error detail = {0};
    (void)mlp_fail(&detail, MLP_E_NETWORK, "%s", delivery->no_client);
    return settle(delivery, work, &outcome, MLP_E_NETWORK, &detail, error);
}

/* Whether the next step asks a server. */
static bool asks(const struct mlp_anchor_work *work)
{
    switch (work->intent->state) {
    case MLP_ANCHOR_PLANNED:
    case MLP_ANCHOR_RESERVED:
        return work->endpoint->kind->reserve != NULL;
    case MLP_ANCHOR_SIGNED:
    case MLP_ANCHOR_DROPPED:
    case MLP_ANCHOR_REORGED:
        return false;
    default:
        return true;
    }
}

static int step(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                struct mlp_error *error)
{
    struct mlp_store *store = delivery->store;
    const struct mlp_intent *intent = work->intent;
    if (asks(work) && delivery->client == NULL)
        return fail_without_client(delivery, work, error);
    switch (intent->state) {
    case MLP_ANCHOR_PLANNED:
        return reserve(delivery, work, error);
    case MLP_ANCHOR_RESERVED:
        return sign(delivery, work, error);
    case MLP_ANCHOR_SIGNED:
    case MLP_ANCHOR_DROPPED:
        return mlp_outbox_move(store, intent->id, intent->state, MLP_ANCHOR_SENT, 0, NULL, error);
    case MLP_ANCHOR_REORGED: /* what others sent cannot be sent again */
        return mlp_outbox_move(store, intent->id, MLP_ANCHOR_REORGED,
                               mlp_intent_last(intent)->bytes.len > 0 ? MLP_ANCHOR_SENT
                                                                      : MLP_ANCHOR_PLANNED,
                               0, NULL, error);
    case MLP_ANCHOR_INCLUDED:
        return prove(delivery, work, error);
    default:
        return look(delivery, work, error);
    }
}

/* With the lease, so that nobody else is at this account; what another did before is read anew. */
static int step_under_lease(struct mlp_delivery *delivery, bool *mine, struct mlp_intent *intent,
                            int64_t id, struct mlp_error *error)
{
    struct mlp_anchor_work work = {.endpoint = delivery->endpoint,
                                   .client = delivery->client,
                                   .answer = {.retry_after_ms = -1},
                                   .intent = intent};
    int status = mlp_outbox_get(delivery->store, intent, id, error);
    if (status == 0)
        status = mlp_outbox_lease(delivery->store, mine, intent->chain, intent->account,
                                  delivery->holder, mlp_deliver_now_ms(), error);
    if (status == 0 && !*mine)
        return 0;
    if (status == 0)
        status = mlp_outbox_get(delivery->store, intent, id, error);
    if (status == 0)
        status = step(delivery, &work, error);
    mlp_http_answer_clear(&work.answer);
    return status;
}

int mlp_deliver_step(struct mlp_delivery *delivery, bool *stepped, int64_t *next_ms,
                     struct mlp_error *error)
{
    struct mlp_intent intent = {0};
    int64_t id = 0, due_ms = INT64_MAX;
    bool mine = false;
    if (mlp_deliver_now_ms() < delivery->quiet_until_ms) {
        *stepped = false;
        *next_ms = delivery->quiet_until_ms;
        return 0;
    }
    struct mlp_intent_subject place = place_of(delivery->endpoint);
    int status = mlp_outbox_due(delivery->store, &id, &due_ms, &place, mlp_deliver_now_ms(), error);
    if (status == 0 && id != 0)
        status = step_under_lease(delivery, &mine, &intent, id, error);
    mlp_intent_clear(&intent);
    /* Somebody came in between: without the lease, which had run out, or with a later checkpoint. */
    if (status == MLP_E_CHANGED || status == MLP_E_NOT_FOUND)
        status = 0;
    if (status == 0) {
        *stepped = id != 0 && mine;
        /* Another works on this account: look again when it may have ended. */
        *next_ms = id != 0 && !mine ? mlp_deliver_now_ms() + MLP_RETRY_MS_MIN : due_ms;
    }
    return status;
}
