/* Tickets: the digests that hashing at once gives, whoever does the work; states, the bound, writes that
 * come in between, cancelling, fork, exit. */
#include "capture/ticket.h"
#include "check.h"
#include "hash/hash.h"
#include "pool_fixture.h"
#include "tensor/digest.h"
#include "thread_faults.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_LEN ((size_t)6 << 20)
#define VIEWS_MAX  300

static uint8_t memory[MEMORY_LEN];
static struct mlp_view views[VIEWS_MAX];
static struct mlp_view_set set;

static void fill_memory(void)
{
    uint32_t state = 1;
    for (size_t i = 0; i < MEMORY_LEN; i++) {
        state = state * 1664525U + 1013904223U; /* Numerical Recipes, section 7.1 */
        memory[i] = (uint8_t)(state >> 24);
    }
}

/* ---- views ---- */

static void set_dense(struct mlp_view *view, size_t offset, int dtype, int64_t rows,
                      int64_t columns)
{
    *view = (struct mlp_view){.data = memory + offset, .dtype = dtype, .ndim = 2};
    view->item_len = mlp_dtype_info(dtype)->item_len;
    view->shape[0] = rows;
    view->shape[1] = columns;
    CHECK(mlp_view_set_dense_strides(view, NULL) == 0);
}

static void set_transposed(struct mlp_view *view, size_t offset, int dtype, int64_t rows,
                           int64_t columns)
{
    set_dense(view, offset, dtype, columns, rows);
    view->shape[0] = rows;
    view->shape[1] = columns;
    int64_t row_len = view->strides[0];
    view->strides[0] = view->strides[1];
    view->strides[1] = row_len;
}

/* The first views as the set that tickets take; not while there is one. */
static void list_views(size_t count)
{
    mlp_view_set_clear(&set);
    CHECK(mlp_view_set_init(&set, count, false, NULL) == 0);
    for (size_t i = 0, index; i < count; i++)
        CHECK(mlp_view_set_add(&set, &index, &views[i], NULL) == 0 && index == i);
}

/* All that takes a way of its own: large, many small ones, strided, BOOL, empty. */
static void set_mixture(void)
{
    size_t count = 0;
    set_dense(&views[count++], 0, MLP_DTYPE_F32, 1000, 1024);
    set_transposed(&views[count++], 4096, MLP_DTYPE_F32, 300, 500);
    set_dense(&views[count++], 64, MLP_DTYPE_BOOL, 700, 100);
    set_dense(&views[count++], 0, MLP_DTYPE_F64, 0, 5);
    set_dense(&views[count++], 8, MLP_DTYPE_BF16, 1, 1);
    while (count < VIEWS_MAX) {
        set_dense(&views[count], count * 4096, MLP_DTYPE_U8, 1, (int64_t)(count * 13));
        count++;
    }
    list_views(count);
}

/* One of which every part takes for ever: its elements lie at one place. */
static void set_endless(void)
{
    set_dense(&views[0], 0, MLP_DTYPE_F32, INT64_C(1) << 30, INT64_C(1) << 30);
    views[0].strides[0] = views[0].strides[1] = 0;
    list_views(1);
}

/* ---- tickets ---- */

static const struct mlp_ticket_options blake3 = {.algorithm = MLP_BLAKE3, .threads = 1};

static struct mlp_ticket *take(const struct mlp_ticket_options *options)
{
    struct mlp_ticket *ticket = NULL;
    struct mlp_error error;
    size_t failed;
    if (!CHECK(mlp_ticket_new(&ticket, &set, options, &failed, &error) == 0))
        printf("  %s\n", error.message);
    return ticket;
}

static bool waits_well(struct mlp_ticket *ticket)
{
    bool done = false;
    return mlp_ticket_wait(ticket, &done, -1, NULL) == 0 && done &&
           mlp_ticket_poll(ticket) == MLP_TICKET_DONE;
}

static bool is_right(struct mlp_ticket *ticket, int algorithm)
{
    static uint8_t expected[VIEWS_MAX * MLP_HASH_MAX_LEN];
    const struct mlp_hash_request request = {algorithm, expected};
    size_t digest_len = mlp_algorithm_digest_len(algorithm);
    const uint8_t *seen = mlp_ticket_digests(ticket);
    return mlp_tensor_digest_many(&request, 1, &set, 1, NULL, NULL) == 0 && seen != NULL &&
           memcmp(seen, expected, set.count * digest_len) == 0;
}

/* The workers do it all, or the test runs into its time limit. */
static void wait_without_taking_part(struct mlp_ticket *ticket)
{
    while (mlp_ticket_poll(ticket) == MLP_TICKET_HASHING)
        sched_yield();
}

