/* store_import.c - Store.put_import: the rows of a run that another store recorded. */
#include "python/arguments.h"
#include "python/store_object.h"
#include "store/runs.h"

/* The rows in the core's form. Texts and bytes live in the two tuples; so does what tuples hold. */
struct import_rows {
    PyObject *record_items;
    PyObject *head_items;
    struct mlp_record *records;
    struct mlp_head *heads;
};

static void free_rows(struct import_rows *rows)
{
    Py_XDECREF(rows->record_items);
    Py_XDECREF(rows->head_items);
    PyMem_Free(rows->records);
    PyMem_Free(rows->heads);
}

static int check_tuple(PyObject *item, const char *expected)
{
    if (PyTuple_Check(item))
        return 0;
    PyErr_Format(PyExc_TypeError, "Store.put_import: expected a tuple %s, not %R", expected,
                 (PyObject *)Py_TYPE(item));
    return -1;
}

/* bytes only: they cannot change, so no buffer has to be held. */
static int read_bytes(const void **bytes, size_t *bytes_len, PyObject *object)
{
    char *found;
    Py_ssize_t found_len;
    if (PyBytes_AsStringAndSize(object, &found, &found_len) != 0)
        return -1;
    *bytes = found;
    *bytes_len = (size_t)found_len;
    return 0;
}

static int read_record(struct mlp_record *record, PyObject *item)
{
    PyObject *bytes;
    if (check_tuple(item, "(type, time, bytes) in records") != 0 ||
        !PyArg_ParseTuple(item, "ssO;Store.put_import: a record is (type, time, bytes)",
                          &record->type, &record->time, &bytes))
        return -1;
    return read_bytes(&record->bytes, &record->bytes_len, bytes);
}

static int read_head(struct mlp_py_state *state, struct mlp_head *head, PyObject *item)
{
    PyObject *size, *root, *note;
    if (check_tuple(item, "(size, root, note) in heads") != 0 ||
        !PyArg_ParseTuple(item, "OOO;Store.put_import: a head is (size, root, note)", &size, &root,
                          &note) ||
        mlp_py_uint64(state, &head->size, size, "Store.put_import: size of a head",
                      MLP_E_ARGUMENT) != 0 ||
        mlp_py_bytes_exact(state, head->root32, sizeof head->root32, root,
                           "Store.put_import: root of a head", MLP_E_ARGUMENT) != 0)
        return -1;
    return read_bytes(&head->note, &head->note_len, note);
}

static int read_rows(struct mlp_py_state *state, struct import_rows *rows, PyObject *records,
                     PyObject *heads)
{
    if (mlp_py_items(&rows->record_items, records, "Store.put_import: records") != 0 ||
        mlp_py_items(&rows->head_items, heads, "Store.put_import: heads") != 0)
        return -1;
    Py_ssize_t records_count = PyTuple_Size(rows->record_items);
    Py_ssize_t heads_count = PyTuple_Size(rows->head_items);
    rows->records = PyMem_Calloc((size_t)records_count + 1, sizeof *rows->records);
    rows->heads = PyMem_Calloc((size_t)heads_count + 1, sizeof *rows->heads);
    if (rows->records == NULL || rows->heads == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < records_count; i++) {
        if (read_record(&rows->records[i], PyTuple_GetItem(rows->record_items, i)) != 0)
            return -1;
    }
    for (Py_ssize_t i = 0; i < heads_count; i++) {
        if (read_head(state, &rows->heads[i], PyTuple_GetItem(rows->head_items, i)) != 0)
            return -1;
    }
    return 0;
}

PyObject *MlpCore_Store_put_import(PyObject *self, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    struct mlp_run_import import = {0};
    PyObject *records, *heads;
    if (!PyArg_ParseTuple(args, "sszssOOs:put_import", &import.run_id, &import.name,
                          &import.project, &import.status, &import.created, &records, &heads,
                          &import.bundle_path))
        return NULL;
    struct import_rows rows = {0};
    if (read_rows(state, &rows, records, heads) != 0) {
        free_rows(&rows);
        return NULL;
    }
    import.records = rows.records;
    import.records_count = (size_t)PyTuple_Size(rows.record_items);
    import.heads = rows.heads;
    import.heads_count = (size_t)PyTuple_Size(rows.head_items);
    struct mlp_error error;
    struct mlp_store *store = mlp_py_store_of(self);
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_store_run_import(store, &import, &error);
    mlp_py_gil_take(released);
    free_rows(&rows);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    Py_RETURN_NONE;
}
