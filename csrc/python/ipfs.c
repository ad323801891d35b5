/* ipfs.c - IPFS without a network: CIDs of bytes, values and files, and their texts. */
#include "python/ipfs.h"
#include "codec/cbor.h"
#include "files/unixfs.h"
#include "python/arguments.h"
#include "python/visit.h"

#include <stdlib.h>

/* ---- CIDs and their texts ---- */

static int read_codec(int *codec, const char *name)
{
    static const struct {
        const char *name;
        enum mlp_cid_codec codec;
    } known[] = {{"raw", MLP_CID_RAW}, {"dag-pb", MLP_CID_DAG_PB}, {"dag-cbor", MLP_CID_DAG_CBOR}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            *codec = (int)known[i].codec;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "cid_of_block: codec is %s: raw, dag-pb and dag-cbor are known",
                 name);
    return -1;
}

static PyObject *MlpCore_cid_of_block(PyObject *module, PyObject *args)
{
    PyObject *data;
    const char *name = "raw";
    int codec = 0;
    Py_buffer buffer;
    uint8_t cid36[MLP_CID_LEN];
    struct mlp_error error;
    if (!PyArg_ParseTuple(args, "O|s:cid_of_block", &data, &name) ||
        read_codec(&codec, name) != 0 || mlp_py_buffer(&buffer, data, "cid_of_block: data") != 0)
        return NULL;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status =
        mlp_cid_of_block(cid36, (enum mlp_cid_codec)codec, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error);
    return mlp_py_bytes(cid36, sizeof cid36);
}

static PyObject *MlpCore_cid_text(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *cid;
    int base = 'b';
    uint8_t cid36[MLP_CID_LEN];
    char text[MLP_CID_TEXT_MAX];
    struct mlp_error error;
    if (!PyArg_ParseTuple(args, "O|C:cid_text", &cid, &base) ||
        mlp_py_bytes_exact(state, cid36, sizeof cid36, cid, "cid_text: cid", MLP_E_ARGUMENT) != 0)
        return NULL;
    if (mlp_cid_encode_base(text, base < 128 ? (char)base : '?', cid36, &error) != 0)
        return mlp_py_raise(&state->exceptions, &error);
    return PyUnicode_FromString(text);
}

static PyObject *MlpCore_cid_from_text(PyObject *module, PyObject *object)
{
    const char *text;
    size_t text_len;
    uint8_t cid36[MLP_CID_LEN];
    struct mlp_error error;
    if (mlp_py_text(&text, &text_len, object, "cid_from_text: text") != 0)
        return NULL;
    if (mlp_cid_decode(cid36, text, text_len, &error) != 0)
        return mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error);
    return mlp_py_bytes(cid36, sizeof cid36);
}

static PyObject *MlpCore_cid_from_bytes(PyObject *module, PyObject *data)
{
    Py_buffer buffer;
    uint8_t cid36[MLP_CID_LEN];
    size_t used = 0;
    struct mlp_error error;
    if (mlp_py_buffer(&buffer, data, "cid_from_bytes: data") != 0)
        return NULL;
    int status = mlp_cid_read(cid36, &used, buffer.buf, (size_t)buffer.len, &error);
    if (status == 0 && used != (size_t)buffer.len)
        status = mlp_fail(&error, MLP_E_MALFORMED, "there is more behind the CID");
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error);
    return mlp_py_bytes(cid36, sizeof cid36);
}

/* ---- files ---- */

int mlp_py_unixfs(struct mlp_py_state *state, struct mlp_unixfs *unixfs, PyObject *tuple)
{
    PyObject *chunk, *width;
    uint64_t chunk_len, links;
    int raw_leaves, version;
    struct mlp_error error;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "unixfs: a tuple is needed");
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "OOpi:unixfs", &chunk, &width, &raw_leaves, &version) ||
        mlp_py_uint64(state, &chunk_len, chunk, "unixfs: chunk size", MLP_E_ARGUMENT) != 0 ||
        mlp_py_uint64(state, &links, width, "unixfs: width", MLP_E_ARGUMENT) != 0)
        return -1;
    *unixfs = (struct mlp_unixfs){.chunk_len = (size_t)chunk_len,
                                  .width = (size_t)links,
                                  .raw_leaves = raw_leaves != 0,
                                  .version = (unsigned)version};
    if (mlp_unixfs_check(unixfs, &error) == 0)
        return 0;
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static PyObject *MlpCore_cid_of_file(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "threads", "progress", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *path_object, *path, *tuple, *threads_object = NULL, *progress = NULL, *answer = NULL;
    struct mlp_unixfs unixfs;
    struct mlp_unixfs_link root;
    struct mlp_py_visit visit = {0};
    struct mlp_error error;
    size_t threads = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OO:cid_of_file", names, &path_object,
                                     &tuple, &threads_object, &progress) ||
        mlp_py_unixfs(state, &unixfs, tuple) != 0 ||
        mlp_py_threads(state, &threads, threads_object, "cid_of_file: threads") != 0 ||
        mlp_py_visit_progress(&visit, progress, "cid_of_file: progress") != 0 ||
        mlp_py_path(&path, path_object) != 0)
        return NULL;
    const struct mlp_files_look looks = {mlp_py_visit_look, &visit};
    const char *name = PyBytes_AsString(path);
    mlp_py_visit_begin(&visit);
    int status = mlp_file_cid(&root, name, &unixfs, threads, &looks, &error);
    mlp_py_visit_end(&visit);
    if (status == 0)
        answer =
            Py_BuildValue("y#KK", (const char *)root.cid36, (Py_ssize_t)MLP_CID_LEN,
                          (unsigned long long)root.file_len, (unsigned long long)root.blocks_len);
    else
        mlp_py_raise_of_file(&state->exceptions, &error, name);
    Py_DECREF(path);
    return answer;
}

