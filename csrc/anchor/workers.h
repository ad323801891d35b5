/* workers.h - threads that deliver what is in a store's outbox, one for each kind of anchor.
 *
 * A worker has its own database connection and its own HTTP client. It sleeps on a condition until it is
 * handed something or something is due; no mutex of ours is held across disk or network. Training hands
 * over by setting a flag: the worker itself enters pending heads into the store log, plans an intent for
 * its checkpoint, and delivers it.
 *
 * Threads: any may call what is here. Workers block all signals.
 * Fork: the child has no workers: calls there do nothing, and answer as if all had ended.
 * Exit: workers that run at exit() are told to end and waited for at most a second. What is not
 * delivered stays in the outbox.
 */
#ifndef MLP_ANCHOR_WORKERS_H
#define MLP_ANCHOR_WORKERS_H

#include "anchor/anchor.h"

struct mlp_workers; /* opaque, heap */

#define MLP_WORKERS_MAX 16

/* Starts a worker for each endpoint. Nothing of what is passed is kept.
 * In:      store_path: of a store that exists.
 *          every_ms: at least so long between two checkpoints that are anchored; 0: each.
 * Returns: 0 (mlp_workers_stop); MLP_E_ARGUMENT (none, or more than MLP_WORKERS_MAX); MLP_E_MEMORY (or
 *          the system gave no thread).
 */
int mlp_workers_start(struct mlp_workers **workers, const char *store_path,
                      const struct mlp_anchor_endpoint *endpoints, size_t endpoints_count,
                      int64_t every_ms, struct mlp_error *error);

/* There is something new in the store. Returns at once: no disk, no network.
 * In:      at_once: do not wait for every_ms to pass. */
void mlp_workers_hand_over(struct mlp_workers *workers, bool at_once);

/* Waits until no worker has anything to do now (what failed waits for its time), or timeout_ms.
 * Returns: whether that is so.
 */
bool mlp_workers_wait(struct mlp_workers *workers, long timeout_ms);

/* Ends requests under way, wakes the workers, and waits for their end at most timeout_ms. The handle is
 * gone afterwards; a worker that still hangs (in a disk, say) cleans up when it comes back.
 * Returns: whether all have ended.
 */
bool mlp_workers_stop(struct mlp_workers *workers, long timeout_ms);

#endif