static void digests_are_those_of_hashing_at_once(void)
{
    static const int algorithms[] = {MLP_BLAKE3, MLP_SHA256, MLP_SHA384, MLP_SHA512};
    set_mixture();
    for (size_t threads = 1; threads <= 4; threads++) {
        CHECK(mlp_pool_set_threads(threads, NULL) == 0);
        for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
            const struct mlp_ticket_options options = {.algorithm = algorithms[i],
                                                       .threads = threads};
            struct mlp_ticket *ticket = take(&options);
            CHECK(waits_well(ticket) && is_right(ticket, algorithms[i]));
            CHECK(!mlp_ticket_was_at_once(ticket) && mlp_tickets_kept() == 0);
            mlp_ticket_free(ticket);
        }
    }
}

static void workers_finish_a_ticket_that_nobody_waits_for(void)
{
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    set_mixture();
    struct mlp_ticket *ticket = take(&blake3);
    wait_without_taking_part(ticket);
    CHECK(mlp_ticket_poll(ticket) == MLP_TICKET_DONE && is_right(ticket, MLP_BLAKE3));
    CHECK(mlp_ticket_cancel(ticket, 0) && mlp_ticket_poll(ticket) == MLP_TICKET_DONE);
    mlp_ticket_free(ticket);
}

static void who_waits_hashes_what_no_worker_has_begun(void)
{
    struct holder holder;
    set_mixture();
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_ticket *ticket = take(&blake3);
    CHECK(mlp_ticket_poll(ticket) == MLP_TICKET_HASHING && mlp_ticket_digests(ticket) == NULL);
    CHECK(waits_well(ticket) && is_right(ticket, MLP_BLAKE3));
    let_go(&holder);
    mlp_ticket_free(ticket);
}

static void patience_ends_and_the_ticket_goes_on(void)
{
    struct holder holder;
    bool done = true;
    set_mixture();
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_ticket *ticket = take(&blake3);
    CHECK(mlp_ticket_wait(ticket, &done, 0, NULL) == 0 && !done);
    let_go(&holder);
    CHECK(waits_well(ticket) && is_right(ticket, MLP_BLAKE3));
    mlp_ticket_free(ticket);
}

static void *wait_well(void *ticket)
{
    return waits_well(ticket) ? ticket : NULL;
}

static void several_threads_may_wait_for_one_ticket(void)
{
    pthread_t waiting[4];
    set_mixture();
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    for (int round = 0; round < 20; round++) {
        struct mlp_ticket *ticket = take(&blake3);
        for (int i = 0; i < 4; i++)
            CHECK(pthread_create(&waiting[i], NULL, wait_well, ticket) == 0);
        for (int i = 0; i < 4; i++) {
            void *answer = NULL;
            CHECK(pthread_join(waiting[i], &answer) == 0 && answer == ticket);
        }
        CHECK(is_right(ticket, MLP_BLAKE3));
        mlp_ticket_free(ticket);
    }
}

static void little_work_is_done_at_once(void)
{
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    set_dense(&views[0], 0, MLP_DTYPE_U8, 1, (int64_t)MLP_TICKET_LEN_MIN - 1);
    list_views(1);
    struct mlp_ticket *ticket = take(&blake3);
    CHECK(mlp_ticket_was_at_once(ticket) && mlp_ticket_poll(ticket) == MLP_TICKET_DONE);
    CHECK(is_right(ticket, MLP_BLAKE3) && waits_well(ticket));
    mlp_ticket_free(ticket);
    list_views(0);
    ticket = take(&blake3);
    CHECK(mlp_ticket_was_at_once(ticket) && waits_well(ticket));
    mlp_ticket_free(ticket);
    mlp_ticket_free(NULL);
}

static void an_unknown_algorithm_is_refused(void)
{
    struct mlp_ticket *ticket = NULL;
    struct mlp_error error;
    size_t failed;
    set_mixture();
    const struct mlp_ticket_options unknown = {.algorithm = 99};
    CHECK(mlp_ticket_new(&ticket, &set, &unknown, &failed, &error) == MLP_E_ARGUMENT);
    CHECK(failed == set.count && strstr(error.message, "99") != NULL && ticket == NULL);
}

static int never_called(void *context, uint64_t first, size_t count, void *out,
                        struct mlp_error *error)
{
    (void)context, (void)first, (void)count, (void)out;
    return mlp_fail(error, MLP_E_TENSOR, "staged");
}

static void a_view_that_must_be_staged_is_refused(void)
{
    struct mlp_ticket *ticket = NULL;
    size_t failed;
    set_mixture();
    views[2].stage = never_called;
    list_views(9);
    CHECK(mlp_ticket_new(&ticket, &set, &blake3, &failed, NULL) == MLP_E_ARGUMENT);
    CHECK(failed == 2 && ticket == NULL);
}

