/* endpoints.h - the endpoints of anchors, read from the tuples of mlprov/_core.pyi, _Endpoint.
 *
 * Threads: with the GIL held.
 */
#ifndef MLP_PYTHON_ENDPOINTS_H
#define MLP_PYTHON_ENDPOINTS_H

#include "anchor/workers.h"
#include "python/arguments.h"

#define MLP_PY_HEADERS_MAX 8

/* Points into the objects that were read, and owns signers. Zero-initialise; release also after a
 * failure. */
struct mlp_py_endpoints {
    struct mlp_anchor_endpoint items[MLP_WORKERS_MAX];
    const char *headers[MLP_WORKERS_MAX][MLP_PY_HEADERS_MAX];
    size_t count;
};

/* items: a tuple of tuples. Returns: 0, or -1 with an exception set. */
int mlp_py_endpoints_read(struct mlp_py_state *state, struct mlp_py_endpoints *endpoints,
                          PyObject *items);
void mlp_py_endpoints_release(struct mlp_py_endpoints *endpoints);

/* A text without NUL that lives as long as object; NULL with an exception set. */
const char *mlp_py_plain_text(PyObject *object, const char *what);

#endif