/* ---- DAG-CBOR ---- */

struct writer {
    struct mlp_py_state *state;
    struct mlp_buffer bytes;
    PyObject *cid_type;
};

static int write_value(struct writer *writer, PyObject *value, unsigned depth);

static int raise(const struct writer *writer, const struct mlp_error *error)
{
    mlp_py_raise(&writer->state->exceptions, error);
    return -1;
}

static int write_integer(struct writer *writer, PyObject *value)
{
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0 && number == -1 && PyErr_Occurred())
        return -1;
    if (overflow != 0) {
        struct mlp_error error;
        mlp_fail(&error, MLP_E_ARGUMENT, "an integer has more than 64 bits; write a text");
        return raise(writer, &error);
    }
    if (number >= 0)
        mlp_cbor_append_head(&writer->bytes, MLP_CBOR_UNSIGNED, (uint64_t)number);
    else
        mlp_cbor_append_head(&writer->bytes, MLP_CBOR_NEGATIVE, (uint64_t)(-1 - number));
    return 0;
}

static int write_text(struct writer *writer, PyObject *value)
{
    const char *text;
    size_t text_len;
    if (mlp_py_text(&text, &text_len, value, "dag_cbor_encode: a text") != 0)
        return -1;
    mlp_cbor_append_text(&writer->bytes, text, text_len);
    return 0;
}

static int write_bytes(struct writer *writer, PyObject *value)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, value, "dag_cbor_encode: bytes") != 0)
        return -1;
    mlp_cbor_append_bytes(&writer->bytes, buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    return 0;
}

static int write_cid(struct writer *writer, PyObject *value)
{
    uint8_t cid36[MLP_CID_LEN];
    PyObject *bytes = PyObject_GetAttrString(value, "binary");
    int result = bytes == NULL ? -1
                               : mlp_py_bytes_exact(writer->state, cid36, sizeof cid36, bytes,
                                                    "dag_cbor_encode: a CID", MLP_E_ARGUMENT);
    if (result == 0)
        mlp_cbor_append_cid(&writer->bytes, cid36);
    Py_XDECREF(bytes);
    return result;
}

static int write_float(struct writer *writer, PyObject *value)
{
    struct mlp_error error;
    double number = PyFloat_AsDouble(value);
    return mlp_cbor_append_float(&writer->bytes, number, &error) == 0 ? 0 : raise(writer, &error);
}

static int write_array(struct writer *writer, PyObject *value, unsigned depth)
{
    PyObject *items = PySequence_Tuple(value);
    Py_ssize_t count = items != NULL ? PyTuple_Size(items) : -1;
    int result = count < 0 ? -1 : 0;
    if (result == 0)
        mlp_cbor_append_head(&writer->bytes, MLP_CBOR_ARRAY, (uint64_t)count);
    for (Py_ssize_t i = 0; result == 0 && i < count; i++)
        result = write_value(writer, PyTuple_GetItem(items, i), depth);
    Py_XDECREF(items);
    return result;
}

struct key {
    const char *text; /* lives as long as the items of the map */
    size_t text_len;
    PyObject *value;
};

static int compare(const void *left, const void *right)
{
    const struct key *one = left, *other = right;
    return mlp_cbor_compare_keys(one->text, one->text_len, other->text, other->text_len);
}

static int read_keys(struct key *keys, PyObject *items)
{
    for (Py_ssize_t i = 0; i < PyList_Size(items); i++) {
        PyObject *pair = PyList_GetItem(items, i);
        if (mlp_py_text(&keys[i].text, &keys[i].text_len, PyTuple_GetItem(pair, 0),
                        "dag_cbor_encode: a key") != 0)
            return -1;
        keys[i].value = PyTuple_GetItem(pair, 1);
    }
    return 0;
}

