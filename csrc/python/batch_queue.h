/* batch_queue.h - small batches that wait to be hashed together, and lists of indices.
 *
 * A step of torch leaves nothing of the hash in the processor's caches: a batch of 16 KiB hashed
 * between two steps costs them 25 us, of which hashing is 3 [measured]. A copy of it costs 5, and
 * of sixteen that are hashed in one call only the first meets cold caches. The copy is what the batch
 * was when the loader gave it, whatever the loop does with it.
 *
 * Only tensors whose canonical bytes lie in memory as they are wait here (tensor/canonical.h).
 *
 * Threads: one at a time.
 */
#ifndef MLP_PYTHON_BATCH_QUEUE_H
#define MLP_PYTHON_BATCH_QUEUE_H

#include "python/batch_leaf.h"

#define MLP_PY_QUEUE_LEN_MAX     163840 /* of tensors. [measured: up to 512 KiB the same] */
#define MLP_PY_QUEUE_BATCHES_MAX 64
#define MLP_PY_QUEUE_VIEWS_MAX   256

struct mlp_stream;

/* Zero-initialised, or made by the first mlp_py_batch_queue_add; mlp_py_batch_queue_clear releases. */
struct mlp_py_batch_queue {
    size_t count; /* of batches */
    int algorithm;
    uint8_t *bytes; /* canonical bytes of all tensors, each from a cache line on */
    size_t bytes_len;
    struct mlp_view_set views; /* of bytes */
    struct mlp_buffer text;
    size_t appended; /* of the batches: those before a failure */
    struct {
        const char *member; /* "items" or "indices" */
        size_t text_end, views_end;
    } batches[MLP_PY_QUEUE_BATCHES_MAX];
    size_t gaps[MLP_PY_QUEUE_VIEWS_MAX]; /* where in the text of its batch each view stands */
};

/* How many batches are not in the stream yet. */
static inline size_t mlp_py_batch_queue_waiting(const struct mlp_py_batch_queue *queue)
{
    return queue->count - queue->appended;
}

/* Whether a batch might find no room: mlp_py_batch_queue_drain comes first. */
bool mlp_py_batch_queue_is_full(const struct mlp_py_batch_queue *queue, int algorithm);

/* Copies a batch that was walked; the queue is not full.
 * In:      most: bytes that its tensors may have together.
 * Out:     batch: samples and len.
 * Threads: with the GIL held.
 * Returns: 1; 0 where it cannot wait here, whatever the reason; -1 with an exception set that is
 *          none of the batch's (KeyboardInterrupt). But for 1 the queue is as it was.
 */
int mlp_py_batch_queue_add(struct mlp_py_batch_queue *queue, struct mlp_py_state *state,
                           struct mlp_py_batch *batch, int algorithm, uint64_t most);

/* Adds a list of indices (mlp_py_index_text); the queue is not full.
 * Threads: with the GIL held.
 * Returns: as mlp_py_index_text.
 */
int mlp_py_batch_queue_add_indices(struct mlp_py_batch_queue *queue, PyObject *indices);

/* Hashes what waits and appends the leaves, in order.
 * Threads: without the GIL.
 * Returns: 0 and nothing waits any more; or as mlp_tensor_digest_many, mlp_py_batch_write or
 *          mlp_stream_append: what was not appended still waits.
 */
int mlp_py_batch_queue_drain(struct mlp_py_batch_queue *queue, struct mlp_stream *stream,
                             struct mlp_error *error);

void mlp_py_batch_queue_clear(struct mlp_py_batch_queue *queue);

#endif