/* ---- the bound ---- */

static void what_finds_no_room_is_hashed_at_once_and_counted(void)
{
    struct holder holder;
    const struct mlp_ticket_options large = {
        .algorithm = MLP_BLAKE3, .threads = 1, .kept_len = MLP_TICKETS_KEPT_MAX / 2 + 1};
    set_mixture();
    size_t before = mlp_tickets_pressed();
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_ticket *first = take(&large);
    CHECK(!mlp_ticket_was_at_once(first) && mlp_tickets_kept() > large.kept_len);
    struct mlp_ticket *second = take(&large);
    CHECK(mlp_ticket_was_at_once(second) && mlp_tickets_pressed() == before + 1);
    CHECK(is_right(second, MLP_BLAKE3));
    struct mlp_ticket *third = take(&blake3); /* what is small still has room */
    CHECK(!mlp_ticket_was_at_once(third) && mlp_tickets_kept() <= MLP_TICKETS_KEPT_MAX);
    let_go(&holder);
    CHECK(waits_well(first) && waits_well(third) && mlp_tickets_kept() == 0);
    mlp_ticket_free(first);
    mlp_ticket_free(second);
    mlp_ticket_free(third);
    const struct mlp_ticket_options absurd = {
        .algorithm = MLP_BLAKE3, .threads = 1, .kept_len = SIZE_MAX / 2};
    first = take(&absurd);
    CHECK(mlp_ticket_was_at_once(first) && mlp_tickets_pressed() == before + 2);
    mlp_ticket_free(first);
}

static void a_ticket_keeps_little_for_much(void)
{
    struct holder holder;
    if (!hold_the_only_place(&holder))
        return;
    set_endless(); /* as many tasks as a plan may have */
    struct mlp_ticket *ticket = take(&blake3);
    CHECK(mlp_tickets_kept() < (size_t)12 << 20);
    mlp_ticket_free(ticket);
    CHECK(mlp_tickets_kept() == 0);
    let_go(&holder);
}

/* ---- writes ---- */

static void hashing_again_says_what_was_written_since(void)
{
    bool changed[VIEWS_MAX];
    set_mixture();
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    struct mlp_ticket *ticket = take(&blake3);
    CHECK(waits_well(ticket));
    CHECK(mlp_ticket_recheck(ticket, changed, NULL) == 0);
    for (size_t i = 0; i < set.count; i++)
        CHECK(!changed[i]);
    uint8_t *written = memory + 200 * 4096 + 5; /* in view 0 and view 200 */
    *written ^= 1;
    CHECK(mlp_ticket_recheck(ticket, changed, NULL) == 0);
    for (size_t i = 0; i < set.count; i++)
        CHECK(changed[i] == (i == 0 || i == 200));
    *written ^= 1;
    mlp_ticket_free(ticket);
}

static void what_is_not_hashed_cannot_be_hashed_again(void)
{
    struct holder holder;
    bool changed[VIEWS_MAX];
    set_mixture();
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_ticket *ticket = take(&blake3);
    CHECK(mlp_ticket_recheck(ticket, changed, NULL) == MLP_E_ARGUMENT);
    let_go(&holder);
    mlp_ticket_free(ticket);
}

/* ---- cancelling ---- */

static void a_cancelled_ticket_has_no_digests_and_stays_so(void)
{
    struct holder holder;
    struct mlp_error error;
    bool done = false;
    set_mixture();
    if (!hold_the_only_place(&holder))
        return;
    struct mlp_ticket *ticket = take(&blake3);
    CHECK(mlp_ticket_cancel(ticket, 0) && mlp_tickets_kept() == 0);
    CHECK(mlp_ticket_poll(ticket) == MLP_TICKET_CANCELLED && mlp_ticket_digests(ticket) == NULL);
    CHECK(mlp_ticket_wait(ticket, &done, -1, &error) == MLP_E_CLOSED);
    let_go(&holder);
    CHECK(mlp_ticket_poll(ticket) == MLP_TICKET_CANCELLED);
    mlp_ticket_free(ticket);
}

static void a_ticket_can_be_freed_at_any_moment(void)
{
    set_mixture();
    CHECK(mlp_pool_set_threads(3, NULL) == 0);
    for (int i = 0; i < 100; i++) {
        const struct mlp_ticket_options options = {.algorithm = MLP_BLAKE3,
                                                   .threads = (size_t)i % 3 + 1};
        struct mlp_ticket *ticket = take(&options);
        for (int spin = 0; spin < i * 10; spin++)
            (void)mlp_ticket_poll(ticket);
        mlp_ticket_free(ticket);
    }
    CHECK(mlp_tickets_kept() == 0);
}

