/* tensor_reference.h - canonical bytes once more, one element at a time, as docs/format.md section 2 words
 * them; and the views and random numbers that tests of the tensor room share.
 */
#ifndef MLP_TESTS_TENSOR_REFERENCE_H
#define MLP_TESTS_TENSOR_REFERENCE_H

#include "base/bytes.h"
#include "check.h"
#include "tensor/digest.h"
#include "tensor/view_set.h"

#include <string.h>

static uint64_t random_state;

static inline uint64_t random_below(uint64_t bound)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % bound;
}

static inline void random_fill(uint8_t *bytes, size_t bytes_len)
{
    for (size_t i = 0; i < bytes_len; i++)
        bytes[i] = (uint8_t)random_below(256);
}

static inline struct mlp_view view_of(const void *data, int dtype, int ndim, const int64_t *shape)
{
    struct mlp_view view = {.data = data, .dtype = dtype, .ndim = ndim};
    view.item_len = mlp_dtype_info(dtype)->item_len;
    for (int i = 0; i < ndim; i++)
        view.shape[i] = shape[i];
    CHECK(mlp_view_set_dense_strides(&view, NULL) == 0);
    return view;
}

/* One part of one element, written as docs/format.md says it, not as canonical.c does it. */
static inline void reference_part(uint8_t *part, size_t part_len, const struct mlp_view *view,
                                  size_t part_index)
{
    enum mlp_dtype_kind kind = mlp_dtype_info(view->dtype)->kind;
    bool x87 = view->dtype == MLP_DTYPE_F80 || view->dtype == MLP_DTYPE_C160;
    if ((view->flags & MLP_VIEW_BYTESWAP) != 0) {
        uint8_t copy[16];
        memcpy(copy, part, part_len);
        for (size_t i = 0; i < part_len; i++)
            part[i] = copy[part_len - 1 - i];
    }
    for (size_t i = 10; x87 && i < 16; i++)
        part[i] = 0;
    if (kind == MLP_KIND_BOOL && part[0] > 1)
        part[0] = 1;
    if ((view->flags & MLP_VIEW_NEG) != 0 && kind == MLP_KIND_INTEGER) {
        uint64_t value = 0;
        memcpy(&value, part, part_len);
        value = 0 - value;
        memcpy(part, &value, part_len);
    } else if ((view->flags & MLP_VIEW_NEG) != 0) {
        part[part_len - 1] ^= 0x80;
    }
    if ((view->flags & MLP_VIEW_CONJ) != 0 && part_index == 1)
        part[part_len - 1] ^= 0x80;
}

static inline void reference_walk(struct mlp_buffer *out, const struct mlp_view *view, int dim,
                                  const uint8_t *at)
{
    if (dim < view->ndim) {
        for (int64_t i = 0; i < view->shape[dim]; i++)
            reference_walk(out, view, dim + 1, at + i * view->strides[dim]);
        return;
    }
    size_t part_len = mlp_dtype_info(view->dtype)->part_len;
    for (size_t i = 0; i < view->item_len / part_len; i++) {
        uint8_t part[16];
        memcpy(part, at + i * part_len, part_len);
        reference_part(part, part_len, view, i);
        mlp_buffer_append(out, part, part_len);
    }
}

static inline struct mlp_buffer reference_bytes(const struct mlp_view *view)
{
    struct mlp_buffer out;
    mlp_buffer_init(&out);
    reference_walk(&out, view, 0, view->data);
    return out;
}

/* ---- random views ---- */

#define ARENA_LEN (size_t)(1 << 20)

static uint8_t arena[ARENA_LEN];

static inline void random_item_len(struct mlp_view *view)
{
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    view->item_len = info->item_len != 0 ? info->item_len : info->part_len * random_below(40);
}

static inline void random_flags(struct mlp_view *view)
{
    enum mlp_dtype_kind kind = mlp_dtype_info(view->dtype)->kind;
    if (random_below(3) == 0)
        view->flags |= MLP_VIEW_BYTESWAP;
    if (kind == MLP_KIND_COMPLEX && random_below(2) == 0)
        view->flags |= MLP_VIEW_CONJ;
    if ((kind == MLP_KIND_COMPLEX || kind == MLP_KIND_FLOAT || kind == MLP_KIND_INTEGER) &&
        random_below(3) == 0)
        view->flags |= MLP_VIEW_NEG;
}

/* A dense view whose dimensions are then stepped through, reversed, repeated, permuted: everything
 * that slicing, transposing and expanding can make. */
static inline struct mlp_view random_view(int dtype, uint64_t count_max)
{
    struct mlp_view view = {.dtype = dtype, .ndim = (int)random_below(6)};
    random_item_len(&view);
    random_flags(&view);
    const uint8_t *data = arena + random_below(64); /* any alignment */
    uint64_t count = 1;
    for (int i = 0; i < view.ndim; i++) {
        uint64_t room = count_max / count;
        view.shape[i] = (int64_t)random_below(room < 1 ? 2 : room < 9 ? room + 1 : 9);
        count *= view.shape[i] > 0 ? (uint64_t)view.shape[i] : 1;
    }
    CHECK(mlp_view_set_dense_strides(&view, NULL) == 0);
    for (int i = 0; i < view.ndim; i++) {
        switch (random_below(5)) {
        case 0: /* x[::-1] */
            data += view.shape[i] > 0 ? (view.shape[i] - 1) * view.strides[i] : 0;
            view.strides[i] = -view.strides[i];
            break;
        case 1: /* expand */
            view.strides[i] = 0;
            break;
        case 2: /* x[::2], lying twice as wide; the arena is long enough */
            view.strides[i] *= 2;
            break;
        default:
            break;
        }
    }
    for (int i = view.ndim - 1; i > 0; i--) {
        int other = (int)random_below((uint64_t)i + 1);
        int64_t shape = view.shape[i];
        int64_t stride = view.strides[i];
        view.shape[i] = view.shape[other];
        view.strides[i] = view.strides[other];
        view.shape[other] = shape;
        view.strides[other] = stride;
    }
    view.data = data;
    return view;
}

/* ---- staged views ---- */

/* A stage over dense memory. */
struct stage_source {
    const uint8_t *bytes;
    size_t item_len;
    uint64_t next; /* the first element that has not been asked for */
    int fails;
};

static inline int stage_from_memory(void *context, uint64_t first, size_t count, void *out,
                                    struct mlp_error *error)
{
    struct stage_source *source = context;
    if (source->fails)
        return mlp_fail(error, MLP_E_TENSOR, "device lost");
    CHECK(first == source->next && count > 0);
    source->next = first + count;
    memcpy(out, source->bytes + first * source->item_len, count * source->item_len);
    return 0;
}

/* A set of the views, each kept, and their digests; failed: as mlp_tensor_digest_many. */
static inline int digest_views(uint8_t *digests, const struct mlp_view *const *views, size_t count,
                               int algorithm, size_t threads, size_t *failed,
                               struct mlp_error *error)
{
    struct mlp_view_set set = {0};
    const struct mlp_hash_request request = {algorithm, digests};
    int status = mlp_view_set_init(&set, count, false, error);
    for (size_t i = 0; i < count && status == 0; i++) {
        size_t index;
        status = mlp_view_set_add(&set, &index, views[i], error);
        CHECK(status != 0 || index == i);
    }
    if (status == 0)
        status = mlp_tensor_digest_many(&request, 1, &set, threads, failed, error);
    mlp_view_set_clear(&set);
    return status;
}

#endif
