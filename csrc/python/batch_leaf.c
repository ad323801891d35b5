#include "python/batch_leaf.h"

#include "codec/jcs.h"
#include "codec/json.h"
#include "hash/hash.h"
#include "python/arguments.h"
#include "tensor/digest.h"
#include "tensor/leaf.h"
#include "torch/bridge.h"

#define LEVELS_MAX   16      /* of 56 that a batch may have */
#define TEXT_LEN_MAX 1048576 /* of the 16 MiB that a leaf may have (docs/format.md section 1) */

/* ---- the walk: each function returns whether the value is plain ----
 *
 * No Python code of the batch runs; that of anything else may, in finalizers, whenever a list is
 * allocated and the garbage collector runs. So what is being walked is kept.
 */

static bool write_value(struct mlp_py_batch *batch, PyObject *value, int level);

/* value: borrowed; NULL, with or without an exception set, where its container was changed. */
static bool write_kept(struct mlp_py_batch *batch, PyObject *value, int level)
{
    if (value == NULL) {
        PyErr_Clear();
        return false;
    }
    PyObject *kept = Py_NewRef(value);
    bool plain = write_value(batch, kept, level);
    Py_DECREF(kept);
    return plain;
}

static bool write_text(struct mlp_py_batch *batch, PyObject *text)
{
    Py_ssize_t utf8_len;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &utf8_len);
    if (utf8 == NULL) { /* a lone surrogate */
        PyErr_Clear();
        return false;
    }
    return mlp_jcs_append_string(&batch->text, utf8, (size_t)utf8_len, NULL) == 0;
}

static bool write_integer(struct mlp_py_batch *batch, PyObject *integer)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(integer, &overflow);
    if (overflow != 0 || number > MLP_JSON_INTEGER_MAX || number < -MLP_JSON_INTEGER_MAX)
        return false;
    if (number < 0)
        mlp_buffer_append_text(&batch->text, "-");
    mlp_buffer_append_u64(&batch->text, (uint64_t)(number < 0 ? -number : number));
    return true;
}

static bool leave_gap(struct mlp_py_batch *batch, PyObject *source)
{
    if (batch->count == MLP_PY_BATCH_SOURCES_MAX)
        return false;
    batch->gaps[batch->count] = batch->text.len;
    batch->sources[batch->count++] = Py_NewRef(source);
    return true;
}

static bool write_list(struct mlp_py_batch *batch, PyObject *list, int level)
{
    bool is_list = PyList_CheckExact(list);
    Py_ssize_t count = is_list ? PyList_Size(list) : PyTuple_Size(list);
    mlp_buffer_append_text(&batch->text, "[");
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = is_list ? PyList_GetItem(list, i) : PyTuple_GetItem(list, i);
        if (i > 0)
            mlp_buffer_append_text(&batch->text, ",");
        if (!write_kept(batch, item, level + 1))
            return false;
    }
    mlp_buffer_append_text(&batch->text, "]");
    return true;
}

/* Of ASCII the order of characters is that of UTF-16 code units. A "$" in front would want another. */
static bool is_plain_key(PyObject *key)
{
    Py_ssize_t key_len;
    const char *text = PyUnicode_CheckExact(key) ? PyUnicode_AsUTF8AndSize(key, &key_len) : NULL;
    if (text == NULL) {
        PyErr_Clear();
        return false;
    }
    if (text[0] == '$')
        return false;
    for (Py_ssize_t i = 0; i < key_len; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte == 0 || byte >= 0x80)
            return false;
    }
    return true;
}

/* keys: a list that is sorted here, in the order of RFC 8785 section 3.2.3. */
static bool write_members(struct mlp_py_batch *batch, PyObject *dict, PyObject *keys, int level)
{
    Py_ssize_t count = PyList_Size(keys);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!is_plain_key(PyList_GetItem(keys, i)))
            return false;
    }
    if (PyList_Sort(keys) != 0) {
        PyErr_Clear();
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *key = PyList_GetItem(keys, i);
        PyObject *value = PyDict_GetItemWithError(dict, key);
        mlp_buffer_append_text(&batch->text, i > 0 ? "," : "");
        if (!write_text(batch, key))
            return false;
        mlp_buffer_append_text(&batch->text, ":");
        if (!write_kept(batch, value, level + 1))
            return false;
    }
    return true;
}

