/* view_torch.c - torch tensors: through mlprov._torch where it fits the torch that is loaded,
 * otherwise through DLPack with torch's own attributes. torch is never imported here. */
#include "python/view_paths.h"

#include "torch/bridge.h"

#include <stdio.h>
#include <string.h>

/* ---- finding the bridge ---- */

/* What the import said, kept for errors and for doctor. */
static void keep_refusal(struct mlp_py_view_state *state, PyObject *text)
{
    PyErr_Clear();
    Py_XDECREF(state->bridge_refusal);
    state->bridge_refusal = text;
}

static void keep_exception(struct mlp_py_view_state *state)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    keep_refusal(state, value != NULL ? PyObject_Str(value) : NULL);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* Tried once, when torch is loaded: a bridge that cannot be had stays away for this process. */
static void ask_for_bridge(struct mlp_py_view_state *state)
{
    state->bridge_asked = 1;
    PyObject *module = PyImport_ImportModule(MLP_TORCH_BRIDGE_MODULE);
    PyObject *capsule = module != NULL ? PyObject_GetAttrString(module, "bridge") : NULL;
    Py_XDECREF(module);
    const struct mlp_torch_bridge *bridge =
        capsule != NULL ? PyCapsule_GetPointer(capsule, MLP_TORCH_BRIDGE_NAME) : NULL;
    if (bridge == NULL) {
        Py_XDECREF(capsule);
        keep_exception(state);
        return;
    }
    if (bridge->version != MLP_TORCH_BRIDGE_VERSION || bridge->bridge_len != sizeof *bridge ||
        bridge->view_len != sizeof(struct mlp_view)) {
        keep_refusal(state, PyUnicode_FromFormat(
                                "mlprov._torch speaks version %u of the bridge, mlprov._core %u: "
                                "build mlprov again",
                                (unsigned)bridge->version, MLP_TORCH_BRIDGE_VERSION));
        Py_DECREF(capsule);
        return;
    }
    state->bridge = bridge;
    state->bridge_capsule = capsule;
}

/* Returns: torch, if it is loaded as far as its tensor class (not while it is being imported). */
static PyObject *loaded_torch(const struct mlp_py_names *names)
{
    PyObject *torch = mlp_py_loaded_module(names->torch);
    if (torch == NULL)
        return NULL;
    PyObject *tensor = PyObject_GetAttr(torch, names->tensor);
    PyObject *version = PyObject_GetAttr(torch, names->version_text);
    PyErr_Clear();
    int complete = tensor != NULL && version != NULL;
    Py_XDECREF(tensor);
    Py_XDECREF(version);
    if (complete)
        return torch;
    Py_DECREF(torch);
    return NULL;
}

const char *mlp_py_view_torch_release(struct mlp_py_view_state *state)
{
    PyObject *torch = state->bridge_asked ? NULL : loaded_torch(&state->names);
    if (torch != NULL)
        ask_for_bridge(state);
    Py_XDECREF(torch);
    return state->bridge != NULL ? state->bridge->torch_version : NULL;
}

PyObject *mlp_py_view_describe(struct mlp_py_view_state *state)
{
    const char *release = mlp_py_view_torch_release(state);
    if (release != NULL)
        return PyUnicode_FromFormat("in use, built for torch %s", release);
    if (!state->bridge_asked)
        return PyUnicode_FromString("not needed: torch is not loaded");
    if (state->bridge_refusal == NULL)
        return PyUnicode_FromString("stepped aside, torch tensors go through DLPack");
    return PyUnicode_FromFormat("stepped aside, torch tensors go through DLPack: %U",
                                state->bridge_refusal);
}

int mlp_py_view_state_init(struct mlp_py_view_state *state)
{
    return mlp_py_names_init(&state->names);
}

int mlp_py_view_state_traverse(struct mlp_py_view_state *state, visitproc visit, void *arg)
{
    Py_VISIT(state->bridge_capsule);
    Py_VISIT(state->bridge_refusal);
    Py_VISIT(state->ndarray);
    return 0;
}

void mlp_py_view_state_clear(struct mlp_py_view_state *state)
{
    state->bridge = NULL;
    Py_CLEAR(state->bridge_capsule);
    Py_CLEAR(state->bridge_refusal);
    Py_CLEAR(state->ndarray);
    mlp_py_names_clear(&state->names);
}

/* ---- without the bridge ---- */

