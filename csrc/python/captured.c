#include "python/captured.h"

#include "hash/hash.h"
#include "python/arguments.h"
#include "tensor/canonical.h"
#include "tensor/digest.h"
#include "torch/bridge.h"

/* How long mlp_py_captured_free holds up its caller: some tasks of a worker. */
#define LEAVE_MS 20

struct mlp_py_captured {
    struct mlp_py_view *views;
    size_t count; /* of those that are held */
    int algorithm;
    size_t digest_len;
    uint8_t *digests; /* a row for each; of those beside once they are done */

    /* The tensors that are hashed beside the caller, and those that were hashed at once: one list, the
     * former from its front. */
    const struct mlp_view **sorted;
    size_t *places; /* indices of views */
    size_t beside_count;
    struct mlp_ticket *ticket;

    struct mlp_py_captured *next; /* of state->leaving */
};

size_t mlp_py_captured_count(const struct mlp_py_captured *captured)
{
    return captured->count;
}

size_t mlp_py_captured_beside(const struct mlp_py_captured *captured)
{
    return captured->beside_count;
}

struct mlp_ticket *mlp_py_captured_ticket(const struct mlp_py_captured *captured)
{
    return captured->ticket;
}

/* ---- letting go ---- */

static void let_go(struct mlp_py_captured *captured)
{
    mlp_ticket_free(captured->ticket);
    for (size_t i = 0; i < captured->count; i++)
        mlp_py_view_release(&captured->views[i]);
    PyMem_Free(captured->views);
    PyMem_Free(captured->digests);
    PyMem_Free(captured->sorted);
    PyMem_Free(captured->places);
    PyMem_Free(captured);
}

/* Those that had a worker inside. */
static void let_go_of_leaving(struct mlp_py_state *state)
{
    struct mlp_py_captured *left = state->leaving;
    state->leaving = NULL; /* releasing runs Python code, which may come here again */
    while (left != NULL) {
        struct mlp_py_captured *next = left->next;
        if (mlp_ticket_cancel(left->ticket, 0)) {
            let_go(left);
        } else {
            left->next = state->leaving;
            state->leaving = left;
        }
        left = next;
    }
}

void mlp_py_captured_free(struct mlp_py_state *state, struct mlp_py_captured *captured)
{
    let_go_of_leaving(state);
    if (captured == NULL)
        return;
    if (captured->ticket == NULL || mlp_ticket_cancel(captured->ticket, LEAVE_MS)) {
        let_go(captured);
        return;
    }
    captured->next = state->leaving;
    state->leaving = captured;
}

/* ---- taking ---- */

