/* signer_callback.h - a callable as signer: mlprov/ethereum_signers.py.
 *
 * It is called on worker threads with the GIL taken. What it raises is turned into an error of the
 * anchor, and never reaches the program's own threads.
 */
#ifndef MLP_PYTHON_SIGNER_CALLBACK_H
#define MLP_PYTHON_SIGNER_CALLBACK_H

#include "anchor/ethereum_signer.h"
#include "python/arguments.h"

/* In:      callable: (intent, account, digest) -> bytes, or (whether later may do, text).
 * Returns: 0 (holds callable until the signer is freed), or -1 with an exception set.
 * Threads: with the GIL held.
 */
int mlp_py_signer_of_callable(struct mlp_py_state *state, struct mlp_ethereum_signer **signer,
                              PyObject *callable);

#endif
