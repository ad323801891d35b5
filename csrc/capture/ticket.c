#include "capture/ticket.h"

#include "hash/hash_tasks.h"
#include "hash/pool.h"
#include "tensor/digest.h"
#include "tensor/inputs.h"

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
    const struct mlp_view_set *views;
    struct mlp_hash_input *inputs; /* one for each view */
    uint64_t total_len;

    struct mlp_hash_plan *plan;
    struct mlp_pool_job *job; /* NULL: it was hashed at once */
    size_t kept_len;          /* of the bound, while HASHING */

    pthread_mutex_t mutex; /* guards state, and the step out of HASHING */
    int state;
    int status; /* of a ticket that is DONE or FAILED; error says more */
    struct mlp_error error;
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

/* ---- the step out of HASHING ---- */

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
        ticket->status = mlp_hash_plan_finish(ticket->plan, &ticket->error);
        leave_hashing(ticket, ticket->status == MLP_OK ? MLP_TICKET_DONE : MLP_TICKET_FAILED);
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

static int check_views(struct mlp_ticket *ticket, size_t *failed, struct mlp_error *error)
{
    for (size_t i = 0; i < ticket->views->count; i++) {
        struct mlp_view view;
        mlp_view_set_get(&view, ticket->views, i);
        ticket->total_len += ticket->views->lens[i];
        if (view.stage == NULL)
            continue;
        *failed = i;
        return mlp_fail(error, MLP_E_ARGUMENT, "a ticket takes no tensor that must be staged");
    }
    return MLP_OK;
}

/* Whether the bytes of a BOOL view are 0 and 1 is read from them, which is a worker's work: unread. */
static int make_plan(struct mlp_ticket *ticket, struct mlp_error *error)
{
    size_t count = ticket->views->count;
    ticket->request.digests = calloc(count + 1, ticket->digest_len); /* calloc(0) may be NULL */
    if (ticket->request.digests == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to queue %zu tensors", count);
    int status = mlp_tensor_inputs_new(&ticket->inputs, ticket->views, true, error);
    if (status != MLP_OK)
        return status;
    return mlp_hash_plan_new(&ticket->plan, &ticket->request, ticket->inputs, count,
                             mlp_pool_threads(), error);
}

static size_t own_len(const struct mlp_ticket *ticket)
{
    size_t count = ticket->views->count;
    return sizeof *ticket + count * ticket->digest_len +
           mlp_tensor_inputs_size(ticket->inputs, count) + mlp_hash_plan_size(ticket->plan);
}

static void run_task(void *plan, size_t index)
{
    mlp_hash_plan_run(plan, index);
}

static void hash_at_once(struct mlp_ticket *ticket)
{
    mlp_pool_run(run_task, ticket->plan, mlp_hash_plan_tasks(ticket->plan),
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
    if (mlp_pool_submit(&ticket->job, run_task, ticket->plan, mlp_hash_plan_tasks(ticket->plan),
                        threads, NULL) != 0)
        hash_at_once(ticket);
}

static void free_memory(struct mlp_ticket *ticket)
{
    mlp_hash_plan_free(ticket->plan);
    mlp_tensor_inputs_free(ticket->inputs, ticket->views->count);
    free(ticket->request.digests);
    free(ticket);
}

int mlp_ticket_new(struct mlp_ticket **ticket_out, const struct mlp_view_set *views,
                   const struct mlp_ticket_options *options, size_t *failed,
                   struct mlp_error *error)
{
    size_t ignored;
    if (failed == NULL)
        failed = &ignored;
    *failed = views->count;
    if (mlp_algorithm_digest_len(options->algorithm) == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "unknown digest algorithm %d", options->algorithm);
    struct mlp_ticket *ticket = calloc(1, sizeof *ticket);
    if (ticket == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to queue %zu tensors", views->count);
    ticket->process = getpid();
    ticket->request.algorithm = options->algorithm;
    ticket->digest_len = mlp_algorithm_digest_len(options->algorithm);
    ticket->views = views;
    ticket->state = MLP_TICKET_HASHING;

    int status = check_views(ticket, failed, error);
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

int mlp_ticket_wait(struct mlp_ticket *ticket, bool *done, long timeout_ms, struct mlp_error *error)
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
                        ticket->views->count);
    if (ticket->status != MLP_OK && error != NULL)
        *error = ticket->error;
    return ticket->status;
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
    size_t count = ticket->views->count;
    uint8_t *again = calloc(count + 1, ticket->digest_len);
    if (again == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to hash %zu tensors again", count);
    const struct mlp_hash_request request = {ticket->request.algorithm, again};
    status = mlp_tensor_digest_many(&request, 1, ticket->views, 0, NULL, error);
    for (size_t i = 0; status == MLP_OK && i < count; i++) {
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
