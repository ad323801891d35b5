/* merkle.c - RFC 6962 hashes, roots and the verification of proofs. */
#include "merkle/merkle.h"
#include "python/arguments.h"

static PyObject *MlpCore_merkle_leaf_hash(PyObject *module, PyObject *leaf)
{
    uint8_t hash[MLP_MERKLE_HASH_LEN];
    if (mlp_py_leaf_hash(mlp_py_state_of_module(module), hash, leaf, "merkle_leaf_hash: leaf") != 0)
        return NULL;
    return mlp_py_bytes(hash, sizeof hash);
}

static PyObject *MlpCore_merkle_root(PyObject *module, PyObject *leaves)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    struct mlp_buffer hashes = {0};
    if (mlp_py_leaf_hashes(state, &hashes, leaves, "merkle_root: leaves") != 0) {
        mlp_buffer_clear(&hashes);
        return NULL;
    }
    uint8_t root[MLP_MERKLE_HASH_LEN];
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(hashes.len);
    int status = mlp_merkle_root(root, hashes.data, hashes.len / MLP_MERKLE_HASH_LEN, &error);
    mlp_py_gil_take(released);
    mlp_buffer_clear(&hashes);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    return mlp_py_bytes(root, sizeof root);
}

/* ---- verification: what cannot be a proof is malformed evidence ---- */

static int read_hash(struct mlp_py_state *state, uint8_t hash[MLP_MERKLE_HASH_LEN],
                     PyObject *object, const char *what)
{
    return mlp_py_bytes_exact(state, hash, MLP_MERKLE_HASH_LEN, object, what, MLP_E_MALFORMED);
}

static int read_size(struct mlp_py_state *state, uint64_t *size, PyObject *object, const char *what)
{
    return mlp_py_uint64(state, size, object, what, MLP_E_MALFORMED);
}

static PyObject *verdict(struct mlp_py_state *state, int status, const struct mlp_error *error)
{
    if (status != 0)
        return mlp_py_raise(&state->exceptions, error);
    Py_RETURN_NONE;
}

static PyObject *MlpCore_merkle_verify_inclusion(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *root_object, *leaf_object, *index_object, *size_object, *path_object;
    if (!PyArg_ParseTuple(args, "OOOOO:merkle_verify_inclusion", &root_object, &leaf_object,
                          &index_object, &size_object, &path_object))
        return NULL;
    uint8_t root[MLP_MERKLE_HASH_LEN], leaf_hash[MLP_MERKLE_HASH_LEN];
    uint64_t index, size;
    struct mlp_buffer path = {0};
    struct mlp_error error;
    PyObject *answer = NULL;
    if (read_hash(state, root, root_object, "merkle_verify_inclusion: root") == 0 &&
        read_hash(state, leaf_hash, leaf_object, "merkle_verify_inclusion: leaf_hash") == 0 &&
        read_size(state, &index, index_object, "merkle_verify_inclusion: index") == 0 &&
        read_size(state, &size, size_object, "merkle_verify_inclusion: size") == 0 &&
        mlp_py_hash_rows(state, &path, path_object, "merkle_verify_inclusion: path",
                         MLP_E_MALFORMED) == 0) {
        int status = mlp_merkle_verify_inclusion(root, leaf_hash, index, size, path.data,
                                                 path.len / MLP_MERKLE_HASH_LEN, &error);
        answer = verdict(state, status, &error);
    }
    mlp_buffer_clear(&path);
    return answer;
}

static PyObject *MlpCore_merkle_verify_consistency(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *old_root_object, *old_size_object, *new_root_object, *new_size_object, *path_object;
    if (!PyArg_ParseTuple(args, "OOOOO:merkle_verify_consistency", &old_root_object,
                          &old_size_object, &new_root_object, &new_size_object, &path_object))
        return NULL;
    uint8_t old_root[MLP_MERKLE_HASH_LEN], new_root[MLP_MERKLE_HASH_LEN];
    uint64_t old_size, new_size;
    struct mlp_buffer path = {0};
    struct mlp_error error;
    PyObject *answer = NULL;
    if (read_hash(state, old_root, old_root_object, "merkle_verify_consistency: old_root") == 0 &&
        read_size(state, &old_size, old_size_object, "merkle_verify_consistency: old_size") == 0 &&
        read_hash(state, new_root, new_root_object, "merkle_verify_consistency: new_root") == 0 &&
        read_size(state, &new_size, new_size_object, "merkle_verify_consistency: new_size") == 0 &&
        mlp_py_hash_rows(state, &path, path_object, "merkle_verify_consistency: path",
                         MLP_E_MALFORMED) == 0) {
        int status =
            mlp_merkle_verify_consistency(old_root, old_size, new_root, new_size, path.data,
                                          path.len / MLP_MERKLE_HASH_LEN, &error);
        answer = verdict(state, status, &error);
    }
    mlp_buffer_clear(&path);
    return answer;
}

static PyMethodDef functions[] = {
    {"merkle_leaf_hash", MlpCore_merkle_leaf_hash, METH_O,
     PyDoc_STR("merkle_leaf_hash($module, leaf, /)\n--\n\nSHA-256(0x00 || leaf).")},
    {"merkle_root", MlpCore_merkle_root, METH_O,
     PyDoc_STR("merkle_root($module, leaves, /)\n--\n\nRFC 6962 root over leaves.")},
    {"merkle_verify_inclusion", MlpCore_merkle_verify_inclusion, METH_VARARGS,
     PyDoc_STR("merkle_verify_inclusion($module, root, leaf_hash, index, size, path, /)\n--\n\n"
               "None when it holds; VerificationError when not; EvidenceError when malformed.")},
    {"merkle_verify_consistency", MlpCore_merkle_verify_consistency, METH_VARARGS,
     PyDoc_STR("merkle_verify_consistency($module, old_root, old_size, new_root, new_size, path, /)"
               "\n--\n\n"
               "None when it holds; VerificationError when not; EvidenceError when malformed.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_merkle_functions_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
