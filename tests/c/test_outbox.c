/* The outbox: one row however often one asks, only valid transitions, one worker per account. */
#include "store_fixture.h"

#include "base/file.h"
#include "store/outbox.h"

#include <pthread.h>
#include <sys/wait.h>

static char path[PATH_MAX];
static const uint8_t root32[32] = {1, 2, 3};
static const struct mlp_intent_subject subject = {.kind = "ipfs",
                                                  .chain = "",
                                                  .target = "",
                                                  .account = "",
                                                  .origin = "mlprov/store/x",
                                                  .size = 7,
                                                  .root32 = root32};

static struct mlp_store *new_store(void)
{
    fixture_path(path, "store");
    return open_store(path, MLP_STORE_CREATE);
}

static int64_t plan(struct mlp_store *store)
{
    struct mlp_error error = {0};
    int64_t id = 0;
    bool made = false;
    CHECK(FINE(mlp_outbox_plan(store, &id, &made, &subject, "note", 4, &error)));
    return id;
}

static int go(struct mlp_store *store, int64_t id, enum mlp_anchor_state from,
              enum mlp_anchor_state to)
{
    return mlp_outbox_move(store, id, from, to, 0, NULL, NULL);
}

static bool is_planned_anew(struct mlp_store *store, const struct mlp_intent_subject *other)
{
    struct mlp_error error = {0};
    int64_t id = 0;
    bool made = false;
    return FINE(mlp_outbox_plan(store, &id, &made, other, "", 0, &error)) && made;
}

static void every_part_of_the_subject_makes_another_intent(void)
{
    static const uint8_t other_root[32] = {1, 2, 4};
    struct mlp_store *store = new_store();
    CHECK(is_planned_anew(store, &subject) && !is_planned_anew(store, &subject));
    struct mlp_intent_subject other = subject;
    other.kind = "ipf";
    other.chain = "s"; /* the same bytes in a row: lengths tell them apart */
    CHECK(is_planned_anew(store, &other));
    other = subject;
    other.target = "t";
    CHECK(is_planned_anew(store, &other));
    other = subject;
    other.account = "t";
    CHECK(is_planned_anew(store, &other));
    other = subject;
    other.origin = "mlprov/store/y";
    CHECK(is_planned_anew(store, &other));
    other = subject;
    other.size = 8;
    CHECK(is_planned_anew(store, &other));
    other = subject;
    other.root32 = other_root;
    CHECK(is_planned_anew(store, &other));
    other.size = 0;
    int64_t id = 0;
    bool made = false;
    CHECK(mlp_outbox_plan(store, &id, &made, &other, "", 0, NULL) == MLP_E_ARGUMENT);
    mlp_store_free(store);
    fixture_remove(path);
}

static void *plan_often(void *made_count)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    CHECK(FINE(mlp_store_open(&store, path, 0, &error)));
    for (int i = 0; i < 100; i++) {
        int64_t id = 0;
        bool made = false;
        if (!FINE(mlp_outbox_plan(store, &id, &made, &subject, "note", 4, &error)))
            break;
        *(int *)made_count += made;
    }
    mlp_store_free(store);
    return NULL;
}

static void eight_threads_that_plan_one_subject_make_one_intent(void)
{
    pthread_t threads[8];
    int made[8] = {0};
    int all = 0;
    struct mlp_store *store = new_store();
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, plan_often, &made[i]) == 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        all += made[i];
    }
    CHECK(all == 1 && query_number(store, "SELECT count(*) FROM anchor_intents") == 1);
    mlp_store_free(store);
    fixture_remove(path);
}

