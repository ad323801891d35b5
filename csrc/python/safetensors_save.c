/* safetensors_save.c - tensors written as a safetensors file, and its digests. */
#include "files/save.h"
#include "hash/hash.h"
#include "python/arguments.h"
#include "python/held_views.h"
#include "python/visit.h"
#include "tensor/safetensors_write.h"

#include <limits.h>

#define WHAT "save_safetensors: "

struct saving {
    PyObject *names, *tensors, *metadata; /* tuples; metadata: NULL: none is written */
    struct mlp_py_held_views held;
    struct mlp_safetensors_item *items; /* in the order of the file */
    int64_t *shapes;                    /* where theirs lie */
    size_t *order;
    struct mlp_safetensors_pair *pairs;
    struct mlp_buffer head;
    uint8_t *rows; /* digests of tensors, in the order of the file */
    uint8_t blake3[MLP_BLAKE3_OUT_LEN], sha256[MLP_HASH_MAX_LEN];
    int algorithm;
    size_t threads;
    uint64_t len;
};

static void clear(struct saving *saving)
{
    mlp_py_held_views_release(&saving->held);
    mlp_buffer_clear(&saving->head);
    PyMem_Free(saving->items);
    PyMem_Free(saving->shapes);
    PyMem_Free(saving->order);
    PyMem_Free(saving->pairs);
    PyMem_Free(saving->rows);
    Py_XDECREF(saving->names);
    Py_XDECREF(saving->tensors);
    Py_XDECREF(saving->metadata);
}

/* ---- what is written ---- */

static int read_pair(struct mlp_safetensors_pair *pair, PyObject *object)
{
    PyObject *key, *value;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, WHAT "metadata must be a list of tuples (key, value)");
        return -1;
    }
    if (!PyArg_ParseTuple(object, "OO;" WHAT "a pair of metadata must be (key, value)", &key,
                          &value) ||
        mlp_py_text(&pair->key, &pair->key_len, key, WHAT "a key of metadata") != 0)
        return -1;
    return mlp_py_text(&pair->value, &pair->value_len, value, WHAT "a value of metadata");
}

static int read_metadata(struct saving *saving, PyObject *object)
{
    if (object == NULL || Py_IsNone(object))
        return 0;
    if (mlp_py_items(&saving->metadata, object, WHAT "metadata") != 0)
        return -1;
    Py_ssize_t count = PyTuple_Size(saving->metadata);
    saving->pairs = PyMem_Calloc((size_t)count + 1, sizeof *saving->pairs);
    if (saving->pairs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (read_pair(&saving->pairs[i], PyTuple_GetItem(saving->metadata, i)) != 0)
            return -1;
    }
    return 0;
}

static int make_room(struct saving *saving, size_t count, size_t dims_count)
{
    saving->items = PyMem_Calloc(count + 1, sizeof *saving->items);
    saving->shapes = PyMem_Calloc(dims_count + 1, sizeof *saving->shapes);
    saving->order = PyMem_Calloc(count + 1, sizeof *saving->order);
    saving->rows = PyMem_Calloc(count + 1, mlp_algorithm_digest_len(saving->algorithm));
    if (saving->items != NULL && saving->shapes != NULL && saving->order != NULL &&
        saving->rows != NULL)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static size_t count_dims(const struct mlp_view_set *views)
{
    struct mlp_view view;
    size_t count = 0;
    for (size_t i = 0; i < views->count; i++) {
        mlp_view_set_get(&view, views, i);
        count += (size_t)view.ndim + 1; /* one more: of an F4 without dimensions */
    }
    return count;
}

/* shape: where the item's goes. Returns: its dimensions, or -1 with an exception set. */
static int read_item(struct mlp_py_state *state, struct saving *saving, size_t index,
                     int64_t *shape)
{
    struct mlp_safetensors_item *item = &saving->items[index];
    struct mlp_view view;
    struct mlp_error error;
    int64_t dims[MLP_VIEW_DIMS_MAX];
    PyObject *name = PyTuple_GetItem(saving->names, (Py_ssize_t)index);
    mlp_view_set_get(&view, &saving->held.set, index);
    if (mlp_py_text(&item->name, &item->name_len, name, WHAT "a name") != 0)
        return -1;
    item->dtype = view.dtype;
    item->ndim = mlp_view_leaf_shape(dims, &view);
    memcpy(shape, dims, (size_t)item->ndim * sizeof *shape);
    item->shape = shape;
    item->len = saving->held.set.lens[index];
    item->index = index;
    if (mlp_safetensors_check(item, &error) == 0)
        return item->ndim;
    mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)index);
    return -1;
}

static int read_items(struct mlp_py_state *state, struct saving *saving)
{
    const size_t count = saving->held.set.count;
    if (make_room(saving, count, count_dims(&saving->held.set)) != 0)
        return -1;
    int64_t *shape = saving->shapes;
    for (size_t i = 0; i < count; i++) {
        int ndim = read_item(state, saving, i, shape);
        if (ndim < 0)
            return -1;
        shape += ndim;
    }
    mlp_safetensors_sort(saving->items, count);
    for (size_t i = 0; i < count; i++)
        saving->order[i] = saving->items[i].index;
    return 0;
}