/* ---- processes ---- */

static struct mlp_ticket *parents_ticket;
static struct mlp_ticket *others_ticket;

static void use_the_parents_ticket(void)
{
    bool done = false;
    bool changed[VIEWS_MAX];
    bool right = mlp_ticket_poll(parents_ticket) == MLP_E_FORKED &&
                 mlp_ticket_wait(parents_ticket, &done, -1, NULL) == MLP_E_FORKED &&
                 mlp_ticket_recheck(parents_ticket, changed, NULL) == MLP_E_FORKED &&
                 mlp_ticket_digests(parents_ticket) == NULL &&
                 mlp_ticket_cancel(parents_ticket, 0) && !done;
    mlp_ticket_free(parents_ticket);
    struct mlp_ticket *own = take(&blake3);
    right = right && waits_well(own) && is_right(own, MLP_BLAKE3);
    mlp_ticket_free(own);
    _exit(right && mlp_tickets_kept() == 0 ? 0 : 1);
}

static void a_childs_calls_on_its_parents_ticket_are_refused(void)
{
    double seconds;
    set_mixture();
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    for (int i = 0; i < 20; i++) {
        parents_ticket = take(&blake3);
        CHECK(in_child(use_the_parents_ticket, &seconds) == 0);
        CHECK(waits_well(parents_ticket) && is_right(parents_ticket, MLP_BLAKE3));
        mlp_ticket_free(parents_ticket);
    }
}

static void wait_without_workers(void)
{
    threads_to_go = 0;
    struct mlp_ticket *ticket = take(&blake3);
    bool right = mlp_ticket_poll(ticket) == MLP_TICKET_HASHING && waits_well(ticket) &&
                 is_right(ticket, MLP_BLAKE3);
    mlp_ticket_free(ticket);
    _exit(right ? 0 : 1);
}

static void who_waits_hashes_it_all_where_the_system_makes_no_threads(void)
{
    double seconds;
    set_mixture();
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    CHECK(in_child(wait_without_workers, &seconds) == 0);
}

static double cpu_seconds(clockid_t clock)
{
    struct timespec used;
    clock_gettime(clock, &used);
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

static void exit_with_work_queued(void)
{
    set_endless();
    parents_ticket = take(&blake3); /* reachable: no leak */
    others_ticket = take(&blake3);
    double others = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_seconds(CLOCK_THREAD_CPUTIME_ID) <
           others + 0.005) /* the worker is inside, for ever */
        sched_yield();
    bool inside = !mlp_ticket_cancel(parents_ticket, 20) || !mlp_ticket_cancel(others_ticket, 20);
    exit(inside ? 0 : 2);
}

static void a_process_ends_with_work_queued(void)
{
    double seconds;
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
    CHECK(in_child(exit_with_work_queued, &seconds) == 0);
    CHECK(seconds > MLP_POOL_EXIT_MS / 1000.0 - 0.1 && seconds < 2);
}

/* First of all: threads that hashed with OpenSSL leave memory to a child that nobody there owns. */
static void test_processes(void)
{
    if (THREADS_ARE_WATCHED) {
        SKIP("fork and exit: ThreadSanitizer supports no threads in a forked child");
        return;
    }
    RUN(a_process_ends_with_work_queued);
    RUN(a_childs_calls_on_its_parents_ticket_are_refused);
    RUN(who_waits_hashes_it_all_where_the_system_makes_no_threads);
}

int main(void)
{
    fill_memory();
    test_processes();
    /* OpenSSL is started by this thread: what its start keeps for a thread would be called a leak of a
     * worker that ends after OpenSSL has. */
    uint8_t digest[MLP_HASH_MAX_LEN];
    CHECK(mlp_hash(MLP_SHA256, digest, "", 0, NULL) == 0);
    RUN(digests_are_those_of_hashing_at_once);
    RUN(workers_finish_a_ticket_that_nobody_waits_for);
    RUN(who_waits_hashes_what_no_worker_has_begun);
    RUN(patience_ends_and_the_ticket_goes_on);
    RUN(several_threads_may_wait_for_one_ticket);
    RUN(little_work_is_done_at_once);
    RUN(an_unknown_algorithm_is_refused);
    RUN(a_view_that_must_be_staged_is_refused);
    RUN(what_finds_no_room_is_hashed_at_once_and_counted);
    RUN(a_ticket_keeps_little_for_much);
    RUN(hashing_again_says_what_was_written_since);
    RUN(what_is_not_hashed_cannot_be_hashed_again);
    RUN(a_cancelled_ticket_has_no_digests_and_stays_so);
    RUN(a_ticket_can_be_freed_at_any_moment);
    mlp_view_set_clear(&set);
    return check_finish();
}