static bool write_dict(struct mlp_py_batch *batch, PyObject *dict, int level)
{
    PyObject *keys = PyDict_Keys(dict);
    mlp_buffer_append_text(&batch->text, "{");
    bool plain = keys != NULL && write_members(batch, dict, keys, level);
    mlp_buffer_append_text(&batch->text, "}");
    Py_XDECREF(keys);
    PyErr_Clear();
    return plain;
}

static bool is_array(const struct mlp_py_batch *batch, PyObject *value)
{
    const struct mlp_py_view_state *view = batch->view;
    return Py_IS_TYPE(value, (PyTypeObject *)view->ndarray) ||
           (view->bridge != NULL && view->bridge->is_tensor(value) != 0);
}

static bool write_value(struct mlp_py_batch *batch, PyObject *value, int level)
{
    if (level > LEVELS_MAX || batch->text.len > TEXT_LEN_MAX)
        return false;
    if (is_array(batch, value))
        return leave_gap(batch, value);
    if (PyUnicode_CheckExact(value))
        return write_text(batch, value);
    if (PyLong_CheckExact(value))
        return write_integer(batch, value);
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value))
        return write_list(batch, value, level);
    if (PyDict_CheckExact(value))
        return write_dict(batch, value, level);
    bool is_true = Py_IsTrue(value);
    if (!is_true && !Py_IsFalse(value) && !Py_IsNone(value))
        return false;
    mlp_buffer_append_text(&batch->text, is_true ? "true" : Py_IsNone(value) ? "null" : "false");
    return true;
}

/* The last text may be of any length: a leaf that no file takes would hold up all behind it. */
static bool is_written(struct mlp_py_batch *batch, PyObject *value)
{
    return write_value(batch, value, 0) && batch->text.len <= TEXT_LEN_MAX;
}

/* ---- hashing, and the leaf ---- */

/* A new tuple, or NULL with an exception set. */
static PyObject *sources_of(const struct mlp_py_batch *batch)
{
    PyObject *items = PyTuple_New((Py_ssize_t)batch->count);
    for (size_t i = 0; items != NULL && i < batch->count; i++) {
        if (PyTuple_SetItem(items, (Py_ssize_t)i, Py_NewRef(batch->sources[i])) != 0)
            Py_CLEAR(items);
    }
    return items;
}

/* What the tensors agree upon as their first dimension; -1: nothing. */
static int64_t samples_of(const struct mlp_py_batch *batch)
{
    int64_t samples = -1;
    for (size_t i = 0; i < batch->count; i++) {
        struct mlp_view view;
        int64_t shape[MLP_VIEW_DIMS_MAX];
        mlp_view_set_get(&view, &batch->held.set, batch->held.places[i]);
        if (mlp_view_leaf_shape(shape, &view) == 0)
            continue;
        if (samples >= 0 && shape[0] != samples)
            return -1;
        samples = shape[0];
    }
    return samples;
}

static int append_row(struct mlp_buffer *leaf, const struct mlp_view_set *views, size_t index,
                      const struct mlp_hash_request *request, struct mlp_error *error)
{
    struct mlp_view view;
    char dtype[MLP_DTYPE_NAME_MAX];
    int64_t shape[MLP_VIEW_DIMS_MAX];
    mlp_view_set_get(&view, views, index);
    mlp_view_dtype_name(dtype, &view);
    const struct mlp_tensor_leaf row = {
        .algorithm = request->algorithm,
        .digest = request->digests + index * mlp_algorithm_digest_len(request->algorithm),
        .dtype = dtype,
        .len = views->lens[index],
        .ndim = mlp_view_leaf_shape(shape, &view),
        .shape = shape,
    };
    mlp_buffer_append_text(leaf, "{\"$tensor\":");
    int status = mlp_tensor_leaf_append(leaf, &row, error);
    mlp_buffer_append_text(leaf, "}");
    return status;
}

