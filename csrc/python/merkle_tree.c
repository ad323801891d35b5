/* merkle_tree.c - MerkleTree: every leaf hash kept, so that it can prove. */
#include "merkle/merkle.h"
#include "python/arguments.h"
#include "python/lock.h"

#define HASH_LEN MLP_MERKLE_HASH_LEN

/* Work of hashing one leaf hash into a tree: one node of 65 bytes. */
#define NODE_WORK 65

struct tree_object {
    PyObject_HEAD struct mlp_py_lock lock; /* guards what follows */
    struct mlp_buffer hashes;
    struct mlp_merkle_frontier frontier; /* over all of hashes: the current root in O(log n) */
};

static struct tree_object *as_tree(PyObject *object)
{
    return (struct tree_object *)object;
}

static int take_lock(PyObject *self)
{
    return mlp_py_lock_take(&as_tree(self)->lock, mlp_py_state_of(self), "this MerkleTree");
}

static void give_lock(PyObject *self)
{
    mlp_py_lock_give(&as_tree(self)->lock);
}

/* ---- growing ---- */

/* All of the rows or none; without the GIL. */
static int add_rows(struct tree_object *tree, const uint8_t *rows, size_t rows_len,
                    struct mlp_error *error)
{
    if (mlp_buffer_reserve(&tree->hashes, rows_len) != 0) {
        tree->hashes.failed = 0; /* the leaves that are there stay usable */
        return mlp_fail(error, MLP_E_MEMORY, "growing a MerkleTree: out of memory");
    }
    struct mlp_merkle_frontier frontier = tree->frontier;
    for (size_t at = 0; at < rows_len; at += HASH_LEN) {
        int status = mlp_merkle_frontier_append(&frontier, rows + at, error);
        if (status != 0)
            return status;
    }
    tree->frontier = frontier;
    mlp_buffer_append(&tree->hashes, rows, rows_len);
    return 0;
}

/* Returns: 0 and the index of the first row, or -1 with an exception set. */
static int grow(PyObject *self, uint64_t *index, const uint8_t *rows, size_t rows_len)
{
    if (take_lock(self) != 0)
        return -1;
    struct mlp_error error;
    *index = as_tree(self)->frontier.size;
    PyThreadState *released = mlp_py_gil_release(rows_len);
    int status = add_rows(as_tree(self), rows, rows_len, &error);
    mlp_py_gil_take(released);
    give_lock(self);
    if (status != 0)
        mlp_py_raise(&mlp_py_state_of(self)->exceptions, &error);
    return status == 0 ? 0 : -1;
}

static int extend(PyObject *self, PyObject *leaves, const char *what)
{
    struct mlp_buffer rows = {0};
    uint64_t index;
    int result = mlp_py_leaf_hashes(mlp_py_state_of(self), &rows, leaves, what);
    if (result == 0 && rows.len > 0)
        result = grow(self, &index, rows.data, rows.len);
    mlp_buffer_clear(&rows);
    return result;
}

static PyObject *MlpCore_MerkleTree_append(PyObject *self, PyObject *leaf)
{
    uint8_t hash[HASH_LEN];
    uint64_t index;
    if (mlp_py_leaf_hash(mlp_py_state_of(self), hash, leaf, "MerkleTree.append: leaf") != 0 ||
        grow(self, &index, hash, sizeof hash) != 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(index);
}

static PyObject *MlpCore_MerkleTree_append_hash(PyObject *self, PyObject *leaf_hash)
{
    uint8_t hash[HASH_LEN];
    uint64_t index;
    if (mlp_py_bytes_exact(mlp_py_state_of(self), hash, sizeof hash, leaf_hash,
                           "MerkleTree.append_hash: leaf_hash", MLP_E_ARGUMENT) != 0 ||
        grow(self, &index, hash, sizeof hash) != 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(index);
}

static PyObject *MlpCore_MerkleTree_extend(PyObject *self, PyObject *leaves)
{
    if (extend(self, leaves, "MerkleTree.extend: leaves") != 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- answering ---- */

/* Which leaves are meant: read before the lock is taken, because an object's __index__ may call
 * this very tree. */
struct wanted_size {
    uint64_t size;
    bool all;
    const char *what;
};

static int read_size(PyObject *self, struct wanted_size *wanted, PyObject *object, const char *what)
{
    *wanted = (struct wanted_size){.all = Py_IsNone(object), .what = what};
    if (wanted->all)
        return 0;
    return mlp_py_uint64(mlp_py_state_of(self), &wanted->size, object, what, MLP_E_RANGE);
}

/* With the lock held. */
static int check_size(size_t *size, const struct tree_object *tree,
                      const struct wanted_size *wanted, struct mlp_error *error)
{
    uint64_t count = tree->frontier.size;
    *size = (size_t)(wanted->all ? count : wanted->size);
    if (wanted->all || wanted->size <= count)
        return 0;
    return mlp_fail(error, MLP_E_RANGE, "%s is %llu, the tree has %llu leaves", wanted->what,
                    (unsigned long long)wanted->size, (unsigned long long)count);
}

static PyObject *answer_rows(PyObject *self, int status, const uint8_t *path, size_t path_count,
                             const struct mlp_error *error)
{
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of(self)->exceptions, error);
    return mlp_py_rows_to_list(path, path_count, HASH_LEN);
}

static int root_of(uint8_t root32[HASH_LEN], const struct tree_object *tree, size_t size,
                   struct mlp_error *error)
{
    if (size == tree->frontier.size)
        return mlp_merkle_frontier_root(root32, &tree->frontier, error);
    PyThreadState *released = mlp_py_gil_release(size * NODE_WORK);
    int status = mlp_merkle_root(root32, tree->hashes.data, size, error);
    mlp_py_gil_take(released);
    return status;
}

static PyObject *MlpCore_MerkleTree_root(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"size", NULL};
    PyObject *size_object = Py_None;
    struct wanted_size wanted;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:root", names, &size_object) ||
        read_size(self, &wanted, size_object, "MerkleTree.root: size") != 0 || take_lock(self) != 0)
        return NULL;
    uint8_t root[HASH_LEN];
    size_t size;
    struct mlp_error error;
    int status = check_size(&size, as_tree(self), &wanted, &error);
    if (status == 0)
        status = root_of(root, as_tree(self), size, &error);
    give_lock(self);
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of(self)->exceptions, &error);
    return mlp_py_bytes(root, sizeof root);
}

