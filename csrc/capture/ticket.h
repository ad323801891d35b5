/* ticket.h - tensors that workers hash where they lie, while the thread that asked goes on.
 *
 * A ticket takes views; workers of the process's pool (hash/pool.h) hash them where they lie, and
 * no tensor is copied. Whoever is about to write the tensors waits for the ticket first: that is the barrier.
 * He takes part in what is left, on as many threads as the setting allows, and has the digests.
 * Writes that came before the barrier are the caller's to find out (versions, addresses);
 * mlp_ticket_recheck hashes again and says what differs now.
 *
 * States:  HASHING -> DONE, FAILED or CANCELLED, each of them final.
 * Bound:   tickets that are hashing keep at most MLP_TICKETS_KEPT_MAX bytes together beside the
 *          tensors: their lists, and what their callers say that they keep for them. One that finds
 *          no room is hashed before mlp_ticket_new returns, and counted (mlp_tickets_pressed).
 * Threads: any, several at once on one ticket, except mlp_ticket_free.
 * Ownership: what the views point to stays the caller's, alive and unmoved until mlp_ticket_cancel has
 *          said that nobody reads it, or mlp_ticket_free has returned; their set until the latter.
 * Fork:    a child's calls on its parent's ticket answer MLP_E_FORKED; freeing it frees its memory.
 * Exit:    workers leave between two tasks (hash/pool.h); a task is at most some MiB of a
 *          tensor (more of 128 GiB and above), and a whole tensor where the algorithm cannot be cut.
 */
#ifndef MLP_CAPTURE_TICKET_H
#define MLP_CAPTURE_TICKET_H

#include "tensor/view_set.h"

#define MLP_TICKETS_KEPT_MAX ((size_t)64 << 20)

/* Less is hashed before mlp_ticket_new returns: waking a worker takes longer [measured: 8-10 us]. */
#define MLP_TICKET_LEN_MIN ((uint64_t)64 << 10)

enum mlp_ticket_state {
    MLP_TICKET_HASHING = 1,
    MLP_TICKET_DONE,
    MLP_TICKET_FAILED,
    MLP_TICKET_CANCELLED,
};

struct mlp_ticket; /* opaque, heap */

struct mlp_ticket_options {
    int algorithm;   /* enum mlp_algorithm */
    size_t kept_len; /* bytes that the caller keeps for this ticket beside the tensors */
    size_t threads;  /* workers while nobody waits; 0: as mlp_pool_threads_beside says */
};

/* Queues the hashing of the views of a set. It is done before this returns where there is no worker to
 * leave it to (mlp_pool_threads_beside is 0), where it is less than MLP_TICKET_LEN_MIN, and where
 * the bound is reached.
 * In:      views: none of them staged; a staged one is hashed where its device is at hand.
 *          options: copied.
 * Out:     failed: the index of a view that cannot be hashed, views->count where it was none;
 *          may be NULL.
 * Returns: 0 (free with mlp_ticket_free); MLP_E_ARGUMENT (a staged view, an unknown algorithm);
 *          MLP_E_MEMORY. What hashing answers is mlp_ticket_wait's to say.
 */
int mlp_ticket_new(struct mlp_ticket **ticket, const struct mlp_view_set *views,
                   const struct mlp_ticket_options *options, size_t *failed,
                   struct mlp_error *error);

/* Takes part until the ticket is no longer HASHING.
 * In:      timeout_ms: gives up after so long, between two tasks; below 0: never.
 * Out:     done: false where time was up.
 * Returns: 0; MLP_E_CLOSED (it was cancelled); MLP_E_FORKED; or what the hashing returned (MLP_E_CRYPTO).
 */
int mlp_ticket_wait(struct mlp_ticket *ticket, bool *done, long timeout_ms,
                    struct mlp_error *error);

/* Returns: an enum mlp_ticket_state, or MLP_E_FORKED. Waits for nobody. */
int mlp_ticket_poll(struct mlp_ticket *ticket);

/* Whether the digests were there when mlp_ticket_new returned: nobody can have written meanwhile who
 * does not hold the tensors on another thread. */
bool mlp_ticket_was_at_once(const struct mlp_ticket *ticket);

/* Returns: a row for each view of a ticket that is DONE, valid until it is freed; NULL for any other.
 */
const uint8_t *mlp_ticket_digests(struct mlp_ticket *ticket);

/* Hashes the views of a ticket that is DONE once more, on as many threads as the setting allows.
 * Out:     changed: whether the digest of each view is another one now; untouched on failure.
 * Returns: 0; MLP_E_ARGUMENT (not DONE); MLP_E_FORKED; or as mlp_tensor_digest_many.
 */
int mlp_ticket_recheck(struct mlp_ticket *ticket, bool *changed, struct mlp_error *error);

/* Makes a ticket that is HASHING a CANCELLED one; what is done stays done. Waits at most timeout_ms for
 * the workers inside.
 * Returns: whether nobody reads the views any more.
 */
bool mlp_ticket_cancel(struct mlp_ticket *ticket, long timeout_ms);

/* Cancels, waits for the workers inside, frees. NULL is allowed. */
void mlp_ticket_free(struct mlp_ticket *ticket);

/* How many tickets the bound made wait for their own hashing, since the process began. */
size_t mlp_tickets_pressed(void);

/* How many bytes the tickets that are hashing now keep, of MLP_TICKETS_KEPT_MAX. */
size_t mlp_tickets_kept(void);

#endif