static int append_items(struct mlp_buffer *leaf, const struct mlp_py_batch_form *form,
                        const struct mlp_hash_request *request, struct mlp_error *error)
{
    size_t written = 0;
    int status = 0;
    for (size_t i = 0; status == 0 && i < form->count; i++) {
        mlp_buffer_append(leaf, form->text + written, form->gaps[i] - written);
        written = form->gaps[i];
        status = append_row(leaf, form->views, form->first + i, request, error);
    }
    if (status == 0 && written < form->text_len)
        mlp_buffer_append(leaf, form->text + written, form->text_len - written);
    return status;
}

int mlp_py_batch_write(struct mlp_buffer *leaf, const struct mlp_py_batch_form *form,
                       uint64_t number, const struct mlp_hash_request *request,
                       struct mlp_error *error)
{
    mlp_buffer_append_text(leaf, "{\"batch\":");
    mlp_buffer_append_u64(leaf, number);
    mlp_buffer_append_text(leaf, ",\"");
    mlp_buffer_append_text(leaf, form->member);
    mlp_buffer_append_text(leaf, "\":");
    int status = append_items(leaf, form, request, error);
    mlp_buffer_append_text(leaf, "}");
    if (status == 0 && mlp_buffer_status(leaf) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "no memory to write the leaf of a batch");
    return status;
}

/* ---- the steps ---- */

bool mlp_py_batch_walk(struct mlp_py_state *state, struct mlp_py_batch *batch, PyObject *value)
{
    memset(batch, 0, offsetof(struct mlp_py_batch, gaps));
    (void)mlp_py_view_torch_release(&state->view); /* the bridge, once torch is loaded */
    batch->view = &state->view;
    return is_written(batch, value) && mlp_buffer_status(&batch->text) == 0;
}

int mlp_py_batch_hold(struct mlp_py_state *state, struct mlp_py_batch *batch)
{
    PyObject *items = sources_of(batch);
    if (items == NULL)
        return -1;
    int result = mlp_py_held_views_take(state, &batch->held, items, false);
    Py_DECREF(items);
    if (result != 0) { /* a composite, or what has no values */
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        PyErr_Clear();
        return 0;
    }
    batch->samples = samples_of(batch);
    batch->len = 0;
    for (size_t i = 0; i < batch->held.set.count; i++)
        batch->len += batch->held.set.lens[i];
    return batch->samples >= 0;
}

int mlp_py_batch_hash(struct mlp_buffer *leaf, const struct mlp_py_batch *batch, uint64_t number,
                      int algorithm, struct mlp_error *error)
{
    uint8_t digests[MLP_PY_BATCH_SOURCES_MAX * MLP_HASH_MAX_LEN];
    const struct mlp_hash_request request = {algorithm, digests};
    const struct mlp_py_batch_form form = {
        .member = "items",
        .text = batch->text.data,
        .text_len = batch->text.len,
        .gaps = batch->gaps,
        .count = batch->count,
        .views = &batch->held.set, /* of each tensor one: aliases were not asked for */
    };
    int status = mlp_tensor_digest_many(&request, 1, &batch->held.set, 0, NULL, error);
    return status == 0 ? mlp_py_batch_write(leaf, &form, number, &request, error) : status;
}

int mlp_py_index_text(struct mlp_buffer *text, PyObject *indices)
{
    const struct mlp_py_view_state no_arrays = {0};
    struct mlp_py_batch list;
    memset(&list, 0, offsetof(struct mlp_py_batch, gaps));
    list.view = &no_arrays;
    int plain = PyList_CheckExact(indices) && is_written(&list, indices);
    if (plain)
        mlp_buffer_append(text, list.text.data, list.text.len);
    bool failed = mlp_buffer_status(&list.text) != 0 || mlp_buffer_status(text) != 0;
    mlp_buffer_clear(&list.text);
    if (!failed)
        return plain;
    PyErr_NoMemory();
    return -1;
}

void mlp_py_batch_release(struct mlp_py_batch *batch)
{
    mlp_py_held_views_release(&batch->held);
    for (size_t i = 0; i < batch->count; i++)
        Py_DECREF(batch->sources[i]);
    mlp_buffer_clear(&batch->text);
}
