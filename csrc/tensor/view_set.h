/* view_set.h - many views in little memory, aliases kept once.
 *
 * A struct mlp_view has room for 64 dimensions; a model may have a hundred thousand tensors of one
 * or two. Here a view takes its head and 16 bytes for each of its dimensions.
 *
 * Threads: a set belongs to one thread while views are added; afterwards any number may read it.
 * Ownership: views are copied; what they point to stays the caller's, as with a view itself.
 */
#ifndef MLP_TENSOR_VIEW_SET_H
#define MLP_TENSOR_VIEW_SET_H

#include "base/bytes.h"
#include "tensor/view.h"

/* Zero-initialise or mlp_view_set_init; mlp_view_set_clear releases. */
struct mlp_view_set {
    size_t count; /* views that are kept */
    size_t capacity;
    size_t *begins;           /* where each lies in packed */
    uint64_t *lens;           /* canonical bytes of each */
    struct mlp_buffer packed; /* head, shape, strides, one view after another */
    size_t *slots;      /* of a table by place in memory: index + 1, or 0; NULL: not asked for */
    size_t slots_count; /* a power of two */
};

/* In:      capacity: how many views will be added at most.
 *          aliases: true: a view that lies where one in the set lies is not kept again.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_view_set_init(struct mlp_view_set *set, size_t capacity, bool aliases,
                      struct mlp_error *error);

void mlp_view_set_clear(struct mlp_view_set *set);

/* Adds a view, or finds the one whose alias it is: both share storage, offset, shape, strides and
 * element type, and what is pending on the values (docs/format.md section 5, "Aliases"). Views
 * without bytes lie nowhere and are nobody's alias.
 * Out:     index: of the view in the set.
 * Returns: 0; what mlp_view_check returns; MLP_E_RANGE (more than capacity); MLP_E_MEMORY. On
 *          failure the set is as before.
 */
int mlp_view_set_add(struct mlp_view_set *set, size_t *index, const struct mlp_view *view,
                     struct mlp_error *error);

/* Keeps the first views alone, and its memory. The set was made without aliases.
 * In:      count: at most as many as there are.
 */
void mlp_view_set_cut(struct mlp_view_set *set, size_t count);

/* Out:     view: a copy of the view at index, which is below count.
 */
void mlp_view_set_get(struct mlp_view *view, const struct mlp_view_set *set, size_t index);

#endif
