/* bridge.h - what mlprov._torch offers to mlprov._core: C function pointers in a capsule.
 *
 * mlprov._torch is the only part that is compiled against libtorch. It links no core code; this
 * struct is the whole contract between the two, and its version says whether they fit. C++
 * exceptions end inside the functions.
 *
 * Threads: with the GIL held. A view's stage callback runs without it.
 */
#ifndef MLP_TORCH_BRIDGE_H
#define MLP_TORCH_BRIDGE_H

#include "tensor/view.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MLP_TORCH_BRIDGE_MODULE  "mlprov._torch"
#define MLP_TORCH_BRIDGE_NAME    "mlprov._torch.bridge" /* attribute "bridge" of the module */
#define MLP_TORCH_BRIDGE_VERSION 3u

/* What tells that somebody wrote a tensor or gave it other memory. That it stays the same proves
 * nothing: fused optimizers, `.data` and NumPy views write without counting. */
struct mlp_torch_state {
    int version_known; /* 0: the tensor has no counter (inference tensors) */
    uint64_t version;
    const void *data; /* where its first element lies */
};

struct mlp_torch_bridge {
    uint32_t version;          /* MLP_TORCH_BRIDGE_VERSION */
    uint32_t bridge_len;       /* sizeof(struct mlp_torch_bridge) */
    uint32_t view_len;         /* sizeof(struct mlp_view): both sides have the same header */
    const char *torch_version; /* the release that this was built against */

    /* Whether object (a PyObject *) is a torch tensor: 1 or 0. Never fails. */
    int (*is_tensor)(void *object);

    /* staged: 1 makes a tensor in host memory take the path of device tensors (for tests and
     * doctor). Fills view and *held (the tensor and its storage, kept alive until release); view
     * is of no use after a failure.
     * Returns: 0, MLP_E_TENSOR (meta, fake, functional, wrapper without storage; a layout that has
     *          parts: sparse, quantised, nested, mkldnn; more than 64 dimensions), MLP_E_MEMORY.
     */
    int (*view)(void *object, int staged, struct mlp_view *view, void **held,
                struct mlp_error *error);

    void (*release)(void *held); /* NULL is allowed */

    /* The state of a held tensor now. */
    void (*state_now)(const void *held, struct mlp_torch_state *state);

    /* Keeps the memory of a held tensor readable until release, also where its storage is resized or
     * moved meanwhile.
     * Returns: 1, or 0 where that cannot be had (memory with an owner of its own, which the storage
     *          may drop; no memory for the bookkeeping).
     */
    int (*keep_memory)(void *held);
};

#ifdef __cplusplus
}
#endif

#endif