static int write_map(struct writer *writer, PyObject *value, unsigned depth)
{
    PyObject *items = PyDict_Items(value);
    size_t count = items != NULL ? (size_t)PyList_Size(items) : 0;
    struct key *keys = PyMem_Calloc(count + 1, sizeof *keys);
    int result = items != NULL && keys != NULL ? read_keys(keys, items) : -1;
    if (items != NULL && keys == NULL)
        PyErr_NoMemory();
    if (result == 0) {
        qsort(keys, count, sizeof *keys, compare);
        mlp_cbor_append_head(&writer->bytes, MLP_CBOR_MAP, count);
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        mlp_cbor_append_text(&writer->bytes, keys[i].text, keys[i].text_len);
        result = write_value(writer, keys[i].value, depth);
    }
    PyMem_Free(keys);
    Py_XDECREF(items);
    return result;
}

static int write_simple(struct writer *writer, PyObject *value)
{
    mlp_cbor_append_head(&writer->bytes, MLP_CBOR_SIMPLE,
                         Py_IsNone(value)   ? MLP_CBOR_NULL
                         : Py_IsTrue(value) ? MLP_CBOR_TRUE
                                            : MLP_CBOR_FALSE);
    return 0;
}

static int write_value(struct writer *writer, PyObject *value, unsigned depth)
{
    if (depth == 0) {
        PyErr_Format(PyExc_ValueError, "dag_cbor_encode: nested deeper than %d",
                     MLP_CBOR_DEPTH_MAX);
        return -1;
    }
    if (Py_IsNone(value) || PyBool_Check(value))
        return write_simple(writer, value);
    if (PyLong_Check(value))
        return write_integer(writer, value);
    if (PyFloat_Check(value))
        return write_float(writer, value);
    if (PyUnicode_Check(value))
        return write_text(writer, value);
    if (PyBytes_Check(value))
        return write_bytes(writer, value);
    if (PyList_Check(value) || PyTuple_Check(value))
        return write_array(writer, value, depth - 1);
    if (PyDict_Check(value))
        return write_map(writer, value, depth - 1);
    int is_cid = PyObject_IsInstance(value, writer->cid_type);
    if (is_cid != 0)
        return is_cid < 0 ? -1 : write_cid(writer, value);
    PyErr_Format(PyExc_TypeError, "dag_cbor_encode: a value is a %R, which DAG-CBOR does not have",
                 (PyObject *)Py_TYPE(value));
    return -1;
}

static PyObject *MlpCore_dag_cbor_encode(PyObject *module, PyObject *args)
{
    struct writer writer = {.state = mlp_py_state_of_module(module)};
    PyObject *value;
    if (!PyArg_ParseTuple(args, "OO:dag_cbor_encode", &value, &writer.cid_type))
        return NULL;
    if (write_value(&writer, value, MLP_CBOR_DEPTH_MAX) == 0)
        return mlp_py_bytes_of_buffer(&writer.bytes);
    mlp_buffer_clear(&writer.bytes);
    return NULL;
}

static PyObject *MlpCore_dag_cbor_check(PyObject *module, PyObject *data)
{
    Py_buffer buffer;
    struct mlp_error error;
    if (mlp_py_buffer(&buffer, data, "dag_cbor_check: data") != 0)
        return NULL;
    int status = mlp_cbor_check(buffer.buf, (size_t)buffer.len, &error);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error);
    Py_RETURN_NONE;
}

/* ---- the group ---- */

static PyMethodDef functions[] = {
    {"cid_of_block", MlpCore_cid_of_block, METH_VARARGS,
     PyDoc_STR("cid_of_block($module, data, codec='raw', /)\n--\n\nThe CID of one block.")},
    {"cid_text", MlpCore_cid_text, METH_VARARGS,
     PyDoc_STR("cid_text($module, cid, base='b', /)\n--\n\nA CID as text.")},
    {"cid_from_text", MlpCore_cid_from_text, METH_O,
     PyDoc_STR("cid_from_text($module, text, /)\n--\n\nStrict reading of a CID's text.")},
    {"cid_from_bytes", MlpCore_cid_from_bytes, METH_O,
     PyDoc_STR("cid_from_bytes($module, data, /)\n--\n\nStrict reading of a CID's bytes.")},
    {"cid_of_file", MLP_PY_WITH_KEYWORDS(MlpCore_cid_of_file), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("cid_of_file($module, path, unixfs, /, *, threads=None, progress=None)\n--\n\n"
               "The CID of a file that is cut as unixfs says.")},
    {"dag_cbor_encode", MlpCore_dag_cbor_encode, METH_VARARGS,
     PyDoc_STR("dag_cbor_encode($module, value, cid_type, /)\n--\n\nA value as DAG-CBOR.")},
    {"dag_cbor_check", MlpCore_dag_cbor_check, METH_O,
     PyDoc_STR("dag_cbor_check($module, data, /)\n--\n\nWhether bytes are one value.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_ipfs_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