/* Reads the list in outbox.h: "     from -> to, to". */
static void the_table_of_transitions_is_the_one_in_the_header(void)
{
    static bool said[MLP_ANCHOR_STATES_COUNT][MLP_ANCHOR_STATES_COUNT];
    struct mlp_buffer text = {0};
    int lines = 0;
    memset(said, 0, sizeof said);
    CHECK(mlp_file_read_path(&text, AT_FDCWD, "csrc/store/outbox.h", 65536, NULL) == 0);
    mlp_buffer_append(&text, "", 1);
    for (char *line = strtok((char *)text.data, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *arrow = strstr(line, " -> ");
        if (strncmp(line, " *     ", 7) != 0 || arrow == NULL)
            continue;
        lines++;
        for (int from = 0; from < MLP_ANCHOR_STATES_COUNT; from++) {
            const char *name = mlp_anchor_state_name((enum mlp_anchor_state)from);
            if (strncmp(line + 7, name, strlen(name)) != 0 || line[7 + strlen(name)] != ' ')
                continue;
            for (int to = 0; to < MLP_ANCHOR_STATES_COUNT; to++)
                said[from][to] =
                    strstr(arrow, mlp_anchor_state_name((enum mlp_anchor_state)to)) != NULL;
        }
    }
    CHECK(lines == MLP_ANCHOR_STATES_COUNT);
    for (int from = 0; from < MLP_ANCHOR_STATES_COUNT; from++) {
        for (int to = 0; to < MLP_ANCHOR_STATES_COUNT; to++)
            CHECK(said[from][to] ==
                  mlp_anchor_may_move((enum mlp_anchor_state)from, (enum mlp_anchor_state)to));
    }
    mlp_buffer_clear(&text);
}

static void an_intent_goes_its_way_and_no_other(void)
{
    struct mlp_error error = {0};
    struct mlp_intent intent = {0};
    struct mlp_store *store = new_store();
    int64_t id = plan(store);
    CHECK(go(store, id, MLP_ANCHOR_PLANNED, MLP_ANCHOR_SENT) == MLP_E_ARGUMENT);
    CHECK(go(store, id, MLP_ANCHOR_RESERVED, MLP_ANCHOR_SIGNED) == MLP_E_CHANGED);
    CHECK(go(store, id, MLP_ANCHOR_PLANNED, MLP_ANCHOR_RESERVED) == 0);
    CHECK(go(store, id, MLP_ANCHOR_PLANNED, MLP_ANCHOR_RESERVED) == MLP_E_CHANGED);
    CHECK(FINE(mlp_outbox_sign(store, id, MLP_ANCHOR_RESERVED, "ref", 3, "bytes", 5, &error)));
    CHECK(mlp_outbox_sign(store, id, MLP_ANCHOR_RESERVED, "ref", 3, "bytes", 5, &error) ==
          MLP_E_CHANGED);
    CHECK(query_number(store, "SELECT count(*) FROM anchor_attempts") == 1);
    CHECK(go(store, id, MLP_ANCHOR_SIGNED, MLP_ANCHOR_SENT) == 0);
    CHECK(go(store, id, MLP_ANCHOR_SENT, MLP_ANCHOR_INCLUDED) == 0);
    CHECK(FINE(mlp_outbox_prove(store, id, "proof", 5, 0, &error)));
    CHECK(go(store, id, MLP_ANCHOR_PROVED, MLP_ANCHOR_FINAL) == 0);
    CHECK(FINE(mlp_outbox_get(store, &intent, id, &error)));
    CHECK(intent.state == MLP_ANCHOR_FINAL && intent.payload.len == 4 &&
          memcmp(intent.payload.data, "note", 4) == 0);
    const struct mlp_attempt *last = mlp_intent_last(&intent);
    CHECK(last->reference.len == 3 && last->bytes.len == 5 && strcmp(intent.kind, "ipfs") == 0);
    CHECK(intent.nonce == MLP_NONCE_NONE && intent.attempts_count == 1);
    CHECK(mlp_outbox_get(store, &intent, id + 1, &error) == MLP_E_NOT_FOUND);
    mlp_intent_clear(&intent);
    mlp_store_free(store);
    fixture_remove(path);
}

/* An intent of size `size` for one account. */
static int64_t plan_numbered(struct mlp_store *store, uint64_t size)
{
    struct mlp_error error = {0};
    struct mlp_intent_subject numbered = subject;
    int64_t id = 0;
    bool made = false;
    numbered.chain = "1";
    numbered.account = "0xa";
    numbered.size = size;
    CHECK(FINE(mlp_outbox_plan(store, &id, &made, &numbered, "note", 4, &error)) && made);
    return id;
}

static bool reserve(struct mlp_store *store, int64_t id, int64_t nonce)
{
    struct mlp_error error = {0};
    bool reserved = false;
    CHECK(FINE(mlp_outbox_reserve(store, &reserved, id, nonce, &error)));
    return reserved;
}

static int64_t next_nonce(struct mlp_store *store)
{
    int64_t nonce = -1;
    CHECK(mlp_outbox_next_nonce(store, &nonce, "1", "0xa", NULL) == 0);
    return nonce;
}

static int64_t due_of_account(struct mlp_store *store)
{
    struct mlp_intent_subject place = subject;
    int64_t id = 0, next = 0;
    place.chain = "1";
    place.account = "0xa";
    CHECK(mlp_outbox_due(store, &id, &next, &place, 1, NULL) == 0);
    return id;
}

static void sign_and_send(struct mlp_store *store, int64_t id, const char *reference)
{
    struct mlp_error error = {0};
    CHECK(FINE(mlp_outbox_sign(store, id, MLP_ANCHOR_RESERVED, reference, strlen(reference), "raw",
                               3, &error)));
    CHECK(go(store, id, MLP_ANCHOR_SIGNED, MLP_ANCHOR_SENT) == 0);
}

static void one_nonce_of_an_account_is_open_at_a_time(void)
{
    struct mlp_store *store = new_store();
    int64_t first = plan_numbered(store, 1);
    CHECK(next_nonce(store) == 0 && due_of_account(store) == first && reserve(store, first, 5));
    int64_t second = plan_numbered(store, 2);
    CHECK(!reserve(store, second, 6));
    sign_and_send(store, first, "a");
    CHECK(next_nonce(store) == 6 && due_of_account(store) == first);
    CHECK(go(store, first, MLP_ANCHOR_SENT, MLP_ANCHOR_NEEDS_OPERATOR) == 0);
    CHECK(due_of_account(store) == 0 && !reserve(store, second, 6)); /* it may still be mined */
    int64_t resumed = 0;
    CHECK(mlp_outbox_resume(store, &resumed, NULL) == 0 && resumed == 1);
    CHECK(go(store, first, MLP_ANCHOR_SENT, MLP_ANCHOR_INCLUDED) == 0);
    CHECK(reserve(store, second, 6));
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_later_checkpoint_covers_those_that_nothing_was_signed_for(void)
{
    struct mlp_store *store = new_store();
    int64_t sent = plan_numbered(store, 1);
    CHECK(reserve(store, sent, 5));
    sign_and_send(store, sent, "a");
    int64_t waits = plan_numbered(store, 2);
    CHECK(go(store, waits, MLP_ANCHOR_PLANNED, MLP_ANCHOR_NEEDS_OPERATOR) == 0);
    (void)plan_numbered(store, 4);
    (void)plan_numbered(store, 3); /* a copy of the store that is behind takes nothing back */
    CHECK(query_number(store, "SELECT count(*) FROM anchor_intents WHERE size = 1") == 1);
    CHECK(query_number(store, "SELECT count(*) FROM anchor_intents WHERE size = 2") == 0);
    CHECK(query_number(store, "SELECT count(*) FROM anchor_intents") == 3);
    mlp_store_free(store);
    fixture_remove(path);
}

static void attempts_are_those_of_the_nonce_and_a_used_one_is_given_up(void)
{
    struct mlp_error error = {0};
    struct mlp_intent intent = {0};
    struct mlp_store *store = new_store();
    int64_t resumed = 0, id = plan_numbered(store, 1);
    CHECK(reserve(store, id, 5));
    sign_and_send(store, id, "a");
    CHECK(FINE(mlp_outbox_accept(store, id, 1000, 2000, &error)));
    CHECK(FINE(mlp_outbox_sign(store, id, MLP_ANCHOR_SENT, "b", 1, "raw2", 4, &error)));
    CHECK(FINE(mlp_outbox_get(store, &intent, id, &error)));
    CHECK(intent.state == MLP_ANCHOR_SENT && intent.attempts_count == 2 && intent.nonce == 5);
    CHECK(intent.attempts[0].accepted_ms == 1000 && mlp_intent_last(&intent)->accepted_ms == 0);
    CHECK(go(store, id, MLP_ANCHOR_SENT, MLP_ANCHOR_DROPPED) == 0);
    CHECK(FINE(mlp_outbox_get(store, &intent, id, &error)));
    CHECK(intent.attempts[0].accepted_ms == 0);
    CHECK(go(store, id, MLP_ANCHOR_DROPPED, MLP_ANCHOR_SENT) == 0);
    CHECK(go(store, id, MLP_ANCHOR_SENT, MLP_ANCHOR_REPLACED) == 0);
    CHECK(go(store, id, MLP_ANCHOR_REPLACED, MLP_ANCHOR_FOREIGN) == 0);
    CHECK(go(store, id, MLP_ANCHOR_FOREIGN, MLP_ANCHOR_NEEDS_OPERATOR) == 0);
    CHECK(mlp_outbox_resume(store, &resumed, NULL) == 0 && resumed == 1);
    CHECK(FINE(mlp_outbox_get(store, &intent, id, &error)));
    CHECK(intent.state == MLP_ANCHOR_PLANNED && intent.attempts_count == 0);
    CHECK(next_nonce(store) == 6 && reserve(store, id, 6));
    mlp_intent_clear(&intent);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_nonce_that_nothing_was_signed_with_is_free_again(void)
{
    struct mlp_error error = {0};
    struct mlp_intent intent = {0};
    struct mlp_store *store = new_store();
    int64_t id = plan_numbered(store, 1);
    CHECK(reserve(store, id, 5));
    CHECK(go(store, id, MLP_ANCHOR_RESERVED, MLP_ANCHOR_NEEDS_OPERATOR) == 0);
    CHECK(FINE(mlp_outbox_get(store, &intent, id, &error)) && intent.nonce == MLP_NONCE_NONE);
    CHECK(next_nonce(store) == 0);
    mlp_intent_clear(&intent);
    mlp_store_free(store);
    fixture_remove(path);
}

static void what_was_found_is_forgotten_when_it_is_gone(void)
{
    struct mlp_error error = {0};
    struct mlp_intent intent = {0};
    struct mlp_store *store = new_store();
    uint8_t tx[] = "tx", json[] = "{}";
    const struct mlp_buffer reference = {.data = tx, .len = 2}, shown = {.data = json, .len = 2};
    int64_t id = plan_numbered(store, 1);
    CHECK(FINE(mlp_outbox_find(store, id, MLP_ANCHOR_PLANNED, MLP_ANCHOR_INCLUDED, &reference,
                               &shown, &error)));
    CHECK(FINE(mlp_outbox_get(store, &intent, id, &error)) && intent.shown.len == 2);
    CHECK(intent.attempts_count == 1 && mlp_intent_last(&intent)->bytes.len == 0);
    CHECK(FINE(mlp_outbox_prove(store, id, "proof", 5, 0, &error)));
    CHECK(go(store, id, MLP_ANCHOR_PROVED, MLP_ANCHOR_REORGED) == 0);
    CHECK(query_number(store, "SELECT count(*) FROM anchor_intents WHERE evidence IS NULL AND"
                              " shown IS NULL") == 1);
    CHECK(go(store, id, MLP_ANCHOR_REORGED, MLP_ANCHOR_PLANNED) == 0);
    mlp_intent_clear(&intent);
    mlp_store_free(store);
    fixture_remove(path);
}

static void what_is_postponed_is_not_due_before(void)
{
    struct mlp_error error = {0};
    struct mlp_intent intent = {0};
    struct mlp_store *store = new_store();
    struct mlp_intent_subject other = subject;
    other.account = "t";
    int64_t due = 0, next = 0, id = plan(store);
    CHECK(FINE(mlp_outbox_due(store, &due, &next, &subject, 1000, &error)) && due == id);
    CHECK(FINE(mlp_outbox_due(store, &due, &next, &other, 1000, &error)) && due == 0 &&
          next == INT64_MAX);
    CHECK(FINE(mlp_outbox_postpone(store, id, 5000, "no answer", &error)));
    CHECK(FINE(mlp_outbox_due(store, &due, &next, &subject, 1000, &error)) && due == 0 &&
          next == 5000);
    CHECK(FINE(mlp_outbox_get(store, &intent, id, &error)) && intent.failures == 1);
    CHECK(FINE(mlp_outbox_hasten(store, 1000, &error)));
    CHECK(FINE(mlp_outbox_due(store, &due, &next, &subject, 1000, &error)) && due == id);
    CHECK(go(store, id, MLP_ANCHOR_PLANNED, MLP_ANCHOR_NEEDS_OPERATOR) == 0);
    CHECK(FINE(mlp_outbox_due(store, &due, &next, &subject, 9000, &error)) && due == 0);
    mlp_intent_clear(&intent);
    mlp_store_free(store);
    fixture_remove(path);
}

static bool lease(struct mlp_store *store, const char *holder, int64_t now_ms)
{
    struct mlp_error error = {0};
    bool taken = false;
    CHECK(FINE(mlp_outbox_lease(store, &taken, "1", "0xa", holder, now_ms, &error)));
    return taken;
}

static void an_account_has_one_worker_at_a_time(void)
{
    char first[MLP_INTENT_TEXT_MAX + 1], second[MLP_INTENT_TEXT_MAX + 1];
    struct mlp_error error = {0};
    struct mlp_store *store = new_store();
    mlp_lease_holder(first, 1);
    mlp_lease_holder(second, 2);
    CHECK(lease(store, first, 1000) && lease(store, first, 2000) && !lease(store, second, 3000));
    CHECK(FINE(mlp_outbox_release(store, "1", "0xa", second, &error)) &&
          !lease(store, second, 3000));
    CHECK(FINE(mlp_outbox_release(store, "1", "0xa", first, &error)) && lease(store, second, 3000));
    CHECK(!lease(store, first, 3000 + MLP_LEASE_MS - 1) &&
          lease(store, first, 3000 + MLP_LEASE_MS));
    CHECK(lease(store, second, 0)); /* the clock was set back */
    mlp_store_free(store);
    fixture_remove(path);
}

static void the_lease_of_a_process_that_ended_is_taken_at_once(void)
{
    char mine[MLP_INTENT_TEXT_MAX + 1];
    struct mlp_store *store = new_store();
    pid_t child = fork();
    if (child == 0) {
        char theirs[MLP_INTENT_TEXT_MAX + 1];
        bool taken = false;
        struct mlp_store *own = NULL;
        mlp_lease_holder(theirs, 1);
        _exit(mlp_store_open(&own, path, 0, NULL) == 0 &&
                      mlp_outbox_lease(own, &taken, "1", "0xa", theirs, 1000, NULL) == 0 && taken
                  ? 0
                  : 1);
    }
    int ended = -1;
    CHECK(waitpid(child, &ended, 0) == child && ended == 0);
    mlp_lease_holder(mine, 1);
    CHECK(lease(store, mine, 1001));
    mlp_store_free(store);
    fixture_remove(path);
}

int main(void)
{
    RUN(every_part_of_the_subject_makes_another_intent);
    RUN(eight_threads_that_plan_one_subject_make_one_intent);
    RUN(the_table_of_transitions_is_the_one_in_the_header);
    RUN(an_intent_goes_its_way_and_no_other);
    RUN(one_nonce_of_an_account_is_open_at_a_time);
    RUN(a_later_checkpoint_covers_those_that_nothing_was_signed_for);
    RUN(attempts_are_those_of_the_nonce_and_a_used_one_is_given_up);
    RUN(a_nonce_that_nothing_was_signed_with_is_free_again);
    RUN(what_was_found_is_forgotten_when_it_is_gone);
    RUN(what_is_postponed_is_not_due_before);
    RUN(an_account_has_one_worker_at_a_time);
    RUN(the_lease_of_a_process_that_ended_is_taken_at_once);
    return check_finish();
}
