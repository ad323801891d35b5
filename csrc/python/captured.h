/* captured.h - tensors that a ticket hashes, held until nobody reads them any more.
 *
 * A tensor that workers read while Python goes on is held with its storage and its memory
 * (torch/bridge.h, keep_memory), and its version counter and address are noted. What cannot be held
 * so is hashed before mlp_py_captured_new returns: arrays, tensors without a counter (inference
 * tensors), in device memory, in memory with an owner of its own, and all tensors where the bridge
 * stepped aside.
 *
 * Threads: with the GIL held.
 */
#ifndef MLP_PYTHON_CAPTURED_H
#define MLP_PYTHON_CAPTURED_H

#include "capture/ticket.h"
#include "python/module.h"

struct mlp_py_captured; /* opaque, heap */

/* In:      items: a tuple of tensors and arrays; composites are refused, as by tensor_digests.
 *          threads: workers while nobody waits; 0: as the pool says.
 * Returns: the captured tensors, or NULL with an exception set.
 */
struct mlp_py_captured *mlp_py_captured_new(struct mlp_py_state *state, PyObject *items,
                                            int algorithm, size_t threads);

size_t mlp_py_captured_count(const struct mlp_py_captured *captured);

/* How many are hashed beside the caller; 0: all were hashed before mlp_py_captured_new returned. */
size_t mlp_py_captured_beside(const struct mlp_py_captured *captured);

/* How many bytes those have. */
uint64_t mlp_py_captured_beside_len(const struct mlp_py_captured *captured);

/* The ticket of those; NULL where there are none. */
struct mlp_ticket *mlp_py_captured_ticket(const struct mlp_py_captured *captured);

/* The answer of a ticket that is done: rows as those of tensor_digests, with None for a tensor that
 * changed under capture: its counter or its address is another one now, or, with recheck, its digest.
 * The GIL is released while tensors are hashed again.
 * Out:     rows: a list; changed: a tuple of indices. New references.
 * Returns: 0, or -1 with an exception set.
 */
int mlp_py_captured_answer(struct mlp_py_state *state, struct mlp_py_captured *captured,
                           bool recheck, PyObject **rows, PyObject **changed);

/* Lets go of the tensors, which may run Python code. Where a worker is still inside after a moment
 * (a huge tensor, or one that the algorithm cannot cut), they are kept and let go by a later call of this function
 * or of mlp_py_captured_new. NULL is allowed.
 */
void mlp_py_captured_free(struct mlp_py_state *state, struct mlp_py_captured *captured);

#endif
