/* ipfs.h - how a file is cut, as an argument. */
#ifndef MLP_PYTHON_IPFS_H
#define MLP_PYTHON_IPFS_H

#include "codec/unixfs.h"
#include "python/module.h"

/* tuple: (chunk size, width, raw leaves, version of CIDs). Returns: 0, or -1 with an exception set. */
int mlp_py_unixfs(struct mlp_py_state *state, struct mlp_unixfs *unixfs, PyObject *tuple);

#endif
