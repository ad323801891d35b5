/* view.h - from a Python object to a struct mlp_view, by the cheapest path that keeps every bit.
 *
 * torch tensors: through mlprov._torch when it is built for the torch that is loaded, otherwise
 * through DLPack. NumPy arrays and scalars: their array interface (every dtype that NumPy has).
 * Everything else: DLPack where the type has it, then the buffer protocol. torch and NumPy are
 * never imported.
 *
 * Threads: with the GIL held; the view may then be hashed without it.
 * Ownership: *held keeps every reference and buffer until mlp_py_view_release, which needs the GIL.
 */
#ifndef MLP_PYTHON_VIEW_H
#define MLP_PYTHON_VIEW_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/status.h"
#include "python/dlpack.h"
#include "python/names.h"
#include "tensor/view.h"

struct mlp_torch_bridge;

/* Part of the module's state; zero-initialised. */
struct mlp_py_view_state {
    struct mlp_py_names names;
    const struct mlp_torch_bridge *bridge; /* of bridge_capsule */
    PyObject *bridge_capsule;
    PyObject *bridge_refusal; /* why mlprov._torch stepped aside: text for errors and for doctor */
    int bridge_asked;         /* torch was loaded and mlprov._torch was tried */
    PyObject *ndarray;        /* numpy.ndarray, once an array has been seen */
};

/* Returns: 0, or -1 with an exception set; clear in both cases. */
int mlp_py_view_state_init(struct mlp_py_view_state *state);
int mlp_py_view_state_traverse(struct mlp_py_view_state *state, visitproc visit, void *arg);
void mlp_py_view_state_clear(struct mlp_py_view_state *state);

/* Text for doctor: a new str, what the bridge does (in use; not needed, torch is not loaded;
 * stepped aside, with the reason). NULL with an exception on failure. Tries the bridge if torch is
 * loaded.
 */
PyObject *mlp_py_view_describe(struct mlp_py_view_state *state);

/* The torch release that the bridge in use was built for, or NULL while there is none (torch is not
 * loaded, or the bridge stepped aside). Tries the bridge if torch is loaded. No exception is set.
 */
const char *mlp_py_view_torch_release(struct mlp_py_view_state *state);

/* What keeps a view's memory: references and buffers. */
struct mlp_py_refs {
    PyObject *owner;          /* the object that owns the memory */
    PyObject *keeper;         /* a second reference, where one path needs it */
    Py_buffer *buffer;        /* on the heap: most tensors have none, and it is large */
    struct mlp_dlpack dlpack; /* a consumed DLPack tensor */
    void *torch_held;         /* tensor and storage, released through the bridge */
    const struct mlp_torch_bridge *bridge;
};

struct mlp_py_view {
    struct mlp_py_refs refs;
    struct mlp_view view;
};

/* A Python exception is set (TypeError for an object that is no tensor, KeyboardInterrupt, ...). */
#define MLP_PY_RAISED 1

#define MLP_PY_VIEW_STAGED 1u

/* Fills *held (which need not be initialised); nothing is held on failure.
 * In:      options: 0, or MLP_PY_VIEW_STAGED: a torch tensor in host memory goes through the stage
 *          callback as one on a device would; other objects, and torch without the bridge, are then
 *          refused.
 * Returns: 0; MLP_PY_RAISED; or a status with the detail in error and no exception set:
 *          MLP_E_TENSOR (no values; a sparse, quantised or nested tensor, to be split by
 *          mlprov._parts; a dtype without one meaning), MLP_E_MEMORY. The detail begins with what
 *          the object is ("a tensor on the meta device has no values"), so that a caller may put a
 *          name before it.
 */
int mlp_py_view_from_object(struct mlp_py_view_state *state, PyObject *object, unsigned options,
                            struct mlp_py_view *held, struct mlp_error *error);

/* The same without mlp_view_check, for callers whose next step is to put the view into a set, which
 * checks it.
 * Out:     view, refs: need not be initialised; nothing is held on failure.
 */
int mlp_py_view_take(struct mlp_py_view_state *state, PyObject *object, unsigned options,
                     struct mlp_view *view, struct mlp_py_refs *refs, struct mlp_error *error);

/* Release what is held; a second call does nothing. Keep a pending exception as it is. */
void mlp_py_view_release(struct mlp_py_view *held);
void mlp_py_refs_release(struct mlp_py_refs *refs);

#endif
