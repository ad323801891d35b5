#include "python/held_views.h"

#include "python/arguments.h"

static int make_room(struct mlp_py_state *state, struct mlp_py_held_views *held, size_t count,
                     bool aliases)
{
    struct mlp_error error;
    if (mlp_view_set_init(&held->set, count, aliases, &error) != 0) {
        mlp_py_raise(&state->exceptions, &error);
        return -1;
    }
    held->refs = PyMem_Malloc((count + 1) * sizeof *held->refs);
    held->places = PyMem_Malloc((count + 1) * sizeof *held->places);
    if (held->refs != NULL && held->places != NULL)
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* A stage callback must run without the GIL, however little it copies. */
static void count_work(struct mlp_py_held_views *held, const struct mlp_view *view, uint64_t len)
{
    if (view->stage != NULL || len > MLP_PY_LONG_WORK - held->work_len)
        held->work_len = MLP_PY_LONG_WORK;
    else
        held->work_len += (size_t)len;
}

static int take_one(struct mlp_py_state *state, struct mlp_py_held_views *held, PyObject *item,
                    unsigned options)
{
    struct mlp_view view;
    struct mlp_error error;
    size_t index = held->count;
    int status = mlp_py_view_take(&state->view, item, options, &view, &held->refs[index], &error);
    if (status == 0) {
        held->count++;
        status = mlp_view_set_add(&held->set, &held->places[index], &view, &error);
    }
    if (status != 0) {
        mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)index);
        return -1;
    }
    count_work(held, &view, held->set.lens[held->places[index]]);
    return 0;
}

int mlp_py_held_views_take(struct mlp_py_state *state, struct mlp_py_held_views *held,
                           PyObject *items, bool aliases)
{
    size_t count = (size_t)PyTuple_Size(items);
    int result = make_room(state, held, count, aliases);
    for (size_t i = 0; i < count && result == 0; i++)
        result = take_one(state, held, PyTuple_GetItem(items, (Py_ssize_t)i), 0);
    return result;
}

int mlp_py_held_views_take_staged(struct mlp_py_state *state, struct mlp_py_held_views *held,
                                  PyObject *tensor)
{
    if (make_room(state, held, 1, false) != 0)
        return -1;
    return take_one(state, held, tensor, MLP_PY_VIEW_STAGED);
}

void mlp_py_held_views_release(struct mlp_py_held_views *held)
{
    for (size_t i = 0; i < held->count; i++)
        mlp_py_refs_release(&held->refs[i]);
    PyMem_Free(held->refs);
    PyMem_Free(held->places);
    mlp_view_set_clear(&held->set);
    memset(held, 0, sizeof *held);
}

PyObject *mlp_py_digest_row(const struct mlp_view_set *set, size_t index, const uint8_t *digest,
                            size_t digest_len)
{
    struct mlp_view view;
    char dtype[MLP_DTYPE_NAME_MAX];
    int64_t shape[MLP_VIEW_DIMS_MAX];
    mlp_view_set_get(&view, set, index);
    mlp_view_dtype_name(dtype, &view);
    int ndim = mlp_view_leaf_shape(shape, &view);
    return Py_BuildValue("NsNK", mlp_py_bytes(digest, digest_len), dtype,
                         mlp_py_numbers_to_tuple(shape, ndim),
                         (unsigned long long)set->lens[index]);
}

int mlp_py_has_view(struct mlp_py_state *state, PyObject *object)
{
    struct mlp_py_view held;
    int status = mlp_py_view_from_object(&state->view, object, 0, &held, NULL);
    if (status == 0)
        mlp_py_view_release(&held);
    return status == 0 ? 1 : status == MLP_PY_RAISED || status == MLP_E_MEMORY ? -1 : 0;
}

int mlp_py_tensor_items(struct mlp_py_state *state, PyObject **items, PyObject *sequence,
                        const char *what)
{
    if (PyObject_CheckBuffer(sequence) || PyObject_HasAttr(sequence, state->view.names.dlpack)) {
        PyErr_Format(PyExc_TypeError, "%s must be a list of tensors, not %R: write [tensor]", what,
                     (PyObject *)Py_TYPE(sequence));
        return -1;
    }
    return mlp_py_items(items, sequence, what);
}
