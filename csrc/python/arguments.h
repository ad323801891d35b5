/* arguments.h - reading arguments: buffers, numbers, text, paths, lists of them; and the GIL.
 *
 * Every function answers 0, or -1 with an exception set. what: names the argument in its text, as
 * "Hasher.update: data". Wrong types are TypeError. Where a value is of the right type but cannot
 * be used (a wrong length, a negative number), the exception is that of the status which the caller
 * names: MLP_E_ARGUMENT (ValueError), MLP_E_RANGE (IndexError), or MLP_E_MALFORMED (EvidenceError)
 * where the value comes from evidence.
 *
 * Threads: with the GIL held, unless a function says otherwise.
 */
#ifndef MLP_PYTHON_ARGUMENTS_H
#define MLP_PYTHON_ARGUMENTS_H

#include "base/bytes.h"
#include "hash/hash.h"
#include "python/module.h"

/* ---- the GIL ---- */

/* Below this many bytes of work, handing the GIL over costs more than the work. */
#define MLP_PY_GIL_WORK 2048

/* Work of unknown length: disk, locks, cryptography. */
#define MLP_PY_LONG_WORK SIZE_MAX

/* Releases the GIL if the work is worth it. Give the answer to mlp_py_gil_take. */
static inline PyThreadState *mlp_py_gil_release(size_t work_len)
{
    return work_len < MLP_PY_GIL_WORK ? NULL : PyEval_SaveThread();
}

static inline void mlp_py_gil_take(PyThreadState *released)
{
    if (released != NULL)
        PyEval_RestoreThread(released);
}

/* ---- single values ---- */

/* Takes a contiguous buffer; release it with PyBuffer_Release. */
int mlp_py_buffer(Py_buffer *buffer, PyObject *object, const char *what);

/* Copies a buffer of exactly out_len bytes. */
int mlp_py_bytes_exact(struct mlp_py_state *state, uint8_t *out, size_t out_len, PyObject *object,
                       const char *what, int bad_status);

int mlp_py_uint64(struct mlp_py_state *state, uint64_t *value, PyObject *object, const char *what,
                  int bad_status);

/* *text lives as long as object. Text with lone surrogates is UnicodeEncodeError (a ValueError). */
int mlp_py_text(const char **text, size_t *text_len, PyObject *object, const char *what);

/* The same where None is allowed: *text is NULL then. */
int mlp_py_optional_text(const char **text, size_t *text_len, PyObject *object, const char *what);

/* object: NULL (BLAKE3) or a str. */
int mlp_py_algorithm(struct mlp_py_state *state, int *algorithm, PyObject *object,
                     const char *what);

/* The algorithms of a sequence of names, with no place for digests yet: at least count_min, at most
 * MLP_HASH_REQUESTS_MAX. */
int mlp_py_algorithms(struct mlp_py_state *state, struct mlp_hash_request *requests, size_t *count,
                      size_t count_min, PyObject *sequence, const char *what);

/* object: NULL or None (0, the setting), or an int from 1 to MLP_THREADS_MAX; ConfigError for other
 * numbers. */
int mlp_py_threads(struct mlp_py_state *state, size_t *threads, PyObject *object, const char *what);

/* str, bytes or os.PathLike; *path is the caller's reference to bytes without NUL. */
int mlp_py_path(PyObject **path, PyObject *object);

/* ---- lists ---- */

/* A tuple (new reference) of a sequence's items; other iterables are TypeError. */
int mlp_py_items(PyObject **items, PyObject *sequence, const char *what);

/* The buffers of a sequence, all held at once. Zero-initialise; release also after a failure. */
struct mlp_py_buffers {
    Py_buffer *items;
    size_t count;
    size_t total_len;
};

int mlp_py_buffers_take(struct mlp_py_buffers *buffers, PyObject *sequence, const char *what);
void mlp_py_buffers_release(struct mlp_py_buffers *buffers);

/* Appends each 32-byte item of a sequence to rows. */
int mlp_py_hash_rows(struct mlp_py_state *state, struct mlp_buffer *rows, PyObject *sequence,
                     const char *what, int bad_status);

/* The RFC 6962 leaf hash of a buffer. */
int mlp_py_leaf_hash(struct mlp_py_state *state, uint8_t hash32[32], PyObject *leaf,
                     const char *what);

/* Appends the RFC 6962 leaf hash of every leaf of an iterable to hashes. An iterator may hand out
 * one buffer again and again; the items of a list or tuple are taken many at a time. On failure
 * the length of hashes is as before. */
int mlp_py_leaf_hashes(struct mlp_py_state *state, struct mlp_buffer *hashes, PyObject *leaves,
                       const char *what);

/* ---- answers ---- */

/* Returns: a new list of count bytes objects, row_len each, or NULL with an exception set. */
PyObject *mlp_py_rows_to_list(const uint8_t *rows, size_t count, size_t row_len);

/* Returns: a new tuple of count int objects. */
PyObject *mlp_py_numbers_to_tuple(const int64_t *numbers, int count);

PyObject *mlp_py_bytes(const uint8_t *bytes, size_t bytes_len);

struct mlp_leaves;
PyObject *mlp_py_leaves_to_list(const struct mlp_leaves *leaves);

/* Bytes of what was written, or the exception of its failure. Clears buffer in both cases. */
PyObject *mlp_py_bytes_of_buffer(struct mlp_buffer *buffer);
PyObject *mlp_py_text_of_buffer(struct mlp_buffer *buffer);

#endif
