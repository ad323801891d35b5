#include "python/captured.h"

#include "hash/hash.h"
#include "python/arguments.h"
#include "python/held_views.h"
#include "tensor/digest.h"
#include "torch/bridge.h"

/* How long mlp_py_captured_free holds up its caller: some tasks of a worker. */
#define LEAVE_MS 20

/* Views that are hashed together. */
struct group {
    struct mlp_view_set views;
    size_t *places; /* of each view: the index of its tensor */
};

struct mlp_py_captured {
    struct mlp_py_refs *refs; /* one for each tensor */
    size_t count;             /* of those that are held */
    int algorithm;
    size_t digest_len;
    uint8_t *digests; /* a row for each tensor; of those beside once they are done */
    struct group beside;
    struct group at_once;
    struct mlp_ticket *ticket;    /* of those beside; NULL: they were hashed at once, too */
    struct mlp_py_captured *next; /* of state->leaving */
};

size_t mlp_py_captured_count(const struct mlp_py_captured *captured)
{
    return captured->count;
}

size_t mlp_py_captured_beside(const struct mlp_py_captured *captured)
{
    return captured->ticket != NULL ? captured->beside.views.count : 0;
}

uint64_t mlp_py_captured_beside_len(const struct mlp_py_captured *captured)
{
    uint64_t len = 0;
    for (size_t i = 0; i < mlp_py_captured_beside(captured); i++)
        len += captured->beside.views.lens[i];
    return len;
}

struct mlp_ticket *mlp_py_captured_ticket(const struct mlp_py_captured *captured)
{
    return captured->ticket;
}

/* ---- letting go ---- */

static void clear_group(struct group *group)
{
    mlp_view_set_clear(&group->views);
    PyMem_Free(group->places);
}

