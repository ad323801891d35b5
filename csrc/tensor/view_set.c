#include "tensor/view_set.h"

#include "tensor/canonical.h"

#include <stdlib.h>

/* ---- memory ---- */

/* At least twice as many slots as views, so that a search ends after a few. */
static size_t slots_for(size_t capacity)
{
    size_t slots = 4;
    while (slots / 2 < capacity)
        slots *= 2;
    return slots;
}

/* Room for views of this many dimensions without growing, which would hold the old and the new at
 * once; pages that are not written cost nothing. */
#define USUAL_DIMS 4

int mlp_view_set_init(struct mlp_view_set *set, size_t capacity, bool aliases,
                      struct mlp_error *error)
{
    memset(set, 0, sizeof *set);
    set->capacity = capacity;
    set->begins = calloc(capacity + 1, sizeof *set->begins);
    set->lens = calloc(capacity + 1, sizeof *set->lens);
    if (capacity <= SIZE_MAX / sizeof(struct mlp_view))
        (void)mlp_buffer_reserve(&set->packed,
                                 capacity * (MLP_VIEW_HEAD_LEN + USUAL_DIMS * 2 * sizeof(int64_t)));
    if (aliases && capacity <= SIZE_MAX / 8) {
        set->slots_count = slots_for(capacity);
        set->slots = calloc(set->slots_count, sizeof *set->slots);
    }
    if (set->begins != NULL && set->lens != NULL && (!aliases || set->slots != NULL) &&
        mlp_buffer_status(&set->packed) == 0)
        return 0;
    mlp_view_set_clear(set);
    return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", capacity);
}

void mlp_view_set_clear(struct mlp_view_set *set)
{
    free(set->begins);
    free(set->lens);
    free(set->slots);
    mlp_buffer_clear(&set->packed);
    memset(set, 0, sizeof *set);
}

void mlp_view_set_cut(struct mlp_view_set *set, size_t count)
{
    if (count < set->count)
        set->packed.len = set->begins[count];
    set->count = count;
}

/* ---- packing ---- */

static size_t dims_len(const struct mlp_view *view)
{
    return (size_t)view->ndim * sizeof *view->shape;
}

void mlp_view_set_get(struct mlp_view *view, const struct mlp_view_set *set, size_t index)
{
    const uint8_t *packed = set->packed.data + set->begins[index];
    memcpy(view, packed, MLP_VIEW_HEAD_LEN);
    packed += MLP_VIEW_HEAD_LEN;
    memcpy(view->shape, packed, dims_len(view));
    memcpy(view->strides, packed + dims_len(view), dims_len(view));
}

static int append(struct mlp_view_set *set, const struct mlp_view *view, uint64_t len,
                  struct mlp_error *error)
{
    if (set->count == set->capacity)
        return mlp_fail(error, MLP_E_RANGE, "the set of %zu tensors is full", set->capacity);
    if (mlp_buffer_reserve(&set->packed, MLP_VIEW_HEAD_LEN + 2 * dims_len(view)) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "no memory for tensor %zu of %zu", set->count,
                        set->capacity);
    set->begins[set->count] = set->packed.len;
    set->lens[set->count] = len;
    mlp_buffer_append(&set->packed, view, MLP_VIEW_HEAD_LEN);
    mlp_buffer_append(&set->packed, view->shape, dims_len(view));
    mlp_buffer_append(&set->packed, view->strides, dims_len(view));
    set->count++;
    return 0;
}

/* ---- aliases ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15); /* Knuth, TAOCP 6.4: the golden ratio */
    return hash ^ hash >> 32;
}

static size_t first_slot(const struct mlp_view_set *set, const struct mlp_view *view)
{
    uint64_t hash = mix((uint64_t)(uintptr_t)view->storage, (uint64_t)view->storage_offset);
    for (int i = 0; i < view->ndim; i++)
        hash = mix(mix(hash, (uint64_t)view->shape[i]), (uint64_t)view->strides[i]);
    return (size_t)hash & (set->slots_count - 1);
}

static bool are_aliases(const struct mlp_view *one, const struct mlp_view *other)
{
    return one->storage == other->storage && one->storage_offset == other->storage_offset &&
           one->dtype == other->dtype && one->item_len == other->item_len &&
           one->flags == other->flags && one->ndim == other->ndim &&
           memcmp(one->unit, other->unit, sizeof one->unit) == 0 &&
           memcmp(one->shape, other->shape, dims_len(one)) == 0 &&
           memcmp(one->strides, other->strides, dims_len(one)) == 0;
}

/* Returns: the slot of the view's alias, or the free one where the view belongs. */
static size_t find_slot(const struct mlp_view_set *set, const struct mlp_view *view)
{
    size_t slot = first_slot(set, view);
    struct mlp_view other;
    while (set->slots[slot] != 0) {
        mlp_view_set_get(&other, set, set->slots[slot] - 1);
        if (are_aliases(view, &other))
            break;
        slot = (slot + 1) & (set->slots_count - 1);
    }
    return slot;
}

int mlp_view_set_add(struct mlp_view_set *set, size_t *index, const struct mlp_view *view,
                     struct mlp_error *error)
{
    uint64_t len;
    int status = mlp_canonical_len(&len, view, error);
    if (status != 0)
        return status;
    size_t slot = 0;
    bool has_place = set->slots != NULL && len > 0;
    if (has_place) {
        slot = find_slot(set, view);
        if (set->slots[slot] != 0) {
            *index = set->slots[slot] - 1;
            return 0;
        }
    }
    status = append(set, view, len, error);
    if (status != 0)
        return status;
    *index = set->count - 1;
    if (has_place)
        set->slots[slot] = set->count;
    return 0;
}
