/* ethereum.h - what the files of the Ethereum binding share: intents and addresses.
 *
 * Every function answers 0, or -1 with an exception set (arguments.h).
 *
 * Threads: with the GIL held.
 */
#ifndef MLP_PYTHON_ETHEREUM_H
#define MLP_PYTHON_ETHEREUM_H

#include "anchor/ethereum_transaction.h"
#include "python/arguments.h"

/* Holds the buffer of the data; release also after a failure. */
struct mlp_py_intent {
    struct mlp_ethereum_intent intent;
    Py_buffer data;
};

/* object: the tuple of mlprov/_core.pyi, _Intent. */
int mlp_py_intent(struct mlp_py_state *state, struct mlp_py_intent *read, PyObject *object);
/* Returns: a new tuple of that form; NULL with an exception set. */
PyObject *mlp_py_intent_tuple(const struct mlp_ethereum_intent *intent);
void mlp_py_intent_release(struct mlp_py_intent *read);

/* object: a str; ValueError where it is no address or its checksum is wrong. */
int mlp_py_address(struct mlp_py_state *state, uint8_t address20[20], PyObject *object,
                   const char *what);

/* The key of an EthereumKey, which lives as long as object; NULL where object is none (no exception). */
const struct mlp_ethereum_key *mlp_py_ethereum_key_of(struct mlp_py_state *state, PyObject *object);

/* Returns: a new str in the case of EIP-55. */
PyObject *mlp_py_address_text(const uint8_t address20[20]);

#endif