static void let_go(struct mlp_py_captured *captured)
{
    mlp_ticket_free(captured->ticket);
    for (size_t i = 0; i < captured->count; i++)
        mlp_py_refs_release(&captured->refs[i]);
    clear_group(&captured->beside);
    clear_group(&captured->at_once);
    PyMem_Free(captured->refs);
    PyMem_Free(captured->digests);
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

static int make_group(struct mlp_py_state *state, struct group *group, size_t count)
{
    struct mlp_error error;
    if (mlp_view_set_init(&group->views, count, false, &error) != 0) {
        mlp_py_raise(&state->exceptions, &error);
        return -1;
    }
    group->places = PyMem_Calloc(count + 1, sizeof *group->places);
    if (group->places != NULL)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static int make_lists(struct mlp_py_state *state, struct mlp_py_captured *captured, size_t count)
{
    if (make_group(state, &captured->beside, count) != 0 ||
        make_group(state, &captured->at_once, count) != 0)
        return -1;
    captured->refs = PyMem_Calloc(count + 1, sizeof *captured->refs);
    captured->digests = PyMem_Calloc(count + 1, captured->digest_len);
    if (captured->refs != NULL && captured->digests != NULL)
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Whether a worker may read it while Python goes on. */
static bool may_be_beside(const struct mlp_view *view, const struct mlp_py_refs *refs)
{
    return refs->torch_held != NULL && view->stage == NULL && view->version_known &&
           refs->bridge->keep_memory(refs->torch_held) != 0;
}

static int hold_one(struct mlp_py_state *state, struct mlp_py_captured *captured, PyObject *item)
{
    struct mlp_view view;
    struct mlp_error error;
    size_t place = captured->count;
    struct mlp_py_refs *refs = &captured->refs[place];
    int status = mlp_py_view_take(&state->view, item, 0, &view, refs, &error);
    if (status == 0) {
        captured->count++;
        struct group *group = may_be_beside(&view, refs) ? &captured->beside : &captured->at_once;
        size_t index;
        status = mlp_view_set_add(&group->views, &index, &view, &error);
        if (status == 0)
            group->places[index] = place;
    }
    if (status == 0)
        return 0;
    mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)place);
    return -1;
}

static int hold_all(struct mlp_py_state *state, struct mlp_py_captured *captured, PyObject *items)
{
    size_t count = (size_t)PyTuple_Size(items);
    int result = make_lists(state, captured, count);
    for (size_t i = 0; i < count && result == 0; i++)
        result = hold_one(state, captured, PyTuple_GetItem(items, (Py_ssize_t)i));
    return result;
}

/* ---- hashing ---- */

static void put_digests(struct mlp_py_captured *captured, const struct group *group,
                        const uint8_t *rows)
{
    size_t len = captured->digest_len;
    for (size_t i = 0; i < group->views.count; i++)
        memcpy(captured->digests + group->places[i] * len, rows + i * len, len);
}

static int raise_of(struct mlp_py_state *state, const struct group *group,
                    const struct mlp_error *error, size_t failed)
{
    if (failed < group->views.count)
        mlp_py_raise_at(&state->exceptions, error, (Py_ssize_t)group->places[failed]);
    else
        mlp_py_raise(&state->exceptions, error);
    return -1;
}

static int hash_at_once(struct mlp_py_state *state, struct mlp_py_captured *captured)
{
    const struct group *group = &captured->at_once;
    if (group->views.count == 0)
        return 0;
    uint8_t *rows = PyMem_Calloc(group->views.count, captured->digest_len);
    if (rows == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    struct mlp_error error;
    size_t failed;
    const struct mlp_hash_request request = {captured->algorithm, rows};
    PyThreadState *released = PyEval_SaveThread();
    int status = mlp_tensor_digest_many(&request, 1, &group->views, 0, &failed, &error);
    PyEval_RestoreThread(released);
    if (status == 0)
        put_digests(captured, group, rows);
    PyMem_Free(rows);
    return status == 0 ? 0 : raise_of(state, group, &error, failed);
}

/* What is kept until there is an answer, beside the tensors. */
static size_t kept_len(const struct mlp_py_captured *captured)
{
    return captured->count * sizeof *captured->refs + captured->beside.views.packed.len +
           captured->at_once.views.packed.len;
}

static int queue(struct mlp_py_state *state, struct mlp_py_captured *captured, size_t threads)
{
    const struct mlp_ticket_options options = {
        .algorithm = captured->algorithm, .kept_len = kept_len(captured), .threads = threads};
    struct mlp_error error;
    size_t failed;
    /* It hashes at once where there is no worker or no room. */
    PyThreadState *released = PyEval_SaveThread();
    int status =
        mlp_ticket_new(&captured->ticket, &captured->beside.views, &options, &failed, &error);
    PyEval_RestoreThread(released);
    return status == 0 ? 0 : raise_of(state, &captured->beside, &error, failed);
}

/* Returns: 0, or -1 with the exception of the failed hashing set. */
static int take_digests(struct mlp_py_state *state, struct mlp_py_captured *captured)
{
    struct mlp_error error;
    bool done;
    if (mlp_ticket_wait(captured->ticket, &done, 0, &error) != 0) {
        mlp_py_raise(&state->exceptions, &error);
        return -1;
    }
    put_digests(captured, &captured->beside, mlp_ticket_digests(captured->ticket));
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
    int result = hold_all(state, captured, items);
    if (result == 0)
        result = hash_at_once(state, captured);
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

static bool has_changed(const struct mlp_py_captured *captured, size_t index)
{
    struct mlp_view view;
    mlp_view_set_get(&view, &captured->beside.views, index);
    const struct mlp_py_refs *refs = &captured->refs[captured->beside.places[index]];
    struct mlp_torch_state now;
    refs->bridge->state_now(refs->torch_held, &now);
    if (!now.version_known || now.version != view.version)
        return true;
    /* Where there are no elements there is no address to compare. */
    return captured->beside.views.lens[index] > 0 && now.data != view.data;
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

/* changed: of each view of those beside. */
static int find_changed(struct mlp_py_state *state, struct mlp_py_captured *captured, bool recheck,
                        bool *changed)
{
    if (captured->ticket == NULL)
        return 0;
    if (take_digests(state, captured) != 0 ||
        (recheck && hash_again(state, captured, changed) != 0))
        return -1;
    for (size_t i = 0; i < captured->beside.views.count; i++)
        changed[i] = changed[i] || has_changed(captured, i);
    return 0;
}

static PyObject *digest_row_of(const struct mlp_py_captured *captured, const struct group *group,
                               size_t index)
{
    const uint8_t *digest = captured->digests + group->places[index] * captured->digest_len;
    return mlp_py_digest_row(&group->views, index, digest, captured->digest_len);
}

/* changed: NULL: none. */
static int put_rows(PyObject *rows, const struct mlp_py_captured *captured,
                    const struct group *group, const bool *changed)
{
    for (size_t i = 0; i < group->views.count; i++) {
        bool is_none = changed != NULL && changed[i];
        PyObject *row = is_none ? Py_NewRef(Py_None) : digest_row_of(captured, group, i);
        if (row == NULL || PyList_SetItem(rows, (Py_ssize_t)group->places[i], row) != 0)
            return -1;
    }
    return 0;
}

static PyObject *rows_of(const struct mlp_py_captured *captured, const bool *changed)
{
    PyObject *rows = PyList_New((Py_ssize_t)captured->count);
    if (rows != NULL && (put_rows(rows, captured, &captured->beside, changed) != 0 ||
                         put_rows(rows, captured, &captured->at_once, NULL) != 0))
        Py_CLEAR(rows);
    return rows;
}

static PyObject *indices_of(const struct group *group, const bool *changed)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < group->views.count; i++) {
        PyObject *index = changed[i] ? PyLong_FromSize_t(group->places[i]) : NULL;
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
    *changed_indices = *rows != NULL ? indices_of(&captured->beside, changed) : NULL;
    PyMem_Free(changed);
    if (*changed_indices != NULL)
        return 0;
    Py_CLEAR(*rows);
    return -1;
}