/* Either kind of proof: what mlp_merkle_inclusion and mlp_merkle_consistency have in common. */
typedef int (*prove_function)(uint8_t *path, size_t *path_count, uint64_t number,
                              const uint8_t *leaf_hashes, size_t leaf_count,
                              struct mlp_error *error);

static PyObject *prove(PyObject *self, prove_function function, uint64_t number,
                       const struct wanted_size *wanted)
{
    if (take_lock(self) != 0)
        return NULL;
    uint8_t path[MLP_MERKLE_PATH_MAX * HASH_LEN];
    size_t path_count = 0;
    size_t size;
    struct mlp_error error;
    int status = check_size(&size, as_tree(self), wanted, &error);
    if (status == 0) {
        PyThreadState *released = mlp_py_gil_release(size * NODE_WORK);
        status = function(path, &path_count, number, as_tree(self)->hashes.data, size, &error);
        mlp_py_gil_take(released);
    }
    give_lock(self);
    return answer_rows(self, status, path, path_count, &error);
}

static PyObject *MlpCore_MerkleTree_prove_inclusion(PyObject *self, PyObject *args,
                                                    PyObject *kwargs)
{
    static char *names[] = {"index", "size", NULL};
    PyObject *index_object, *size_object = Py_None;
    uint64_t index;
    struct wanted_size wanted;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:prove_inclusion", names, &index_object,
                                     &size_object) ||
        mlp_py_uint64(mlp_py_state_of(self), &index, index_object,
                      "MerkleTree.prove_inclusion: index", MLP_E_RANGE) != 0 ||
        read_size(self, &wanted, size_object, "MerkleTree.prove_inclusion: size") != 0)
        return NULL;
    return prove(self, mlp_merkle_inclusion, index, &wanted);
}

static PyObject *MlpCore_MerkleTree_prove_consistency(PyObject *self, PyObject *args,
                                                      PyObject *kwargs)
{
    static char *names[] = {"old_size", "new_size", NULL};
    PyObject *old_object, *new_object = Py_None;
    uint64_t old_size;
    struct wanted_size wanted;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:prove_consistency", names, &old_object,
                                     &new_object) ||
        mlp_py_uint64(mlp_py_state_of(self), &old_size, old_object,
                      "MerkleTree.prove_consistency: old_size", MLP_E_RANGE) != 0 ||
        read_size(self, &wanted, new_object, "MerkleTree.prove_consistency: new_size") != 0)
        return NULL;
    return prove(self, mlp_merkle_consistency, old_size, &wanted);
}

static Py_ssize_t MlpCore_MerkleTree_length(PyObject *self)
{
    return (Py_ssize_t)as_tree(self)->frontier.size;
}

/* ---- the type ---- */

static PyObject *MlpCore_MerkleTree_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    PyObject *leaves = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:MerkleTree", names, &leaves))
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL)
        return NULL;
    mlp_buffer_init(&as_tree(self)->hashes);
    mlp_merkle_frontier_init(&as_tree(self)->frontier);
    if (mlp_py_lock_init(&as_tree(self)->lock) != 0 ||
        (leaves != NULL && extend(self, leaves, "MerkleTree: leaves") != 0))
        Py_CLEAR(self);
    return self;
}

static void MlpCore_MerkleTree_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mlp_buffer_clear(&as_tree(self)->hashes);
    mlp_py_lock_clear(&as_tree(self)->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"append", MlpCore_MerkleTree_append, METH_O,
     PyDoc_STR("append($self, leaf, /)\n--\n\nAdd a leaf; returns its index.")},
    {"append_hash", MlpCore_MerkleTree_append_hash, METH_O,
     PyDoc_STR("append_hash($self, leaf_hash, /)\n--\n\nAdd a leaf by its hash.")},
    {"extend", MlpCore_MerkleTree_extend, METH_O,
     PyDoc_STR("extend($self, leaves, /)\n--\n\nAdd all leaves, or none where one cannot be.")},
    {"root", MLP_PY_WITH_KEYWORDS(MlpCore_MerkleTree_root), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("root($self, size=None)\n--\n\nRoot over the first size leaves.")},
    {"prove_inclusion", MLP_PY_WITH_KEYWORDS(MlpCore_MerkleTree_prove_inclusion),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("prove_inclusion($self, index, size=None)\n--\n\nRFC 6962 section 2.1.1.")},
    {"prove_consistency", MLP_PY_WITH_KEYWORDS(MlpCore_MerkleTree_prove_consistency),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("prove_consistency($self, old_size, new_size=None)\n--\n\nRFC 6962 section 2.1.2.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("MerkleTree(leaves=(), /)\n--\n\n"
                          "RFC 6962 tree that keeps every leaf hash so that it can prove.")},
    {Py_tp_new, MlpCore_MerkleTree_new},
    {Py_tp_dealloc, MlpCore_MerkleTree_dealloc},
    {Py_sq_length, MlpCore_MerkleTree_length},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.MerkleTree",
    .basicsize = sizeof(struct tree_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int mlp_py_merkle_tree_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->merkle_tree_type, &spec, 1);
}
