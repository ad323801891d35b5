/* slices.c - groups of 16 KiB and proofs of slices (docs/format.md section 13). */
#include "hash/blake3_groups.h"
#include "merkle/slice.h"
#include "python/arguments.h"
#include "tensor/canonical.h"

#define HASH_LEN MLP_BLAKE3_OUT_LEN

/* ---- inputs whose canonical bytes lie in memory ---- */

/* Takes the view of data; release it also after a failure. */
static int hold_bytes(struct mlp_py_state *state, struct mlp_py_view *held, uint64_t *len,
                      PyObject *data)
{
    struct mlp_error error;
    int status = mlp_py_view_from_object(&state->view, data, 0, held, &error);
    if (status != 0) {
        mlp_py_raise_at(&state->exceptions, &error, 0);
        return -1;
    }
    status = mlp_canonical_len(len, &held->view, &error);
    if (status == 0 && (held->view.stage != NULL || !mlp_canonical_in_place(&held->view)))
        status = mlp_fail(&error, MLP_E_TENSOR,
                          "a tensor whose bytes do not lie in host memory in one piece has no "
                          "groups of its own; hash tensor.contiguous(), in host memory: its "
                          "digest is the same");
    if (status == 0)
        return 0;
    mlp_py_raise_at(&state->exceptions, &error, 0);
    return -1;
}

static PyObject *groups_of(const struct mlp_py_view *held, size_t len, size_t threads)
{
    uint8_t digest[HASH_LEN];
    size_t groups_len = (size_t)mlp_blake3_groups_count(len) * HASH_LEN;
    PyObject *groups = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)groups_len);
    if (groups == NULL)
        return NULL;
    uint8_t *rows = (uint8_t *)PyBytes_AsString(groups); /* ours alone until it is returned */
    PyThreadState *released = mlp_py_gil_release(len);
    mlp_blake3_with_groups(digest, rows, held->view.data, len, threads);
    mlp_py_gil_take(released);
    return Py_BuildValue("NNK", mlp_py_bytes(digest, sizeof digest), groups,
                         (unsigned long long)len);
}

static PyObject *MlpCore_blake3_groups(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *data, *threads_number = NULL, *answer = NULL;
    size_t threads;
    uint64_t len;
    struct mlp_py_view held;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O:blake3_groups", names, &data,
                                     &threads_number) ||
        mlp_py_threads(state, &threads, threads_number, "blake3_groups: threads") != 0)
        return NULL;
    if (hold_bytes(state, &held, &len, data) == 0)
        answer = groups_of(&held, (size_t)len, threads);
    mlp_py_view_release(&held);
    return answer;
}

/* ---- proving ---- */

static int read_view(void *context, uint8_t *out, size_t out_len, uint64_t offset,
                     struct mlp_error *error)
{
    const uint8_t *data = context;
    (void)error;
    memcpy(out, data + offset, out_len);
    return 0;
}

/* Asks read(offset, length). The exception of its failure is kept by mlp_py_raise. */
static int read_callable(void *context, uint8_t *out, size_t out_len, uint64_t offset,
                         struct mlp_error *error)
{
    Py_buffer buffer;
    PyObject *answer =
        PyObject_CallFunction(context, "Kn", (unsigned long long)offset, (Py_ssize_t)out_len);
    if (answer == NULL || mlp_py_buffer(&buffer, answer, "slice_prove: what read returned") != 0) {
        Py_XDECREF(answer);
        return mlp_fail(error, MLP_E_IO, "slice_prove: read failed");
    }
    size_t seen_len = (size_t)buffer.len;
    if (seen_len == out_len)
        memcpy(out, buffer.buf, out_len);
    PyBuffer_Release(&buffer);
    Py_DECREF(answer);
    if (seen_len == out_len)
        return 0;
    return mlp_fail(error, MLP_E_CHANGED,
                    "slice_prove: read gave %zu bytes at byte %llu: %zu were asked for", seen_len,
                    (unsigned long long)offset, out_len);
}

/* What is proved, beside the source. */
struct slice_arguments {
    uint64_t start;
    uint64_t len;
    Py_buffer groups;
};

static PyObject *prove(struct mlp_py_state *state, uint64_t total_len,
                       const struct slice_arguments *arguments,
                       const struct mlp_slice_source *source, size_t work_len)
{
    struct mlp_slice_proof proof;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(work_len);
    int status =
        mlp_slice_prove(&proof, total_len, arguments->start, arguments->len, arguments->groups.buf,
                        (size_t)arguments->groups.len, source, &error);
    mlp_py_gil_take(released);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    return Py_BuildValue("NNN", mlp_py_bytes(proof.head, proof.head_len),
                         mlp_py_rows_to_list(proof.path, proof.path_count, HASH_LEN),
                         mlp_py_bytes(proof.tail, proof.tail_len));
}

static void fail_size(struct mlp_py_state *state, uint64_t seen, uint64_t expected)
{
    struct mlp_error error;
    mlp_fail(&error, MLP_E_ARGUMENT,
             "slice_prove: the input has %llu bytes, not the %llu of its "
             "groups",
             (unsigned long long)seen, (unsigned long long)expected);
    mlp_py_raise(&state->exceptions, &error);
}

