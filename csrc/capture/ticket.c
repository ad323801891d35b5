#include "capture/ticket.h"

#include "hash/hash_tasks.h"
#include "hash/pool.h"
#include "tensor/canonical.h"
#include "tensor/digest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct mlp_ticket {
    pid_t process;
    struct mlp_hash_request request; /* its digests are this ticket's rows */
    size_t digest_len;
    size_t views_count;
    const struct mlp_view **views;

    /* One for each view. Those that are gathered stand here as empty inputs, so that rows have the
     * views' order; their own digests are put over the empty ones' at the end. */
    struct mlp_hash_input *inputs;
    size_t *gathered; /* indices of views */
    size_t gathered_count;
    uint8_t *gathered_digests;
    uint64_t total_len;

    struct mlp_hash_plan *plan;
    struct mlp_pool_job *job; /* NULL: it was hashed at once */
    size_t kept_len;          /* of the bound, while HASHING */

    atomic_int status; /* of the first gathered view that failed */
    size_t failed;
    struct mlp_error error;

    pthread_mutex_t mutex; /* guards state, and the step out of HASHING */
    int state;
};

/* ---- the bound ---- */

static atomic_size_t kept;
static atomic_size_t pressed;

/* Returns: whether there was room. */
static bool keep(size_t len)
{
    size_t seen = atomic_load(&kept);
    do {
        if (len > MLP_TICKETS_KEPT_MAX || seen > MLP_TICKETS_KEPT_MAX - len)
            return false;
    } while (!atomic_compare_exchange_weak(&kept, &seen, seen + len));
    return true;
}

size_t mlp_tickets_pressed(void)
{
    return atomic_load(&pressed);
}

size_t mlp_tickets_kept(void)
{
    return atomic_load(&kept);
}

/* ---- tasks ---- */

static void hash_gathered(struct mlp_ticket *ticket, size_t place)
{
    struct mlp_error error;
    int expected = MLP_OK;
    size_t index = ticket->gathered[place];
    int status = mlp_tensor_digest_many(ticket->gathered_digests + place * ticket->digest_len,
                                        &ticket->views[index], 1, ticket->request.algorithm, 1,
                                        NULL, &error);
    if (status != MLP_OK && atomic_compare_exchange_strong(&ticket->status, &expected, status)) {
        ticket->failed = index;
        ticket->error = error; /* the first alone; read when all have ended */
    }
}

/* Gathered views first: they are the longest tasks. */
static void run_task(void *context, size_t index)
{
    struct mlp_ticket *ticket = context;
    if (index < ticket->gathered_count)
        hash_gathered(ticket, index);
    else
        mlp_hash_plan_run(ticket->plan, index - ticket->gathered_count);
}

static size_t tasks_count(const struct mlp_ticket *ticket)
{
    return ticket->gathered_count + mlp_hash_plan_tasks(ticket->plan);
}

/* ---- the step out of HASHING ---- */

/* Every task has been run. Returns: a status. */
static int finish_digests(struct mlp_ticket *ticket)
{
    int status = atomic_load(&ticket->status);
    if (status == MLP_OK)
        status = mlp_hash_plan_finish(ticket->plan, &ticket->error);
    for (size_t i = 0; status == MLP_OK && i < ticket->gathered_count; i++)
        memcpy(ticket->request.digests + ticket->gathered[i] * ticket->digest_len,
               ticket->gathered_digests + i * ticket->digest_len, ticket->digest_len);
    return status;
}

/* With the mutex; nobody is inside any more, or it was cancelled. */
static void leave_hashing(struct mlp_ticket *ticket, int state)
{
    ticket->state = state;
    atomic_fetch_sub(&kept, ticket->kept_len);
    ticket->kept_len = 0;
}

/* Every task has been run, unless the ticket was cancelled. */
static void settle(struct mlp_ticket *ticket)
{
    pthread_mutex_lock(&ticket->mutex);
    if (ticket->state == MLP_TICKET_HASHING) {
        int status = finish_digests(ticket);
        atomic_store(&ticket->status, status);
        leave_hashing(ticket, status == MLP_OK ? MLP_TICKET_DONE : MLP_TICKET_FAILED);
    }
    pthread_mutex_unlock(&ticket->mutex);
}

static int state_of(struct mlp_ticket *ticket)
{
    pthread_mutex_lock(&ticket->mutex);
    int state = ticket->state;
    pthread_mutex_unlock(&ticket->mutex);
    return state;
}