static int read_tensors(struct mlp_py_state *state, struct saving *saving, PyObject *names,
                        PyObject *tensors)
{
    if (mlp_py_items(&saving->names, names, WHAT "names") != 0 ||
        mlp_py_tensor_items(state, &saving->tensors, tensors, WHAT "tensors") != 0)
        return -1;
    if (PyTuple_Size(saving->names) != PyTuple_Size(saving->tensors)) {
        PyErr_Format(PyExc_TypeError, WHAT "%zd names, %zd tensors", PyTuple_Size(saving->names),
                     PyTuple_Size(saving->tensors));
        return -1;
    }
    if (mlp_py_held_views_take(state, &saving->held, saving->tensors, false) != 0)
        return -1;
    return read_items(state, saving);
}

static int make_head(struct mlp_py_state *state, struct saving *saving)
{
    struct mlp_error error;
    size_t pairs_count = saving->metadata != NULL ? (size_t)PyTuple_Size(saving->metadata) : 0;
    if (mlp_safetensors_head_append(&saving->head, saving->items, saving->held.set.count,
                                    saving->pairs, pairs_count, &error) == 0)
        return 0;
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* ---- writing ---- */

static int read_descriptor(struct mlp_py_state *state, int *fd, PyObject *object)
{
    struct mlp_error error;
    uint64_t number;
    if (mlp_py_uint64(state, &number, object, WHAT "fd", MLP_E_ARGUMENT) != 0)
        return -1;
    if (number <= INT_MAX) {
        *fd = (int)number;
        return 0;
    }
    mlp_fail(&error, MLP_E_ARGUMENT, WHAT "fd is no descriptor");
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static int write_file(struct mlp_py_state *state, struct saving *saving, int fd, const char *what)
{
    struct mlp_py_visit visit = {.progress = Py_None};
    const struct mlp_files_look look = {mlp_py_visit_look, &visit};
    const struct mlp_hash_request whole[] = {{MLP_SHA256, saving->sha256},
                                             {MLP_BLAKE3, saving->blake3}};
    const struct mlp_hash_request tensors = {saving->algorithm, saving->rows};
    const struct mlp_file_image image = {saving->head.data, saving->head.len, &saving->held.set,
                                         saving->order};
    struct mlp_error error;
    mlp_py_visit_begin(&visit);
    int status = mlp_file_save(whole, 2, &tensors, &saving->len, fd, &image, what, saving->threads,
                               &look, &error);
    mlp_py_visit_end(&visit);
    if (status == 0)
        return 0;
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* (name, dtype, shape, begin, end, digest), offsets from the file's start. */
static PyObject *row_of(const struct saving *saving, size_t place, uint64_t begin)
{
    const struct mlp_safetensors_item *item = &saving->items[place];
    size_t digest_len = mlp_algorithm_digest_len(saving->algorithm);
    return Py_BuildValue(
        "NsNKKN", PyUnicode_DecodeUTF8(item->name, (Py_ssize_t)item->name_len, "strict"),
        mlp_dtype_info(item->dtype)->name, mlp_py_numbers_to_tuple(item->shape, item->ndim),
        (unsigned long long)begin, (unsigned long long)(begin + item->len),
        mlp_py_bytes(saving->rows + place * digest_len, digest_len));
}

static PyObject *list_rows(const struct saving *saving)
{
    uint64_t begin = saving->head.len;
    PyObject *list = PyList_New((Py_ssize_t)saving->held.set.count);
    for (size_t i = 0; list != NULL && i < saving->held.set.count; i++) {
        PyObject *row = row_of(saving, i, begin);
        begin += saving->items[i].len;
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *answer(const struct saving *saving)
{
    return Py_BuildValue("NNNK", list_rows(saving),
                         mlp_py_bytes(saving->blake3, sizeof saving->blake3),
                         mlp_py_bytes(saving->sha256, mlp_algorithm_digest_len(MLP_SHA256)),
                         (unsigned long long)saving->len);
}

static PyObject *MlpCore_save_safetensors(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"", "", "", "", "algorithm", "metadata", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *descriptor, *names, *tensors, *algorithm = NULL, *metadata = NULL, *threads = NULL;
    PyObject *rows = NULL;
    const char *what;
    int fd;
    struct saving saving = {0};
    if (PyArg_ParseTupleAndKeywords(args, kwargs, "OsOO|O$OO:save_safetensors", words, &descriptor,
                                    &what, &names, &tensors, &algorithm, &metadata, &threads) &&
        read_descriptor(state, &fd, descriptor) == 0 &&
        mlp_py_algorithm(state, &saving.algorithm, algorithm, WHAT "algorithm") == 0 &&
        mlp_py_threads(state, &saving.threads, threads, WHAT "threads") == 0 &&
        read_metadata(&saving, metadata) == 0 &&
        read_tensors(state, &saving, names, tensors) == 0 && make_head(state, &saving) == 0 &&
        write_file(state, &saving, fd, what) == 0)
        rows = answer(&saving);
    clear(&saving);
    return rows;
}

static PyMethodDef functions[] = {
    {"save_safetensors", MLP_PY_WITH_KEYWORDS(MlpCore_save_safetensors),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("save_safetensors($module, fd, what, names, tensors, /, algorithm='blake3', *, "
               "metadata=None, threads=None)\n--\n\n"
               "Write a safetensors file; digests of its tensors and of all of it.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_safetensors_save_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