/* object.method() is true. Returns: 1, 0, or -1 with an exception set. */
static int is_true(PyObject *object, PyObject *method)
{
    PyObject *answer = PyObject_CallMethodObjArgs(object, method, NULL);
    if (answer == NULL)
        return -1;
    int truth = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return truth;
}

static int attribute_is_true(PyObject *object, PyObject *attribute)
{
    PyObject *answer = PyObject_GetAttr(object, attribute);
    if (answer == NULL)
        return -1;
    int truth = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return truth;
}

/* Replaces *tensor by tensor.method(). Returns: 0, or -1 with an exception set. */
static int replace_by(PyObject **tensor, PyObject *method)
{
    PyObject *result = PyObject_CallMethodObjArgs(*tensor, method, NULL);
    if (result == NULL)
        return -1;
    Py_DECREF(*tensor);
    *tensor = result;
    return 0;
}

/* Only strided tensors with values. */
static int refuse_by_attributes(const struct mlp_py_names *names, PyObject *object,
                                struct mlp_error *error)
{
    char layout[48];
    int meta = attribute_is_true(object, names->is_meta);
    int quantized = meta < 0 ? -1 : attribute_is_true(object, names->is_quantized);
    int nested = quantized < 0 ? -1 : attribute_is_true(object, names->is_nested);
    if (nested < 0 || mlp_py_attribute_text(layout, sizeof layout, object, names->layout) != 0)
        return mlp_py_tensor_failure(error, object, "reading its attributes");
    if (meta)
        return mlp_fail(error, MLP_E_TENSOR,
                        "a tensor on the meta device has no values: load or initialise it first");
    if (quantized || nested || strcmp(layout, "torch.strided") != 0)
        return mlp_fail(error, MLP_E_TENSOR,
                        "a tensor of layout %s has parts, which are hashed one by one",
                        quantized ? "quantized"
                        : nested  ? "nested"
                                  : layout);
    return 0;
}

/* The same bits as an integer type that DLPack has; 16-byte complex is one that it has. */
static int view_as_integers(PyObject **tensor, const struct mlp_py_names *names, PyObject *torch,
                            size_t item_len)
{
    PyObject *name = item_len == 1   ? names->uint8
                     : item_len == 2 ? names->int16
                     : item_len == 4 ? names->int32
                     : item_len == 8 ? names->int64
                                     : NULL;
    if (name == NULL)
        return 0;
    PyObject *type = PyObject_GetAttr(torch, name);
    PyObject *result =
        type != NULL ? PyObject_CallMethodObjArgs(*tensor, names->view, type, NULL) : NULL;
    Py_XDECREF(type);
    if (result == NULL)
        return -1;
    Py_DECREF(*tensor);
    *tensor = result;
    return 0;
}

/* Takes autograd and the pending bits off *tensor; the core resolves the bits. */
static int bare_tensor(PyObject **tensor, const struct mlp_py_names *names, PyObject *torch,
                       struct mlp_view *view)
{
    int conj;
    int neg;
    if (replace_by(tensor, names->detach) != 0 || (conj = is_true(*tensor, names->is_conj)) < 0)
        return -1;
    if (conj && replace_by(tensor, names->conj) != 0)
        return -1;
    if ((neg = is_true(*tensor, names->is_neg)) < 0 ||
        (neg && replace_by(tensor, names->neg_view) != 0))
        return -1;
    if (conj)
        view->flags |= MLP_VIEW_CONJ;
    if (neg)
        view->flags |= MLP_VIEW_NEG;
    return view_as_integers(tensor, names, torch, mlp_dtype_info(view->dtype)->item_len);
}

