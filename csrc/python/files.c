/* files.c - digests of files. */
#include "files/digest.h"
#include "hash/hash.h"
#include "python/arguments.h"
#include "python/visit.h"

/* ---- one file: arguments ---- */

struct one_file {
    struct mlp_hash_request requests[MLP_HASH_REQUESTS_MAX];
    uint8_t digests[MLP_HASH_REQUESTS_MAX][MLP_HASH_MAX_LEN];
    size_t requests_count;
    struct mlp_file_range *items;
    struct mlp_file_ranges ranges;
    size_t threads;
    struct mlp_py_visit visit;
    uint64_t len;
};

static void clear(struct one_file *file)
{
    PyMem_Free(file->ranges.digests);
    PyMem_Free(file->items);
}

/* Of the whole file. */
static int read_algorithms(struct mlp_py_state *state, struct one_file *file, size_t count_min,
                           PyObject *sequence, const char *what)
{
    for (size_t i = 0; i < MLP_HASH_REQUESTS_MAX; i++)
        file->requests[i].digests = file->digests[i];
    return mlp_py_algorithms(state, file->requests, &file->requests_count, count_min, sequence,
                             what);
}

static int read_range(struct mlp_py_state *state, struct mlp_file_range *range, PyObject *pair,
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

static int read_each_range(struct mlp_py_state *state, struct one_file *file, PyObject *items)
{
    size_t count = (size_t)PyTuple_Size(items);
    file->items = PyMem_Calloc(count + 1, sizeof *file->items);
    file->ranges.digests =
        PyMem_Calloc(count + 1, mlp_algorithm_digest_len(file->ranges.algorithm));
    if (file->items == NULL || file->ranges.digests == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    uint64_t begin_min = 0;
    for (size_t i = 0; i < count; i++) {
        if (read_range(state, &file->items[i], PyTuple_GetItem(items, (Py_ssize_t)i), begin_min,
                       i) != 0)
            return -1;
        begin_min = file->items[i].end;
    }
    file->ranges.items = file->items;
    file->ranges.count = count;
    return 0;
}

static int read_ranges(struct mlp_py_state *state, struct one_file *file, PyObject *sequence)
{
    PyObject *items;
    if (mlp_py_items(&items, sequence, "hash_file_ranges: ranges") != 0)
        return -1;
    int result = read_each_range(state, file, items);
    Py_DECREF(items);
    return result;
}

/* ---- one file ---- */

static int hash_path(struct mlp_py_state *state, struct one_file *file, PyObject *path_object)
{
    PyObject *path;
    if (mlp_py_path(&path, path_object) != 0)
        return -1;
    const struct mlp_files_look looks = {mlp_py_visit_look, &file->visit};
    struct mlp_error error;
    const char *name = PyBytes_AsString(path);
    mlp_py_visit_begin(&file->visit);
    int status = mlp_file_digest(file->requests, file->requests_count,
                                 file->ranges.items != NULL ? &file->ranges : NULL, &file->len,
                                 name, file->threads, &looks, &error);
    mlp_py_visit_end(&file->visit);
    if (status != 0)
        mlp_py_raise_of_file(&state->exceptions, &error, name);
    Py_DECREF(path);
    return status == 0 ? 0 : -1;
}

static PyObject *whole_digests(const struct one_file *file)
{
    PyObject *list = PyList_New((Py_ssize_t)file->requests_count);
    for (size_t i = 0; list != NULL && i < file->requests_count; i++) {
        PyObject *row =
            mlp_py_bytes(file->digests[i], mlp_algorithm_digest_len(file->requests[i].algorithm));
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *MlpCore_hash_file(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithms", "threads", "progress", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *path, *algorithms, *threads = NULL, *progress = NULL, *answer = NULL;
    struct one_file file = {0};
    if (PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OO:hash_file", names, &path, &algorithms,
                                    &threads, &progress) &&
        read_algorithms(state, &file, 1, algorithms, "hash_file: algorithms") == 0 &&
        mlp_py_threads(state, &file.threads, threads, "hash_file: threads") == 0 &&
        mlp_py_visit_progress(&file.visit, progress, "hash_file: progress") == 0 &&
        hash_path(state, &file, path) == 0)
        answer = Py_BuildValue("NK", whole_digests(&file), (unsigned long long)file.len);
    clear(&file);
    return answer;
}

static PyObject *MlpCore_hash_file_ranges(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "algorithm", "whole", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *path, *ranges, *algorithm, *whole, *threads = NULL, *answer = NULL;
    struct one_file file = {.visit.progress = Py_None};
    if (PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$O:hash_file_ranges", names, &path, &ranges,
                                    &algorithm, &whole, &threads) &&
        mlp_py_algorithm(state, &file.ranges.algorithm, algorithm, "hash_file_ranges: algorithm") ==
            0 &&
        read_algorithms(state, &file, 0, whole, "hash_file_ranges: whole") == 0 &&
        read_ranges(state, &file, ranges) == 0 &&
        mlp_py_threads(state, &file.threads, threads, "hash_file_ranges: threads") == 0 &&
        hash_path(state, &file, path) == 0)
        answer = Py_BuildValue("NNK",
                               mlp_py_rows_to_list(file.ranges.digests, file.ranges.count,
                                                   mlp_algorithm_digest_len(file.ranges.algorithm)),
                               whole_digests(&file), (unsigned long long)file.len);
    clear(&file);
    return answer;
}

/* ---- many files ---- */

struct many_files {
    PyObject *paths; /* list of bytes, which own the entries' */
    struct mlp_file_entry *entries;
    size_t count;
    int algorithm;
    size_t threads;
    struct mlp_py_visit visit;
};

static int add_path(struct many_files *files, PyObject *object)
{
    PyObject *path;
    if (mlp_py_path(&path, object) != 0)
        return -1;
    files->entries[files->count++].path = PyBytes_AsString(path);
    int result = PyList_Append(files->paths, path);
    Py_DECREF(path);
    return result;
}

static int read_paths(struct many_files *files, PyObject *sequence)
{
    PyObject *items;
    if (mlp_py_items(&items, sequence, "hash_files: paths") != 0)
        return -1;
    Py_ssize_t count = PyTuple_Size(items);
    files->paths = PyList_New(0);
    files->entries = PyMem_Calloc((size_t)count + 1, sizeof *files->entries);
    int result = files->paths != NULL && files->entries != NULL ? 0 : -1;
    if (result != 0 && !PyErr_Occurred())
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; result == 0 && i < count; i++)
        result = add_path(files, PyTuple_GetItem(items, i));
    Py_DECREF(items);
    return result;
}

static int hash_paths(struct mlp_py_state *state, struct many_files *files)
{
    const struct mlp_files_look looks = {mlp_py_visit_look, &files->visit};
    struct mlp_error error;
    mlp_py_visit_begin(&files->visit);
    int status = mlp_file_digest_many(files->entries, files->count, files->algorithm,
                                      files->threads, &looks, &error);
    mlp_py_visit_end(&files->visit);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

/* Returns: a new reference: the digest, the exception, or None. */
static PyObject *outcome_of(struct mlp_py_state *state, const struct many_files *files,
                            size_t index)
{
    const struct mlp_file_entry *entry = &files->entries[index];
    struct mlp_error error;
    if (entry->outcome == MLP_FILE_HASHED)
        return mlp_py_bytes(entry->digest, mlp_algorithm_digest_len(files->algorithm));
    if (entry->outcome == MLP_FILE_LARGE)
        return Py_NewRef(Py_None);
    if (entry->error != NULL)
        return mlp_py_exception_of_file(&state->exceptions, entry->error, entry->path);
    mlp_fail(&error, MLP_E_MEMORY, "cannot hash %s: out of memory", entry->path);
    return mlp_py_exception(&state->exceptions, &error);
}

static int set_row(PyObject *outcomes, PyObject *lengths, size_t index, PyObject *outcome,
                   uint64_t len)
{
    PyObject *length = PyLong_FromUnsignedLongLong(len);
    if (outcome != NULL && length != NULL &&
        PyList_SetItem(outcomes, (Py_ssize_t)index, outcome) == 0)
        return PyList_SetItem(lengths, (Py_ssize_t)index, length);
    Py_XDECREF(length);
    return -1;
}

static PyObject *many_answer(struct mlp_py_state *state, const struct many_files *files)
{
    PyObject *outcomes = PyList_New((Py_ssize_t)files->count);
    PyObject *lengths = PyList_New((Py_ssize_t)files->count);
    bool made = outcomes != NULL && lengths != NULL;
    for (size_t i = 0; made && i < files->count; i++)
        made =
            set_row(outcomes, lengths, i, outcome_of(state, files, i), files->entries[i].len) == 0;
    if (made)
        return Py_BuildValue("NN", outcomes, lengths);
    Py_XDECREF(outcomes);
    Py_XDECREF(lengths);
    return NULL;
}

static PyObject *MlpCore_hash_files(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", "threads", "progress", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *paths, *algorithm = NULL, *threads = NULL, *progress = NULL, *answer = NULL;
    struct many_files files = {0};
    if (PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OO:hash_files", names, &paths, &algorithm,
                                    &threads, &progress) &&
        mlp_py_algorithm(state, &files.algorithm, algorithm, "hash_files: algorithm") == 0 &&
        mlp_py_threads(state, &files.threads, threads, "hash_files: threads") == 0 &&
        mlp_py_visit_progress(&files.visit, progress, "hash_files: progress") == 0 &&
        read_paths(&files, paths) == 0 && hash_paths(state, &files) == 0)
        answer = many_answer(state, &files);
    mlp_file_entries_clear(files.entries, files.count);
    PyMem_Free(files.entries);
    Py_XDECREF(files.paths);
    return answer;
}

/* ---- the group ---- */

static PyMethodDef functions[] = {
    {"hash_file", MLP_PY_WITH_KEYWORDS(MlpCore_hash_file), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_file($module, path, /, algorithms, *, threads=None, progress=None)\n--\n\n"
               "Digests of a file in one read, and its length.")},
    {"hash_file_ranges", MLP_PY_WITH_KEYWORDS(MlpCore_hash_file_ranges),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_file_ranges($module, path, ranges, /, algorithm, whole, *, threads=None)\n"
               "--\n\n"
               "Digests of byte ranges, and of the whole file by others, in one read.")},
    {"hash_files", MLP_PY_WITH_KEYWORDS(MlpCore_hash_files), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_files($module, paths, /, algorithm='blake3', *, threads=None, "
               "progress=None)\n--\n\n"
               "Digests of many files in one call, and their lengths.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_file_functions_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