static PyObject *prove_of_memory(struct mlp_py_state *state, PyObject *data, uint64_t size,
                                 const struct slice_arguments *arguments)
{
    struct mlp_py_view held;
    uint64_t len;
    PyObject *answer = NULL;
    if (hold_bytes(state, &held, &len, data) == 0) {
        const struct mlp_slice_source source = {read_view, (void *)(uintptr_t)held.view.data};
        if (len == size)
            answer = prove(state, size, arguments, &source, (size_t)arguments->groups.len);
        else
            fail_size(state, len, size);
    }
    mlp_py_view_release(&held);
    return answer;
}

static PyObject *MlpCore_slice_prove(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *source, *size_number, *start, *len, *groups, *answer;
    struct slice_arguments arguments;
    uint64_t size;
    if (!PyArg_ParseTuple(args, "OOOOO:slice_prove", &source, &size_number, &start, &len,
                          &groups) ||
        mlp_py_uint64(state, &size, size_number, "slice_prove: size", MLP_E_RANGE) != 0 ||
        mlp_py_uint64(state, &arguments.start, start, "slice_prove: start", MLP_E_RANGE) != 0 ||
        mlp_py_uint64(state, &arguments.len, len, "slice_prove: length", MLP_E_RANGE) != 0 ||
        mlp_py_buffer(&arguments.groups, groups, "slice_prove: groups") != 0)
        return NULL;
    if (PyCallable_Check(source)) {
        const struct mlp_slice_source callable = {read_callable, source};
        answer = prove(state, size, &arguments, &callable, 0);
    } else {
        answer = prove_of_memory(state, source, size, &arguments);
    }
    PyBuffer_Release(&arguments.groups);
    return answer;
}

/* ---- verification: what cannot be a proof is malformed evidence ---- */

/* Copies at most a chunk. */
static int read_end(struct mlp_py_state *state, uint8_t out[MLP_BLAKE3_CHUNK_LEN], size_t *out_len,
                    PyObject *object, const char *what)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, object, what) != 0)
        return -1;
    *out_len = (size_t)buffer.len;
    bool fits = *out_len <= MLP_BLAKE3_CHUNK_LEN;
    if (fits && *out_len > 0)
        memcpy(out, buffer.buf, *out_len);
    PyBuffer_Release(&buffer);
    if (fits)
        return 0;
    struct mlp_error error;
    mlp_fail(&error, MLP_E_MALFORMED, "%s has %zu bytes: at most %d are possible", what, *out_len,
             MLP_BLAKE3_CHUNK_LEN);
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static int read_path(struct mlp_py_state *state, struct mlp_slice_proof *proof, PyObject *object)
{
    struct mlp_buffer rows = {0};
    int result = mlp_py_hash_rows(state, &rows, object, "slice_verify: path", MLP_E_MALFORMED);
    proof->path_count = rows.len / HASH_LEN;
    if (result == 0 && proof->path_count > MLP_BLAKE3_SPANS_MAX) {
        struct mlp_error error;
        mlp_fail(&error, MLP_E_MALFORMED,
                 "slice_verify: path has %zu hashes: at most %d are possible", proof->path_count,
                 MLP_BLAKE3_SPANS_MAX);
        mlp_py_raise(&state->exceptions, &error);
        result = -1;
    }
    if (result == 0 && rows.len > 0)
        memcpy(proof->path, rows.data, rows.len);
    mlp_buffer_clear(&rows);
    return result;
}

static PyObject *MlpCore_slice_verify(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *digest_bytes, *size_number, *start_number, *data, *head, *path, *tail;
    uint8_t digest[HASH_LEN];
    uint64_t size, start;
    struct mlp_slice_proof proof;
    struct mlp_error error;
    Py_buffer slice;
    if (!PyArg_ParseTuple(args, "OOOOOOO:slice_verify", &digest_bytes, &size_number, &start_number,
                          &data, &head, &path, &tail) ||
        mlp_py_bytes_exact(state, digest, HASH_LEN, digest_bytes, "slice_verify: digest",
                           MLP_E_MALFORMED) != 0 ||
        mlp_py_uint64(state, &size, size_number, "slice_verify: size", MLP_E_MALFORMED) != 0 ||
        mlp_py_uint64(state, &start, start_number, "slice_verify: start", MLP_E_MALFORMED) != 0 ||
        read_end(state, proof.head, &proof.head_len, head, "slice_verify: head") != 0 ||
        read_end(state, proof.tail, &proof.tail_len, tail, "slice_verify: tail") != 0 ||
        read_path(state, &proof, path) != 0 ||
        mlp_py_buffer(&slice, data, "slice_verify: data") != 0)
        return NULL;
    PyThreadState *released = mlp_py_gil_release((size_t)slice.len);
    int status =
        mlp_slice_verify(digest, size, start, slice.buf, (size_t)slice.len, &proof, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&slice);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    Py_RETURN_NONE;
}

/* ---- the group ---- */

static PyMethodDef functions[] = {
    {"blake3_groups", MLP_PY_WITH_KEYWORDS(MlpCore_blake3_groups), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("blake3_groups($module, data, /, *, threads=None)\n--\n\n"
               "(digest, chaining value of every 16 KiB group, length) in one pass.")},
    {"slice_prove", MlpCore_slice_prove, METH_VARARGS,
     PyDoc_STR("slice_prove($module, source, size, start, length, groups, /)\n--\n\n"
               "(head, path, tail) of a slice's proof.")},
    {"slice_verify", MlpCore_slice_verify, METH_VARARGS,
     PyDoc_STR("slice_verify($module, digest, size, start, data, head, path, tail, /)\n--\n\n"
               "None when it holds; VerificationError when not; EvidenceError when malformed.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_slices_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