static int make_lists(struct mlp_py_captured *captured, size_t count)
{
    captured->views = PyMem_Calloc(count + 1, sizeof *captured->views);
    captured->digests = PyMem_Calloc(count + 1, captured->digest_len);
    captured->sorted = PyMem_Calloc(count + 1, sizeof *captured->sorted);
    captured->places = PyMem_Calloc(count + 1, sizeof *captured->places);
    if (captured->views != NULL && captured->digests != NULL && captured->sorted != NULL &&
        captured->places != NULL)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static int hold_views(struct mlp_py_state *state, struct mlp_py_captured *captured, PyObject *items)
{
    Py_ssize_t count = PyTuple_Size(items);
    for (Py_ssize_t i = 0; i < count; i++) {
        struct mlp_error error;
        if (mlp_py_view_from_object(&state->view, PyTuple_GetItem(items, i), 0, &captured->views[i],
                                    &error) != 0) {
            mlp_py_raise_at(&state->exceptions, &error, i);
            return -1;
        }
        captured->count = (size_t)i + 1;
    }
    return 0;
}

/* Whether a worker may read it while Python goes on. */
static bool may_be_beside(const struct mlp_py_view *held)
{
    return held->torch_held != NULL && held->view.stage == NULL && held->view.version_known &&
           held->bridge->keep_memory(held->torch_held) != 0;
}

static void sort_views(struct mlp_py_captured *captured)
{
    size_t end = captured->count;
    for (size_t i = 0; i < captured->count; i++) {
        size_t place = may_be_beside(&captured->views[i]) ? captured->beside_count++ : --end;
        captured->sorted[place] = &captured->views[i].view;
        captured->places[place] = i;
    }
}

/* ---- hashing ---- */

static void put_digests(struct mlp_py_captured *captured, const uint8_t *rows, size_t begin,
                        size_t end)
{
    for (size_t i = begin; i < end; i++)
        memcpy(captured->digests + captured->places[i] * captured->digest_len,
               rows + (i - begin) * captured->digest_len, captured->digest_len);
}

static int raise_of(struct mlp_py_state *state, const struct mlp_py_captured *captured,
                    const struct mlp_error *error, size_t place, size_t end)
{
    if (place < end)
        mlp_py_raise_at(&state->exceptions, error, (Py_ssize_t)captured->places[place]);
    else
        mlp_py_raise(&state->exceptions, error);
    return -1;
}

static int hash_the_others(struct mlp_py_state *state, struct mlp_py_captured *captured)
{
    size_t begin = captured->beside_count;
    size_t count = captured->count - begin;
    uint8_t *rows = PyMem_Calloc(count + 1, captured->digest_len);
    if (rows == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    struct mlp_error error;
    size_t failed;
    PyThreadState *released = mlp_py_gil_release(count > 0 ? MLP_PY_LONG_WORK : 0);
    int status = mlp_tensor_digest_many(rows, captured->sorted + begin, count, captured->algorithm,
                                        0, &failed, &error);
    mlp_py_gil_take(released);
    if (status == 0)
        put_digests(captured, rows, begin, captured->count);
    PyMem_Free(rows);
    return status == 0 ? 0 : raise_of(state, captured, &error, begin + failed, captured->count);
}

static int queue(struct mlp_py_state *state, struct mlp_py_captured *captured, size_t threads)
{
    const struct mlp_ticket_options options = {
        .algorithm = captured->algorithm,
        .kept_len = captured->count * sizeof *captured->views,
        .threads = threads,
    };
    struct mlp_error error;
    size_t failed;
    /* It hashes at once where there is no worker or no room. */
    PyThreadState *released = PyEval_SaveThread();
    int status = mlp_ticket_new(&captured->ticket, captured->sorted, captured->beside_count,
                                &options, &failed, &error);
    PyEval_RestoreThread(released);
    return status == 0 ? 0 : raise_of(state, captured, &error, failed, captured->beside_count);
}

/* Returns: 0, or -1 with the exception of the failed hashing set. */
static int take_digests(struct mlp_py_state *state, struct mlp_py_captured *captured)
{
    struct mlp_error error;
    bool done;
    size_t failed = captured->beside_count;
    int status = mlp_ticket_wait(captured->ticket, &done, 0, &failed, &error);
    if (status != 0)
        return raise_of(state, captured, &error, failed, captured->beside_count);
    put_digests(captured, mlp_ticket_digests(captured->ticket), 0, captured->beside_count);
    return 0;
}

/* What was hashed before anybody could write needs no ticket. */
static int settle_at_once(struct mlp_py_state *state, struct mlp_py_captured *captured)
{
    if (!mlp_ticket_was_at_once(captured->ticket))
        return 0;
    if (take_digests(state, captured) != 0)
        return -1;
    mlp_ticket_free(captured->ticket);
    captured->ticket = NULL;
    captured->beside_count = 0;
    return 0;
}

struct mlp_py_captured *mlp_py_captured_new(struct mlp_py_state *state, PyObject *items,
                                            int algorithm, size_t threads)
{
    let_go_of_leaving(state);
    struct mlp_py_captured *captured = PyMem_Calloc(1, sizeof *captured);
    if (captured == NULL)
        return (struct mlp_py_captured *)PyErr_NoMemory();
    captured->algorithm = algorithm;
    captured->digest_len = mlp_algorithm_digest_len(algorithm);
    int result = make_lists(captured, (size_t)PyTuple_Size(items));
    if (result == 0)
        result = hold_views(state, captured, items);
    if (result == 0)
        sort_views(captured);
    if (result == 0)
        result = hash_the_others(state, captured);
    if (result == 0)
        result = queue(state, captured, threads);
    if (result == 0)
        result = settle_at_once(state, captured);
    if (result == 0)
        return captured;
    let_go(captured); /* if there is a ticket, it has failed: nobody is inside */
    return NULL;
}

/* ---- the answer ---- */

static bool has_changed(const struct mlp_py_view *held)
{
    struct mlp_torch_state now;
    uint64_t count;
    held->bridge->state_now(held->torch_held, &now);
    if (!now.version_known || now.version != held->view.version)
        return true;
    /* Where there are no elements there is no address to compare. */
    return mlp_view_count(&count, &held->view, NULL) == 0 && count > 0 &&
           now.data != held->view.data;
}

static int hash_again(struct mlp_py_state *state, struct mlp_py_captured *captured, bool *changed)
{
    struct mlp_error error;
    PyThreadState *released = PyEval_SaveThread();
    int status = mlp_ticket_recheck(captured->ticket, changed, &error);
    PyEval_RestoreThread(released);
    if (status == 0)
        return 0;
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* changed: by place among those that were hashed beside. */
static int find_changed(struct mlp_py_state *state, struct mlp_py_captured *captured, bool recheck,
                        bool *changed)
{
    if (captured->ticket == NULL)
        return 0;
    if (take_digests(state, captured) != 0 ||
        (recheck && hash_again(state, captured, changed) != 0))
        return -1;
    for (size_t i = 0; i < captured->beside_count; i++)
        changed[i] = changed[i] || has_changed(&captured->views[captured->places[i]]);
    return 0;
}

static PyObject *row_of(const struct mlp_py_captured *captured, size_t index)
{
    const struct mlp_view *view = &captured->views[index].view;
    char dtype[MLP_DTYPE_NAME_MAX];
    int64_t shape[MLP_VIEW_DIMS_MAX];
    uint64_t len = 0;
    (void)mlp_canonical_len(&len, view, NULL); /* it was hashed */
    mlp_view_dtype_name(dtype, view);
    int ndim = mlp_view_leaf_shape(shape, view);
    return Py_BuildValue(
        "NsNK",
        mlp_py_bytes(captured->digests + index * captured->digest_len, captured->digest_len), dtype,
        mlp_py_numbers_to_tuple(shape, ndim), (unsigned long long)len);
}

static PyObject *rows_of(const struct mlp_py_captured *captured, const bool *changed)
{
    PyObject *rows = PyList_New((Py_ssize_t)captured->count);
    for (size_t i = 0; rows != NULL && i < captured->count; i++) {
        size_t index = captured->places[i];
        PyObject *row = changed[i] ? Py_NewRef(Py_None) : row_of(captured, index);
        if (row == NULL || PyList_SetItem(rows, (Py_ssize_t)index, row) != 0)
            Py_CLEAR(rows);
    }
    return rows;
}

static PyObject *indices_of(const struct mlp_py_captured *captured, const bool *changed)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < captured->count; i++) {
        PyObject *index = changed[i] ? PyLong_FromSize_t(captured->places[i]) : NULL;
        if (changed[i] && (index == NULL || PyList_Append(list, index) != 0))
            Py_CLEAR(list);
        Py_XDECREF(index);
    }
    PyObject *tuple = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

int mlp_py_captured_answer(struct mlp_py_state *state, struct mlp_py_captured *captured,
                           bool recheck, PyObject **rows, PyObject **changed_indices)
{
    bool *changed = PyMem_Calloc(captured->count + 1, sizeof *changed);
    if (changed == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int result = find_changed(state, captured, recheck, changed);
    *rows = result == 0 ? rows_of(captured, changed) : NULL;
    *changed_indices = *rows != NULL ? indices_of(captured, changed) : NULL;
    PyMem_Free(changed);
    if (*changed_indices != NULL)
        return 0;
    Py_CLEAR(*rows);
    return -1;
}
