/* files.c - digests of files, each read once. */
#include "base/reader.h"
#include "hash/hash.h"
#include "python/arguments.h"

#define ALGORITHMS_MAX 8

struct file_range {
    uint64_t begin;
    uint64_t end;
};

/* One reading: the whole file by every algorithm, and its ranges by the first. */
struct file_hashing {
    int algorithms[ALGORITHMS_MAX];
    struct mlp_hasher *hashers[ALGORITHMS_MAX];
    size_t algorithms_count;

    struct file_range *ranges; /* sorted, apart */
    size_t ranges_count;
    uint8_t *range_digests;          /* a row for each range */
    struct mlp_hasher *range_hasher; /* of ranges[range_index]; NULL before its first byte */
    size_t range_index;              /* the first range that is not done */

    uint64_t done;           /* bytes taken so far */
    PyThreadState *released; /* while the GIL is released */
};

static void clear(struct file_hashing *hashing)
{
    for (size_t i = 0; i < hashing->algorithms_count; i++)
        mlp_hasher_free(hashing->hashers[i]);
    mlp_hasher_free(hashing->range_hasher);
    PyMem_Free(hashing->range_digests);
    PyMem_Free(hashing->ranges);
    memset(hashing, 0, sizeof *hashing);
}

/* ---- arguments ---- */

static int read_algorithms(struct mlp_py_state *state, struct file_hashing *hashing,
                           PyObject *sequence, const char *what)
{
    PyObject *items;
    if (mlp_py_items(&items, sequence, what) != 0)
        return -1;
    struct mlp_error error;
    Py_ssize_t count = PyTuple_Size(items);
    int status = 0;
    if (count < 1 || count > ALGORITHMS_MAX)
        status = mlp_fail(&error, MLP_E_ARGUMENT, "%s has %zd names: 1 to %d are needed", what,
                          count, ALGORITHMS_MAX);
    for (Py_ssize_t i = 0; status == 0 && i < count; i++) {
        if (mlp_py_algorithm(state, &hashing->algorithms[i], PyTuple_GetItem(items, i), what) != 0)
            break;
        status = mlp_hasher_new(&hashing->hashers[i], hashing->algorithms[i], NULL, &error);
        if (status == 0)
            hashing->algorithms_count = (size_t)i + 1;
    }
    Py_DECREF(items);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return PyErr_Occurred() ? -1 : 0;
}

