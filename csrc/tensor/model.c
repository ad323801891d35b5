#include "tensor/model.h"

#include "hash/hash.h"
#include "merkle/merkle.h"
#include "tensor/digest.h"
#include "tensor/leaf.h"

#include <stdlib.h>

void mlp_model_clear(struct mlp_model *model)
{
    free(model->order);
    free(model->ends);
    mlp_buffer_clear(&model->leaves);
    memset(model, 0, sizeof *model);
}

/* What mlp_model_digest works on. */
struct work {
    struct mlp_model *model;
    const struct mlp_model_entry *entries;
    const struct mlp_view_set *views;
    int algorithm;
    uint8_t *digests; /* of the views */
    uint8_t *hashes;  /* of the leaves, 32 bytes each */
    size_t failed;
    struct mlp_error *error;
};

/* ---- the order of names ---- */

struct key {
    const char *name;
    size_t name_len;
    size_t entry;
};

/* UTF-8 bytes; a name comes after those that it begins with. */
static int compare_keys(const void *left, const void *right)
{
    const struct key *one = left;
    const struct key *other = right;
    size_t common = one->name_len < other->name_len ? one->name_len : other->name_len;
    int order = common > 0 ? memcmp(one->name, other->name, common) : 0;
    if (order != 0)
        return order;
    return (one->name_len > other->name_len) - (one->name_len < other->name_len);
}

/* Most state dicts of one class come in the same order each time, and a plan's are in order. */
static bool is_sorted(const struct key *keys, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&keys[i - 1], &keys[i]) >= 0)
            return false;
    }
    return true;
}

static int check_distinct(struct work *work, const struct key *keys)
{
    for (size_t i = 1; i < work->model->size; i++) {
        if (compare_keys(&keys[i - 1], &keys[i]) == 0) {
            work->failed = keys[i].entry;
            return mlp_fail(work->error, MLP_E_CONFIG,
                            "two entries are named \"%.*s\": each leaf of a tree has a name of its "
                            "own",
                            keys[i].name_len < 200 ? (int)keys[i].name_len : 200, keys[i].name);
        }
    }
    return 0;
}

static int put_in_order(struct work *work)
{
    size_t count = work->model->size;
    struct key *keys = calloc(count + 1, sizeof *keys);
    if (keys == NULL)
        return mlp_fail(work->error, MLP_E_MEMORY, "no memory to sort %zu names", count);
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct key){work->entries[i].name, work->entries[i].name_len, i};
    int status = 0;
    if (!is_sorted(keys, count)) {
        qsort(keys, count, sizeof *keys, compare_keys);
        status = check_distinct(work, keys);
    }
    for (size_t i = 0; i < count; i++)
        work->model->order[i] = keys[i].entry;
    free(keys);
    return status;
}

/* ---- digests ---- */

/* The entry of a view, for an error. */
static size_t entry_of_view(const struct work *work, size_t view)
{
    for (size_t i = 0; i < work->model->size; i++) {
        if (work->entries[i].leaf == NULL && work->entries[i].view == view)
            return i;
    }
    return work->model->size;
}

static int hash_views(struct work *work, size_t threads)
{
    size_t failed_view;
    const struct mlp_hash_request request = {work->algorithm, work->digests};
    int status =
        mlp_tensor_digest_many(&request, 1, work->views, threads, &failed_view, work->error);
    if (status != 0)
        work->failed = entry_of_view(work, failed_view);
    return status;
}

/* ---- leaves ---- */

static int append_tensor_leaf(struct work *work, const struct mlp_model_entry *entry)
{
    struct mlp_view view;
    char dtype[MLP_DTYPE_NAME_MAX];
    int64_t shape[MLP_VIEW_DIMS_MAX];
    mlp_view_set_get(&view, work->views, entry->view);
    mlp_view_dtype_name(dtype, &view);
    const struct mlp_tensor_leaf leaf = {
        .name = entry->name,
        .name_len = entry->name_len,
        .algorithm = work->algorithm,
        .digest = work->digests + entry->view * mlp_algorithm_digest_len(work->algorithm),
        .dtype = dtype,
        .len = work->views->lens[entry->view],
        .ndim = mlp_view_leaf_shape(shape, &view),
        .shape = shape,
    };
    return mlp_tensor_leaf_append(&work->model->leaves, &leaf, work->error);
}

static int append_leaf(struct work *work, const struct mlp_model_entry *entry)
{
    if (entry->leaf == NULL)
        return append_tensor_leaf(work, entry);
    mlp_buffer_append(&work->model->leaves, entry->leaf, entry->leaf_len);
    if (mlp_buffer_status(&work->model->leaves) != 0)
        return mlp_fail(work->error, MLP_E_MEMORY, "no memory to write the leaves");
    return 0;
}

/* Writes the leaf at a position and hashes it. */
static int make_leaf(struct work *work, size_t position)
{
    struct mlp_model *model = work->model;
    size_t begin = model->leaves.len;
    int status = append_leaf(work, &work->entries[model->order[position]]);
    if (status == 0) {
        model->ends[position] = model->leaves.len;
        status = mlp_merkle_leaf_hash(work->hashes + position * MLP_MERKLE_HASH_LEN,
                                      model->leaves.data + begin, model->leaves.len - begin,
                                      work->error);
    }
    if (status != 0)
        work->failed = model->order[position];
    return status;
}

static int make_tree(struct work *work)
{
    int status = 0;
    for (size_t i = 0; i < work->model->size && status == 0; i++)
        status = make_leaf(work, i);
    if (status == 0)
        status = mlp_merkle_root(work->model->root32, work->hashes, work->model->size, work->error);
    return status;
}

/* ---- the call ---- */

static int make_room(struct work *work)
{
    size_t size = work->model->size;
    size_t digest_len = mlp_algorithm_digest_len(work->algorithm);
    if (digest_len == 0)
        return mlp_fail(work->error, MLP_E_ARGUMENT, "unknown digest algorithm %d",
                        work->algorithm);
    work->model->order = calloc(size + 1, sizeof *work->model->order);
    work->model->ends = calloc(size + 1, sizeof *work->model->ends);
    work->hashes = calloc(size + 1, MLP_MERKLE_HASH_LEN);
    work->digests = calloc(work->views->count + 1, digest_len);
    if (work->model->order != NULL && work->model->ends != NULL && work->hashes != NULL &&
        work->digests != NULL)
        return 0;
    return mlp_fail(work->error, MLP_E_MEMORY, "no memory for the tree of %zu tensors", size);
}

int mlp_model_digest(struct mlp_model *model, const struct mlp_model_entry *entries,
                     size_t entries_count, const struct mlp_view_set *views, int algorithm,
                     size_t threads, size_t *failed, struct mlp_error *error)
{
    struct work work = {.model = model,
                        .entries = entries,
                        .views = views,
                        .algorithm = algorithm,
                        .failed = entries_count,
                        .error = error};
    model->size = entries_count;
    int status = make_room(&work);
    if (status == 0)
        status = put_in_order(&work);
    if (status == 0)
        status = hash_views(&work, threads);
    if (status == 0)
        status = make_tree(&work);
    free(work.digests);
    free(work.hashes);
    if (failed != NULL)
        *failed = work.failed;
    return status;
}
