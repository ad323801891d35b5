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

/* Enough to keep many machines apart; nothing secret hangs on it. */
static uint64_t random_number(void)
{
    uint64_t mixed = (uint64_t)mlp_clock_now() * UINT64_C(0x9E3779B97F4A7C15);
    return mixed ^ mixed >> 29;
}

/* ---- planning ---- */

int mlp_deliver_plan(struct mlp_store *store, const struct mlp_anchor_kind *kind,
                     const char *origin, struct mlp_error *error)
{
    struct mlp_buffer note = {0};
    uint8_t root32[32];
    uint64_t size = 0;
    int64_t id = 0;
    bool made = false;
    if (kind->takes_files)
        return 0;
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = mlp_store_log_checkpoint(store, &size, root32, &note, error);
    status = mlp_store_end(store, status, error);
    if (status == 0 && size > 0) {
        struct mlp_intent_subject subject = {.kind = kind->name,
                                             .chain = kind->chain,
                                             .target = "",
                                             .account = "",
                                             .origin = origin,
                                             .size = size,
                                             .root32 = root32};
        status = mlp_outbox_plan(store, &id, &made, &subject, note.data, note.len, error);
    }
    mlp_buffer_clear(&note);
    return status;
}

/* ---- one step ---- */

/* What came of a request, or of what went before it: where to go, or what to write down. */
static int settle(struct mlp_delivery *delivery, const struct mlp_anchor_work *work,
                  enum mlp_anchor_state next, int outcome, const struct mlp_error *detail,
                  struct mlp_error *error)
{
    const struct mlp_intent *intent = work->intent;
    int64_t pause =
        mlp_deliver_pause_ms(intent->failures, work->answer.retry_after_ms, random_number());
    int64_t later = mlp_deliver_now_ms() + pause;
    if (outcome == 0 && next != intent->state)
        return mlp_outbox_move(delivery->store, intent->id, intent->state, next, 0, NULL, error);
    if (outcome == 0)
        return mlp_outbox_postpone(delivery->store, intent->id, later, NULL, error);
    if (outcome == MLP_E_NETWORK && work->answer.class == MLP_HTTP_STOPPED)
        return 0; /* not its failure: the next worker goes on */
    bool somebody_must_look = outcome == MLP_E_REMOTE || outcome == MLP_E_MISMATCH;
    if (somebody_must_look && mlp_anchor_may_move(intent->state, MLP_ANCHOR_NEEDS_OPERATOR))
        return mlp_outbox_move(delivery->store, intent->id, intent->state,
                               MLP_ANCHOR_NEEDS_OPERATOR, 0, detail->message, error);
    return mlp_outbox_postpone(delivery->store, intent->id, later, detail->message, error);
}

static int sign(struct mlp_delivery *delivery, const struct mlp_anchor_work *work,
                struct mlp_error *error)
{
    struct mlp_buffer reference = {0}, bytes = {0};
    struct mlp_error detail = {0};
    int status = work->endpoint->kind->plan(&reference, &bytes, work->intent, &detail);
    if (status == 0 && (mlp_buffer_status(&reference) != 0 || mlp_buffer_status(&bytes) != 0))
        status = mlp_fail(&detail, MLP_E_MEMORY, "cannot plan an anchor: out of memory");
    if (status == 0)
        status = mlp_outbox_sign(delivery->store, work->intent->id, reference.data, reference.len,
                                 bytes.data, bytes.len, error);
    else
        status = settle(delivery, work, work->intent->state, status, &detail, error);
    mlp_buffer_clear(&reference);
    mlp_buffer_clear(&bytes);
    return status;
}

/* `sent` is durable: the bytes may be on the network, by this call or an earlier one. */
static int send_again(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                      struct mlp_error *error)
{
    const struct mlp_anchor_kind *kind = work->endpoint->kind;
    struct mlp_error detail = {0};
    enum mlp_anchor_state next = work->intent->state;
    bool found = false;
    int outcome = kind->poll(work, &next, &found, &detail);
    if (outcome == 0 && !found)
        outcome = kind->submit(work, &next, &detail);
    return settle(delivery, work, next, outcome, &detail, error);
}

static int look(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                struct mlp_error *error)
{
    struct mlp_error detail = {0};
    enum mlp_anchor_state next = work->intent->state;
    bool found = false;
    int outcome = work->endpoint->kind->poll(work, &next, &found, &detail);
    return settle(delivery, work, next, outcome, &detail, error);
}

static int prove(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                 struct mlp_error *error)
{
    struct mlp_buffer evidence = {0};
    struct mlp_error detail = {0};
    const struct mlp_intent *intent = work->intent;
    const struct mlp_anchor_kind *kind = work->endpoint->kind;
    int status = kind->prove(work, &evidence, &detail);
    /* What nobody could verify later is no evidence. */
    if (status == 0)
        status = kind->verify(evidence.data, evidence.len, intent->payload.data,
                              intent->payload.len, &detail);
    if (status == 0)
        status =
            mlp_outbox_prove(delivery->store, intent->id, evidence.data, evidence.len, 0, error);
    else
        status = settle(delivery, work, intent->state, status, &detail, error);
    mlp_buffer_clear(&evidence);
    return status;
}

static int step(struct mlp_delivery *delivery, struct mlp_anchor_work *work,
                struct mlp_error *error)
{
    struct mlp_store *store = delivery->store;
    int64_t id = work->intent->id;
    switch (work->intent->state) {
    case MLP_ANCHOR_PLANNED:
        return mlp_outbox_move(store, id, MLP_ANCHOR_PLANNED, MLP_ANCHOR_RESERVED, 0, NULL, error);
    case MLP_ANCHOR_RESERVED:
        return sign(delivery, work, error);
    case MLP_ANCHOR_SIGNED:
        return mlp_outbox_move(store, id, MLP_ANCHOR_SIGNED, MLP_ANCHOR_SENT, 0, NULL, error);
    default:
        break;
    }
    if (delivery->client == NULL) {
        struct mlp_error detail = {0};
        (void)mlp_fail(&detail, MLP_E_NETWORK, "%s", delivery->no_client);
        return settle(delivery, work, work->intent->state, MLP_E_NETWORK, &detail, error);
    }
    switch (work->intent->state) {
    case MLP_ANCHOR_SENT:
        return send_again(delivery, work, error);
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
    int status = mlp_outbox_due(delivery->store, &id, &due_ms, delivery->endpoint->kind->name,
                                mlp_deliver_now_ms(), error);
    if (status == 0 && id != 0)
        status = step_under_lease(delivery, &mine, &intent, id, error);
    mlp_intent_clear(&intent);
    /* Somebody without the lease came in between (it had run out): he goes on. */
    if (status == MLP_E_CHANGED)
        status = 0;
    if (status == 0) {
        *stepped = id != 0 && mine;
        /* Another works on this account: look again when it may have ended. */
        *next_ms = id != 0 && !mine ? mlp_deliver_now_ms() + MLP_RETRY_MS_MIN : due_ms;
    }
    return status;
}
