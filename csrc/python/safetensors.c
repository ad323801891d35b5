/* safetensors.c - what a safetensors file says it holds. */
#include "python/safetensors.h"
#include "files/safetensors_head.h"
#include "python/arguments.h"

/* ---- reading, without the GIL ---- */

static int read_file(struct mlp_safetensors *file, uint64_t *file_len, const char *path,
                     struct mlp_error *error)
{
    struct mlp_reader reader = {.fd = -1};
    struct mlp_buffer head = {0};
    int status = mlp_reader_open(&reader, path, true, NULL, error);
    if (status != 0)
        return status;
    status = mlp_file_safetensors_head(file, &head, &reader, error);
    *file_len = reader.facts.len;
    mlp_buffer_clear(&head);
    mlp_reader_close(&reader);
    return status;
}

/* ---- answers ---- */

static PyObject *text(const char *utf8, size_t utf8_len)
{
    return PyUnicode_DecodeUTF8(utf8, (Py_ssize_t)utf8_len, "strict");
}

static PyObject *entry_row(const struct mlp_safetensors_entry *entry)
{
    return Py_BuildValue("NsNKK", text(entry->name, entry->name_len),
                         mlp_dtype_info(entry->dtype)->name,
                         mlp_py_numbers_to_tuple(entry->shape, entry->ndim),
                         (unsigned long long)entry->begin, (unsigned long long)entry->end);
}

PyObject *mlp_py_safetensors_entries(const struct mlp_safetensors *file)
{
    PyObject *list = PyList_New((Py_ssize_t)file->entries_count);
    for (size_t i = 0; list != NULL && i < file->entries_count; i++) {
        PyObject *row = entry_row(&file->entries[i]);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

PyObject *mlp_py_safetensors_metadata(const struct mlp_safetensors *file)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < file->metadata_count; i++) {
        const struct mlp_safetensors_text *pair = &file->metadata[i];
        PyObject *key = text(pair->key, pair->key_len);
        PyObject *value = text(pair->value, pair->value_len);
        if (key == NULL || value == NULL || PyDict_SetItem(dict, key, value) != 0)
            Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *answer(const struct mlp_safetensors *file, uint64_t file_len)
{
    PyObject *entries = mlp_py_safetensors_entries(file);
    PyObject *metadata = entries != NULL ? mlp_py_safetensors_metadata(file) : NULL;
    if (metadata != NULL)
        return Py_BuildValue("NNK", entries, metadata, (unsigned long long)file_len);
    Py_XDECREF(entries);
    return NULL;
}

static PyObject *MlpCore_safetensors_entries(PyObject *module, PyObject *path_object)
{
    PyObject *path;
    if (mlp_py_path(&path, path_object) != 0)
        return NULL;
    struct mlp_safetensors file = {0};
    uint64_t file_len = 0;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = read_file(&file, &file_len, PyBytes_AsString(path), &error);
    mlp_py_gil_take(released);
    PyObject *row = status == 0 ? answer(&file, file_len)
                                : mlp_py_raise_of_file(&mlp_py_state_of_module(module)->exceptions,
                                                       &error, PyBytes_AsString(path));
    Py_DECREF(path);
    mlp_safetensors_clear(&file);
    return row;
}

static PyMethodDef functions[] = {
    {"safetensors_entries", MlpCore_safetensors_entries, METH_O,
     PyDoc_STR("safetensors_entries($module, path, /)\n--\n\n"
               "Tensors, metadata and length of a safetensors file; no tensor is read.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_safetensors_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
