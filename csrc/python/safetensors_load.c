/* safetensors_load.c - a safetensors file read into tensors, and hashed there. */
#include "files/load.h"
#include "files/safetensors_head.h"
#include "python/arguments.h"
#include "python/held_views.h"
#include "python/safetensors.h"
#include "python/visit.h"
#include "tensor/canonical.h"

#include <stdlib.h>

#define WHAT "load_safetensors: "

struct loading {
    PyObject *path;
    struct mlp_reader reader;
    struct mlp_safetensors file;
    struct mlp_buffer head;
    PyObject *tensors; /* what was allocated, a tuple */
    struct mlp_py_held_views held;
    struct mlp_file_part *parts; /* in the order of entries */
    uint8_t *rows;
    uint8_t whole[MLP_HASH_MAX_LEN];
    int algorithm;
    int whole_algorithm; /* 0: not asked for */
    size_t threads;
};

static void clear(struct loading *loading)
{
    mlp_py_held_views_release(&loading->held);
    mlp_reader_close(&loading->reader);
    mlp_safetensors_clear(&loading->file);
    mlp_buffer_clear(&loading->head);
    PyMem_Free(loading->parts);
    PyMem_Free(loading->rows);
    Py_XDECREF(loading->tensors);
    Py_XDECREF(loading->path);
}

static int raise_error(struct mlp_py_state *state, const struct loading *loading,
                       const struct mlp_error *error)
{
    mlp_py_raise_of_file(&state->exceptions, error, PyBytes_AsString(loading->path));
    return -1;
}

/* ---- the header ---- */

static int open_file(struct mlp_py_state *state, struct loading *loading, PyObject *path_object)
{
    struct mlp_error error;
    if (mlp_py_path(&loading->path, path_object) != 0)
        return -1;
    const char *path = PyBytes_AsString(loading->path);
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_reader_open(&loading->reader, path, true, NULL, &error);
    if (status == 0)
        status =
            mlp_file_safetensors_head(&loading->file, &loading->head, &loading->reader, &error);
    mlp_py_gil_take(released);
    return status == 0 ? 0 : raise_error(state, loading, &error);
}

/* ---- where the tensors go ---- */

static int allocate(struct mlp_py_state *state, struct loading *loading, PyObject *callable)
{
    PyObject *entries = mlp_py_safetensors_entries(&loading->file);
    PyObject *metadata = entries != NULL ? mlp_py_safetensors_metadata(&loading->file) : NULL;
    PyObject *answer = NULL;
    if (metadata != NULL)
        answer = PyObject_CallFunctionObjArgs(callable, entries, metadata, NULL);
    Py_XDECREF(entries);
    Py_XDECREF(metadata);
    if (answer == NULL)
        return -1;
    int result = mlp_py_tensor_items(state, &loading->tensors, answer, WHAT "what was allocated");
    Py_DECREF(answer);
    if (result == 0 && (size_t)PyTuple_Size(loading->tensors) != loading->file.entries_count) {
        PyErr_Format(PyExc_ValueError, WHAT "%zd tensors were allocated for %zu entries",
                     PyTuple_Size(loading->tensors), loading->file.entries_count);
        result = -1;
    }
    if (result != 0)
        return result;
    return mlp_py_held_views_take(state, &loading->held, loading->tensors, false);
}

/* Whether the bytes of an entry can be put where the view is. Types may differ: a tensor may be seen
 * as bytes. */
static bool is_room_for(const struct mlp_safetensors_entry *entry, const struct mlp_view *view,
                        uint64_t len)
{
    struct mlp_view bytes = *view;
    if (bytes.dtype == MLP_DTYPE_BOOL)
        bytes.dtype = MLP_DTYPE_U8; /* its values are not looked at: they are not there yet */
    return len == entry->end - entry->begin && (len == 0 || mlp_canonical_in_place(&bytes));
}