/* ---- making ---- */

static int take_view(struct mlp_ticket *ticket, size_t index, const struct mlp_view *view,
                     struct mlp_error *error)
{
    uint64_t len;
    int status = mlp_canonical_len(&len, view, error);
    if (status != MLP_OK)
        return status;
    if (view->stage != NULL)
        return mlp_fail(error, MLP_E_ARGUMENT, "a ticket takes no tensor that must be staged");
    ticket->views[index] = view;
    ticket->total_len += len;
    /* Not a BOOL view: whether its bytes are 0 and 1 is read from them, which is a worker's work. */
    if (view->dtype != MLP_DTYPE_BOOL && mlp_canonical_in_place(view))
        ticket->inputs[index] = (struct mlp_hash_input){view->data, (size_t)len};
    else
        ticket->gathered[ticket->gathered_count++] = index;
    return MLP_OK;
}

static int make_lists(struct mlp_ticket *ticket, struct mlp_error *error)
{
    size_t room = ticket->views_count + 1; /* calloc(0) may be NULL */
    ticket->views = calloc(room, sizeof *ticket->views);
    ticket->inputs = calloc(room, sizeof *ticket->inputs);
    ticket->gathered = calloc(room, sizeof *ticket->gathered);
    ticket->request.digests = calloc(room, ticket->digest_len);
    if (ticket->views == NULL || ticket->inputs == NULL || ticket->gathered == NULL ||
        ticket->request.digests == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to queue %zu tensors", ticket->views_count);
    return MLP_OK;
}

static int make_plan(struct mlp_ticket *ticket, struct mlp_error *error)
{
    ticket->gathered_digests = calloc(ticket->gathered_count + 1, ticket->digest_len);
    if (ticket->gathered_digests == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to queue %zu tensors", ticket->views_count);
    return mlp_hash_plan_new(&ticket->plan, &ticket->request, ticket->inputs, ticket->views_count,
                             mlp_pool_threads(), error);
}

static size_t own_len(const struct mlp_ticket *ticket)
{
    size_t for_each_view = sizeof *ticket->views + sizeof *ticket->inputs +
                           sizeof *ticket->gathered + 2 * ticket->digest_len;
    return sizeof *ticket + ticket->views_count * for_each_view + mlp_hash_plan_size(ticket->plan);
}

static void hash_at_once(struct mlp_ticket *ticket)
{
    mlp_pool_run(run_task, ticket, tasks_count(ticket),
                 ticket->total_len < MLP_TICKET_LEN_MIN ? 1 : 0);
    settle(ticket);
}

/* Where there is no worker or no room, the calling thread hashes. */
static void queue(struct mlp_ticket *ticket, const struct mlp_ticket_options *options)
{
    size_t threads = options->threads != 0 ? options->threads : mlp_pool_threads_beside();
    if (threads == 0 || ticket->total_len < MLP_TICKET_LEN_MIN) {
        hash_at_once(ticket);
        return;
    }
    size_t wanted = own_len(ticket) + options->kept_len;
    if (!keep(wanted)) {
        atomic_fetch_add(&pressed, 1);
        hash_at_once(ticket);
        return;
    }
    ticket->kept_len = wanted;
    if (mlp_pool_submit(&ticket->job, run_task, ticket, tasks_count(ticket), threads, NULL) != 0)
        hash_at_once(ticket);
}

static void free_memory(struct mlp_ticket *ticket)
{
    mlp_hash_plan_free(ticket->plan);
    free(ticket->gathered_digests);
    free(ticket->request.digests);
    free(ticket->gathered);
    free(ticket->inputs);
    free(ticket->views);
    free(ticket);
}

int mlp_ticket_new(struct mlp_ticket **ticket_out, const struct mlp_view *const *views,
                   size_t views_count, const struct mlp_ticket_options *options, size_t *failed,
                   struct mlp_error *error)
{
    size_t ignored;
    if (failed == NULL)
        failed = &ignored;
    *failed = views_count;
    if (mlp_algorithm_digest_len(options->algorithm) == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "unknown digest algorithm %d", options->algorithm);
    struct mlp_ticket *ticket = calloc(1, sizeof *ticket);
    if (ticket == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to queue %zu tensors", views_count);
    ticket->process = getpid();
    ticket->request.algorithm = options->algorithm;
    ticket->digest_len = mlp_algorithm_digest_len(options->algorithm);
    ticket->views_count = views_count;
    ticket->failed = views_count;
    ticket->state = MLP_TICKET_HASHING;
    atomic_init(&ticket->status, MLP_OK);

    int status = make_lists(ticket, error);
    for (size_t i = 0; i < views_count && status == MLP_OK; i++) {
        status = take_view(ticket, i, views[i], error);
        if (status != MLP_OK)
            *failed = i;
    }
    if (status == MLP_OK)
        status = make_plan(ticket, error);
    if (status != MLP_OK) {
        free_memory(ticket);
        return status;
    }
    pthread_mutex_init(&ticket->mutex, NULL);
    queue(ticket, options);
    *ticket_out = ticket;
    return MLP_OK;
}

/* ---- using ---- */

static int refuse_forked(const struct mlp_ticket *ticket, struct mlp_error *error)
{
    if (ticket->process == getpid())
        return MLP_OK;
    return mlp_fail(error, MLP_E_FORKED,
                    "waiting for tensors that are hashed: the ticket belongs to the process that "
                    "this one was forked from; make one in this process");
}

int mlp_ticket_wait(struct mlp_ticket *ticket, bool *done, long timeout_ms, size_t *failed,
                    struct mlp_error *error)
{
    int status = refuse_forked(ticket, error);
    if (status != MLP_OK)
        return status;
    if (ticket->job != NULL && !mlp_pool_wait(ticket->job, timeout_ms)) {
        *done = false;
        return MLP_OK;
    }
    settle(ticket);
    *done = true;
    if (state_of(ticket) == MLP_TICKET_CANCELLED)
        return mlp_fail(error, MLP_E_CLOSED, "the hashing of %zu tensors was cancelled",
                        ticket->views_count);
    if (failed != NULL)
        *failed = ticket->failed;
    status = atomic_load(&ticket->status);
    if (status != MLP_OK && error != NULL)
        *error = ticket->error;
    return status;
}

int mlp_ticket_poll(struct mlp_ticket *ticket)
{
    if (ticket->process != getpid())
        return MLP_E_FORKED;
    if (ticket->job != NULL && mlp_pool_poll(ticket->job))
        settle(ticket);
    return state_of(ticket);
}

bool mlp_ticket_was_at_once(const struct mlp_ticket *ticket)
{
    return ticket->job == NULL;
}

const uint8_t *mlp_ticket_digests(struct mlp_ticket *ticket)
{
    return mlp_ticket_poll(ticket) == MLP_TICKET_DONE ? ticket->request.digests : NULL;
}

int mlp_ticket_recheck(struct mlp_ticket *ticket, bool *changed, struct mlp_error *error)
{
    int status = refuse_forked(ticket, error);
    if (status != MLP_OK)
        return status;
    if (state_of(ticket) != MLP_TICKET_DONE)
        return mlp_fail(error, MLP_E_ARGUMENT, "tensors are hashed again once they were hashed");
    uint8_t *again = calloc(ticket->views_count + 1, ticket->digest_len);
    if (again == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to hash %zu tensors again",
                        ticket->views_count);
    status = mlp_tensor_digest_many(again, ticket->views, ticket->views_count,
                                    ticket->request.algorithm, 0, NULL, error);
    for (size_t i = 0; status == MLP_OK && i < ticket->views_count; i++) {
        size_t row = i * ticket->digest_len;
        changed[i] = memcmp(again + row, ticket->request.digests + row, ticket->digest_len) != 0;
    }
    free(again);
    return status;
}

/* ---- ending ---- */

bool mlp_ticket_cancel(struct mlp_ticket *ticket, long timeout_ms)
{
    if (ticket->job == NULL || ticket->process != getpid())
        return true;
    pthread_mutex_lock(&ticket->mutex);
    if (ticket->state == MLP_TICKET_HASHING && mlp_pool_cancel(ticket->job))
        leave_hashing(ticket, MLP_TICKET_CANCELLED);
    pthread_mutex_unlock(&ticket->mutex);
    return mlp_pool_wait(ticket->job, timeout_ms);
}

void mlp_ticket_free(struct mlp_ticket *ticket)
{
    if (ticket == NULL)
        return;
    (void)mlp_ticket_cancel(ticket, -1);
    mlp_pool_close(ticket->job);
    /* A child's copy of the mutex may be taken for ever; it owns nothing. */
    if (ticket->process == getpid())
        pthread_mutex_destroy(&ticket->mutex);
    atomic_fetch_sub(&kept, ticket->kept_len);
    free_memory(ticket);
}