/* number = object.method(). Returns: 0, or -1 with an exception set. */
static int call_for_number(int64_t *number, PyObject *object, PyObject *method)
{
    PyObject *answer = PyObject_CallMethodObjArgs(object, method, NULL);
    if (answer == NULL)
        return -1;
    *number = PyLong_AsLongLong(answer);
    Py_DECREF(answer);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Fills in where the view lies in its storage. DLPack does not say how long that is, and
 * storage.resize_ can leave elements outside it: refused. */
static int place_in_storage(const struct mlp_py_names *names, PyObject *tensor,
                            struct mlp_view *view, struct mlp_error *error)
{
    int64_t storage_len = 0;
    int64_t first = 0;
    uint64_t count;
    PyObject *storage = PyObject_CallMethodObjArgs(tensor, names->untyped_storage, NULL);
    int status = storage != NULL ? call_for_number(&storage_len, storage, names->nbytes) : -1;
    Py_XDECREF(storage);
    if (status != 0 || call_for_number(&first, tensor, names->storage_offset) != 0)
        return mlp_py_tensor_failure(error, tensor, "asking for its storage");
    status = mlp_view_check(view, error); /* offsets fit int64_t */
    if (status != 0 || mlp_view_count(&count, view, error) != 0 || count == 0)
        return status;
    view->storage_offset = first * (int64_t)view->item_len;
    view->storage = (const uint8_t *)view->data - view->storage_offset;
    int64_t end = (first + 1) * (int64_t)view->item_len;
    for (int i = 0; i < view->ndim; i++)
        end += (view->shape[i] - 1) * view->strides[i];
    if (end > storage_len)
        return mlp_fail(error, MLP_E_TENSOR,
                        "a tensor that reaches to byte %lld of a storage of %lld: the storage was "
                        "resized",
                        (long long)end, (long long)storage_len);
    return 0;
}

static void fill_version(struct mlp_view *view, const struct mlp_py_names *names, PyObject *object)
{
    PyObject *version = PyObject_GetAttr(object, names->version);
    if (version != NULL) {
        view->version = PyLong_AsUnsignedLongLong(version);
        view->version_known = !PyErr_Occurred();
        Py_DECREF(version);
    }
    PyErr_Clear(); /* inference tensors have none */
}

static int by_dlpack(const struct mlp_py_names *names, PyObject *object, PyObject *torch,
                     struct mlp_view *view, struct mlp_py_refs *refs, struct mlp_error *error)
{
    char name[48];
    struct mlp_view bits = {0};
    int status = refuse_by_attributes(names, object, error);
    if (status != 0)
        return status;
    if (mlp_py_attribute_text(name, sizeof name, object, names->dtype) != 0)
        return mlp_py_tensor_failure(error, object, "reading its dtype");
    const char *bare = strncmp(name, "torch.", 6) == 0 ? name + 6 : name;
    bits.dtype = mlp_dtype_from_torch(bare, strlen(bare));
    if (bits.dtype == MLP_DTYPE_NONE)
        return mlp_fail(error, MLP_E_TENSOR, "a tensor of dtype %s, which mlprov does not know",
                        name);
    refs->owner = Py_NewRef(object);
    refs->keeper = Py_NewRef(object);
    if (bare_tensor(&refs->keeper, names, torch, &bits) != 0)
        return mlp_py_tensor_failure(error, object, "taking it for DLPack");
    status = mlp_dlpack_take(names, refs->keeper, MLP_DTYPE_NONE, view, &refs->dlpack, error);
    if (status == 0)
        status = place_in_storage(names, refs->keeper, view, error);
    if (status != 0)
        return status;
    view->dtype = bits.dtype;
    view->flags = bits.flags;
    fill_version(view, names, object);
    return 0;
}

/* ---- the path ---- */

int mlp_py_view_torch(struct mlp_py_view_state *state, PyObject *object, unsigned options,
                      struct mlp_view *view, struct mlp_py_refs *refs, struct mlp_error *error)
{
    if (state->bridge != NULL) {
        if (!state->bridge->is_tensor(object))
            return MLP_PY_NOT_MINE;
        refs->bridge = state->bridge;
        refs->owner = Py_NewRef(object);
        return state->bridge->view(object, (options & MLP_PY_VIEW_STAGED) != 0, view,
                                   &refs->torch_held, error);
    }
    PyObject *torch = loaded_torch(&state->names);
    if (torch == NULL)
        return MLP_PY_NOT_MINE;
    if (!state->bridge_asked) {
        Py_DECREF(torch);
        ask_for_bridge(state);
        return mlp_py_view_torch(state, object, options, view, refs, error);
    }
    int status = MLP_PY_NOT_MINE;
    if (mlp_py_is_instance_of(object, torch, state->names.tensor)) {
        if ((options & MLP_PY_VIEW_STAGED) != 0)
            status = mlp_fail(error, MLP_E_TENSOR,
                              "a torch tensor cannot be staged without mlprov._torch");
        else
            status = by_dlpack(&state->names, object, torch, view, refs, error);
    }
    Py_DECREF(torch);
    return status;
}