static int list_parts(struct mlp_py_state *state, struct loading *loading)
{
    const size_t count = loading->file.entries_count;
    loading->parts = PyMem_Calloc(count + 1, sizeof *loading->parts);
    loading->rows = PyMem_Calloc(count + 1, mlp_algorithm_digest_len(loading->algorithm));
    if (loading->parts == NULL || loading->rows == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        const struct mlp_safetensors_entry *entry = &loading->file.entries[i];
        struct mlp_view view;
        struct mlp_error error;
        mlp_view_set_get(&view, &loading->held.set, i);
        if (!is_room_for(entry, &view, loading->held.set.lens[i])) {
            mlp_fail(&error, MLP_E_ARGUMENT,
                     WHAT "tensor %zu: %llu dense bytes in host memory are needed", i,
                     (unsigned long long)(entry->end - entry->begin));
            return raise_error(state, loading, &error);
        }
        loading->parts[i] = (struct mlp_file_part){
            entry->begin, (size_t)(entry->end - entry->begin), (void *)(uintptr_t)view.data};
    }
    return 0;
}

/* ---- reading ---- */

static int compare_offsets(const void *left, const void *right)
{
    const struct mlp_file_part *one = left;
    const struct mlp_file_part *other = right;
    if (one->offset != other->offset)
        return one->offset < other->offset ? -1 : 1;
    return (one->len > other->len) - (one->len < other->len);
}

/* The parts are put into the file's order for it. */
static int hash_whole(struct loading *loading, struct mlp_error *error)
{
    const struct mlp_hash_request request = {loading->whole_algorithm, loading->whole};
    const size_t count = loading->file.entries_count;
    if (loading->whole_algorithm == 0)
        return 0;
    if (count > 1)
        qsort(loading->parts, count, sizeof *loading->parts, compare_offsets);
    return mlp_file_parts_digest(&request, loading->head.data, loading->head.len, loading->parts,
                                 count, loading->threads, error);
}

static int read_tensors(struct mlp_py_state *state, struct loading *loading)
{
    struct mlp_py_visit visit = {.progress = Py_None};
    const struct mlp_files_look look = {mlp_py_visit_look, &visit};
    const struct mlp_hash_request request = {loading->algorithm, loading->rows};
    struct mlp_error error;
    mlp_py_visit_begin(&visit);
    int status = mlp_file_load(&request, loading->parts, loading->file.entries_count,
                               &loading->reader, loading->threads, &look, &error);
    if (status == 0)
        status = mlp_reader_check(&loading->reader, &error);
    if (status == 0)
        status = hash_whole(loading, &error);
    mlp_py_visit_end(&visit);
    return status == 0 ? 0 : raise_error(state, loading, &error);
}

static PyObject *answer(const struct loading *loading)
{
    PyObject *whole = Py_None;
    if (loading->whole_algorithm != 0)
        whole = mlp_py_bytes(loading->whole, mlp_algorithm_digest_len(loading->whole_algorithm));
    else
        Py_INCREF(whole);
    return Py_BuildValue("NNK",
                         mlp_py_rows_to_list(loading->rows, loading->file.entries_count,
                                             mlp_algorithm_digest_len(loading->algorithm)),
                         whole, (unsigned long long)loading->reader.facts.len);
}

static PyObject *MlpCore_load_safetensors(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"", "", "algorithm", "whole", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *path, *callable, *algorithm = NULL, *whole = NULL, *threads = NULL, *rows = NULL;
    struct loading loading = {.reader.fd = -1};
    if (PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$OO:load_safetensors", words, &path,
                                    &callable, &algorithm, &whole, &threads) &&
        mlp_py_algorithm(state, &loading.algorithm, algorithm, WHAT "algorithm") == 0 &&
        (whole == NULL || Py_IsNone(whole) ||
         mlp_py_algorithm(state, &loading.whole_algorithm, whole, WHAT "whole") == 0) &&
        mlp_py_threads(state, &loading.threads, threads, WHAT "threads") == 0 &&
        open_file(state, &loading, path) == 0 && allocate(state, &loading, callable) == 0 &&
        list_parts(state, &loading) == 0 && read_tensors(state, &loading) == 0)
        rows = answer(&loading);
    clear(&loading);
    return rows;
}

static PyMethodDef functions[] = {
    {"load_safetensors", MLP_PY_WITH_KEYWORDS(MlpCore_load_safetensors),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("load_safetensors($module, path, allocate, /, algorithm='blake3', *, whole=None, "
               "threads=None)\n--\n\n"
               "Read a safetensors file into tensors; their digests, and that of the file.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_safetensors_load_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
