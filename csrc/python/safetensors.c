/* safetensors.c - what a safetensors file says it holds. */
#include "tensor/safetensors.h"
#include "base/reader.h"
#include "python/arguments.h"

#include <stdlib.h>

/* ---- reading, without the GIL ---- */

static int parse_header(struct mlp_safetensors *file, struct mlp_reader *reader, uint8_t *header,
                        size_t header_len, struct mlp_error *error)
{
    int status = mlp_reader_at(reader, MLP_SAFETENSORS_PREFIX_LEN, header, header_len, error);
    if (status == 0)
        status = mlp_reader_check(reader, error);
    if (status != 0)
        return status;
    status = mlp_safetensors_parse(file, header, header_len, reader->facts.len, error);
    return status == 0 ? 0 : mlp_fail_in(error, status, "%s", reader->path);
}

static int read_header(struct mlp_safetensors *file, struct mlp_reader *reader,
                       struct mlp_error *error)
{
    uint8_t prefix[MLP_SAFETENSORS_PREFIX_LEN];
    uint64_t file_len = reader->facts.len;
    size_t prefix_len = file_len < sizeof prefix ? (size_t)file_len : sizeof prefix;
    size_t header_len = 0;
    int status = mlp_reader_at(reader, 0, prefix, prefix_len, error);
    if (status != 0)
        return status;
    status = mlp_safetensors_header_len(&header_len, prefix, prefix_len, file_len, error);
    if (status != 0)
        return mlp_fail_in(error, status, "%s", reader->path);
    uint8_t *header = malloc(header_len + 1);
    if (header == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "reading the header of %s (%zu bytes): out of memory",
                        reader->path, header_len);
    status = parse_header(file, reader, header, header_len, error);
    free(header);
    return status;
}

static int read_file(struct mlp_safetensors *file, uint64_t *file_len, const char *path,
                     struct mlp_error *error)
{
    struct mlp_reader reader = {.fd = -1};
    int status = mlp_reader_open(&reader, path, true, NULL, error);
    if (status != 0)
        return status;
    status = read_header(file, &reader, error);
    *file_len = reader.facts.len;
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

static PyObject *entries_list(const struct mlp_safetensors *file)
{
    PyObject *list = PyList_New((Py_ssize_t)file->entries_count);
    for (size_t i = 0; list != NULL && i < file->entries_count; i++) {
        PyObject *row = entry_row(&file->entries[i]);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *metadata_dict(const struct mlp_safetensors *file)
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
    PyObject *entries = entries_list(file);
    PyObject *metadata = entries != NULL ? metadata_dict(file) : NULL;
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