static int read_range(struct mlp_py_state *state, struct file_range *range, PyObject *pair,
                      uint64_t begin_min, size_t index)
{
    PyObject *begin, *end;
    if (!PyTuple_Check(pair)) {
        PyErr_SetString(PyExc_TypeError, "hash_file_ranges: a range must be a tuple (begin, end)");
        return -1;
    }
    if (!PyArg_ParseTuple(pair, "OO;hash_file_ranges: a range must be a tuple (begin, end)", &begin,
                          &end) ||
        mlp_py_uint64(state, &range->begin, begin, "hash_file_ranges: begin", MLP_E_ARGUMENT) !=
            0 ||
        mlp_py_uint64(state, &range->end, end, "hash_file_ranges: end", MLP_E_ARGUMENT) != 0)
        return -1;
    if (range->begin <= range->end && range->begin >= begin_min)
        return 0;
    struct mlp_error error;
    mlp_fail(&error, MLP_E_ARGUMENT,
             "hash_file_ranges: range %zu is [%llu, %llu): ranges must be sorted and apart", index,
             (unsigned long long)range->begin, (unsigned long long)range->end);
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static int read_each_range(struct mlp_py_state *state, struct file_hashing *hashing,
                           PyObject *items)
{
    size_t count = (size_t)PyTuple_Size(items);
    size_t digest_len = mlp_algorithm_digest_len(hashing->algorithms[0]);
    hashing->ranges = PyMem_Calloc(count + 1, sizeof *hashing->ranges);
    hashing->range_digests = PyMem_Calloc(count + 1, digest_len);
    if (hashing->ranges == NULL || hashing->range_digests == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    uint64_t begin_min = 0;
    for (size_t i = 0; i < count; i++) {
        if (read_range(state, &hashing->ranges[i], PyTuple_GetItem(items, (Py_ssize_t)i), begin_min,
                       i) != 0)
            return -1;
        begin_min = hashing->ranges[i].end;
    }
    hashing->ranges_count = count;
    return 0;
}

static int read_ranges(struct mlp_py_state *state, struct file_hashing *hashing, PyObject *sequence)
{
    PyObject *items;
    if (mlp_py_items(&items, sequence, "hash_file_ranges: ranges") != 0)
        return -1;
    int result = read_each_range(state, hashing, items);
    Py_DECREF(items);
    return result;
}

/* ---- hashing, without the GIL ---- */

/* Closes the range that ends here. */
static int finish_range(struct file_hashing *hashing, struct mlp_error *error)
{
    int algorithm = hashing->algorithms[0];
    uint8_t *row =
        hashing->range_digests + hashing->range_index * mlp_algorithm_digest_len(algorithm);
    int status = hashing->range_hasher == NULL
                     ? mlp_hash(algorithm, row, NULL, 0, error)
                     : mlp_hasher_digest(hashing->range_hasher, row, error);
    mlp_hasher_free(hashing->range_hasher);
    hashing->range_hasher = NULL;
    hashing->range_index++;
    return status;
}

/* Feeds the current range from the piece that begins at byte `at` of the file. */
static int feed_range(struct file_hashing *hashing, const uint8_t *piece, uint64_t at,
                      uint64_t piece_end, struct mlp_error *error)
{
    const struct file_range *range = &hashing->ranges[hashing->range_index];
    uint64_t begin = range->begin > at ? range->begin : at;
    uint64_t end = range->end < piece_end ? range->end : piece_end;
    int status = 0;
    if (begin < end && hashing->range_hasher == NULL)
        status = mlp_hasher_new(&hashing->range_hasher, hashing->algorithms[0], NULL, error);
    if (begin < end && status == 0)
        status = mlp_hasher_update(hashing->range_hasher, piece + (begin - at),
                                   (size_t)(end - begin), error);
    return status;
}

static int feed_ranges(struct file_hashing *hashing, const uint8_t *piece, size_t piece_len,
                       struct mlp_error *error)
{
    uint64_t at = hashing->done;
    uint64_t piece_end = at + piece_len;
    while (hashing->range_index < hashing->ranges_count) {
        const struct file_range *range = &hashing->ranges[hashing->range_index];
        if (range->begin >= piece_end && range->end > piece_end)
            break;
        int status = feed_range(hashing, piece, at, piece_end, error);
        if (status != 0)
            return status;
        if (range->end > piece_end)
            break;
        status = finish_range(hashing, error);
        if (status != 0)
            return status;
    }
    return 0;
}

static int take(void *context, const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    struct file_hashing *hashing = context;
    for (size_t i = 0; i < hashing->algorithms_count; i++) {
        int status = mlp_hasher_update(hashing->hashers[i], bytes, bytes_len, error);
        if (status != 0)
            return status;
    }
    int status = feed_ranges(hashing, bytes, bytes_len, error);
    hashing->done += bytes_len;
    return status;
}

/* Lets Ctrl-C through. */
static int interrupted(void *context)
{
    struct file_hashing *hashing = context;
    PyEval_RestoreThread(hashing->released);
    int answer = PyErr_CheckSignals();
    hashing->released = PyEval_SaveThread();
    return answer != 0 ? MLP_PY_RAISED : 0;
}

static int check_ranges_inside(const struct file_hashing *hashing, uint64_t file_len,
                               const char *path, struct mlp_error *error)
{
    size_t count = hashing->ranges_count;
    if (count == 0 || hashing->ranges[count - 1].end <= file_len)
        return 0;
    return mlp_fail(
        error, MLP_E_RANGE, "hash_file_ranges: the last range ends at byte %llu, %s has %llu bytes",
        (unsigned long long)hashing->ranges[count - 1].end, path, (unsigned long long)file_len);
}

static int hash_opened(struct file_hashing *hashing, uint64_t *len, struct mlp_reader *reader,
                       const struct mlp_reader_calls *calls, struct mlp_error *error)
{
    int status = check_ranges_inside(hashing, reader->facts.len, reader->path, error);
    if (status == 0)
        status = mlp_reader_run(reader, len, calls, error);
    /* Empty ranges that stand at the end of an empty file are not reached by any byte. */
    while (status == 0 && hashing->range_index < hashing->ranges_count)
        status = finish_range(hashing, error);
    return status;
}

/* Releases the GIL. Returns: 0, or -1 with an exception set. */
static int hash_path(struct mlp_py_state *state, struct file_hashing *hashing, uint64_t *len,
                     const char *path)
{
    const struct mlp_reader_calls calls = {take, interrupted, hashing};
    struct mlp_reader reader = {.fd = -1};
    struct mlp_error error;
    bool only_regular = hashing->ranges != NULL;
    hashing->released = PyEval_SaveThread();
    int status = mlp_reader_open(&reader, path, only_regular, &calls, &error);
    if (status == 0)
        status = hash_opened(hashing, len, &reader, &calls, &error);
    mlp_reader_close(&reader);
    PyEval_RestoreThread(hashing->released);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

/* ---- answers ---- */

static PyObject *whole_digests(struct mlp_py_state *state, const struct file_hashing *hashing)
{
    PyObject *list = PyList_New((Py_ssize_t)hashing->algorithms_count);
    for (size_t i = 0; list != NULL && i < hashing->algorithms_count; i++) {
        uint8_t digest[MLP_HASH_MAX_LEN];
        struct mlp_error error;
        PyObject *row = NULL;
        if (mlp_hasher_digest(hashing->hashers[i], digest, &error) != 0)
            mlp_py_raise(&state->exceptions, &error);
        else
            row = mlp_py_bytes(digest, mlp_algorithm_digest_len(hashing->algorithms[i]));
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *MlpCore_hash_file(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithms", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *path_object, *algorithms, *path;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:hash_file", names, &path_object,
                                     &algorithms) ||
        mlp_py_path(&path, path_object) != 0)
        return NULL;
    struct file_hashing hashing = {0};
    PyObject *answer = NULL;
    uint64_t len;
    if (read_algorithms(state, &hashing, algorithms, "hash_file: algorithms") == 0 &&
        hash_path(state, &hashing, &len, PyBytes_AsString(path)) == 0) {
        PyObject *digests = whole_digests(state, &hashing);
        if (digests != NULL)
            answer = Py_BuildValue("NK", digests, (unsigned long long)len);
    }
    clear(&hashing);
    Py_DECREF(path);
    return answer;
}

static PyObject *ranges_answer(struct mlp_py_state *state, const struct file_hashing *hashing,
                               uint64_t len)
{
    PyObject *whole = whole_digests(state, hashing);
    if (whole == NULL)
        return NULL;
    PyObject *rows = mlp_py_rows_to_list(hashing->range_digests, hashing->ranges_count,
                                         mlp_algorithm_digest_len(hashing->algorithms[0]));
    if (rows == NULL) {
        Py_DECREF(whole);
        return NULL;
    }
    return Py_BuildValue("NNK", rows, whole, (unsigned long long)len);
}

static PyObject *MlpCore_hash_file_ranges(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "algorithms", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *path_object, *ranges, *algorithms, *path;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:hash_file_ranges", names, &path_object,
                                     &ranges, &algorithms) ||
        mlp_py_path(&path, path_object) != 0)
        return NULL;
    struct file_hashing hashing = {0};
    PyObject *answer = NULL;
    uint64_t len;
    if (read_algorithms(state, &hashing, algorithms, "hash_file_ranges: algorithms") == 0 &&
        read_ranges(state, &hashing, ranges) == 0 &&
        hash_path(state, &hashing, &len, PyBytes_AsString(path)) == 0)
        answer = ranges_answer(state, &hashing, len);
    clear(&hashing);
    Py_DECREF(path);
    return answer;
}

/* ---- the group ---- */

static PyMethodDef functions[] = {
    {"hash_file", MLP_PY_WITH_KEYWORDS(MlpCore_hash_file), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_file($module, path, /, algorithms)\n--\n\n"
               "Digests of a file in one read, and its length.")},
    {"hash_file_ranges", MLP_PY_WITH_KEYWORDS(MlpCore_hash_file_ranges),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_file_ranges($module, path, ranges, /, algorithms)\n--\n\n"
               "Digests of byte ranges by algorithms[0] and of the whole file, in one read.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_file_functions_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
