#include "tensor/view.h"

#include <stdio.h>
#include <string.h>

int mlp_view_count(uint64_t *count, const struct mlp_view *view, struct mlp_error *error)
{
    uint64_t product = 1;
    bool empty = false;
    bool overflow = false;
    for (int i = 0; i < view->ndim; i++) {
        empty = empty || view->shape[i] == 0;
        overflow = overflow || __builtin_mul_overflow(product, (uint64_t)view->shape[i], &product);
    }
    if (overflow && !empty)
        return mlp_fail(error, MLP_E_TENSOR, "the shape has more elements than 64 bits can count");
    *count = empty ? 0 : product;
    return 0;
}

int mlp_view_set_dense_strides(struct mlp_view *view, struct mlp_error *error)
{
    int64_t stride = (int64_t)view->item_len;
    for (int i = view->ndim - 1; i >= 0; i--) {
        view->strides[i] = stride;
        /* A dimension of 0 has no bytes; strides outside it are never followed. */
        int64_t length = view->shape[i] > 0 ? view->shape[i] : 1;
        if (__builtin_mul_overflow(stride, length, &stride))
            return mlp_fail(error, MLP_E_TENSOR, "the tensor is longer than 2^63 - 1 bytes");
    }
    return 0;
}

/* Every offset that the shape and strides can reach fits int64_t. */
static int check_reach(const struct mlp_view *view, struct mlp_error *error)
{
    int64_t highest = 0;
    int64_t lowest = 0;
    for (int i = 0; i < view->ndim; i++) {
        int64_t reach;
        if (view->shape[i] <= 1)
            continue;
        int64_t *end = view->strides[i] < 0 ? &lowest : &highest;
        if (__builtin_mul_overflow(view->shape[i] - 1, view->strides[i], &reach) ||
            __builtin_add_overflow(*end, reach, end))
            return mlp_fail(error, MLP_E_TENSOR,
                            "stride %lld of dimension %d reaches beyond 2^63 bytes",
                            (long long)view->strides[i], i);
    }
    return 0;
}

static int check_dtype(const struct mlp_view *view, const struct mlp_dtype_info *info,
                       struct mlp_error *error)
{
    if (info->item_len != 0 && info->item_len != view->item_len)
        return mlp_fail(error, MLP_E_ARGUMENT, "dtype %s has elements of %u bytes, not %zu",
                        info->name, info->item_len, view->item_len);
    if (view->item_len % info->part_len != 0 || view->item_len > INT64_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "elements of %zu bytes do not divide into %s's %u",
                        view->item_len, info->name, info->part_len);
    if ((view->flags & ~MLP_VIEW_FLAGS) != 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "unknown view flags %#x", view->flags);
    if ((view->flags & MLP_VIEW_CONJ) != 0 && info->kind != MLP_KIND_COMPLEX)
        return mlp_fail(error, MLP_E_ARGUMENT, "dtype %s has no conjugate", info->name);
    if ((view->flags & MLP_VIEW_NEG) != 0 &&
        (info->kind == MLP_KIND_BITS || info->kind == MLP_KIND_BOOL))
        return mlp_fail(error, MLP_E_TENSOR,
                        "a pending negation of dtype %s has no defined values: "
                        "materialise it first (tensor.resolve_neg())",
                        info->name);
    return 0;
}

int mlp_view_check(const struct mlp_view *view, struct mlp_error *error)
{
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    if (info == NULL)
        return mlp_fail(error, MLP_E_ARGUMENT, "view with unknown dtype %d", view->dtype);
    if (view->ndim < 0 || view->ndim > MLP_VIEW_DIMS_MAX)
        return mlp_fail(error, MLP_E_TENSOR, "%d dimensions: at most %d can be hashed", view->ndim,
                        MLP_VIEW_DIMS_MAX);
    for (int i = 0; i < view->ndim; i++) {
        if (view->shape[i] < 0)
            return mlp_fail(error, MLP_E_TENSOR, "dimension %d has the negative size %lld", i,
                            (long long)view->shape[i]);
    }
    int status = check_dtype(view, info, error);
    if (status != 0)
        return status;

    uint64_t count = 0;
    uint64_t len;
    status = mlp_view_count(&count, view, error);
    if (status != 0)
        return status;
    if (__builtin_mul_overflow(count, (uint64_t)view->item_len, &len) || len > INT64_MAX)
        return mlp_fail(error, MLP_E_TENSOR, "the tensor is longer than 2^63 - 1 bytes");
    if (len == 0 || view->stage != NULL)
        return 0;
    if (view->data == NULL)
        return mlp_fail(error, MLP_E_TENSOR, "the tensor has %llu elements but no memory",
                        (unsigned long long)count);
    return check_reach(view, error);
}

void mlp_view_dtype_name(char name[MLP_DTYPE_NAME_MAX], const struct mlp_view *view)
{
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    const char *base = info != NULL ? info->name : "";
    if (view->dtype == MLP_DTYPE_TEXT_UCS4)
        (void)snprintf(name, MLP_DTYPE_NAME_MAX, "%s%zu_UCS4", base, view->item_len / 4);
    else if (info != NULL && info->item_len == 0)
        (void)snprintf(name, MLP_DTYPE_NAME_MAX, "%s%zu", base, view->item_len);
    else
        (void)snprintf(name, MLP_DTYPE_NAME_MAX, "%s%.*s", base, MLP_DTYPE_UNIT_MAX - 1,
                       view->unit);
}

int mlp_view_leaf_shape(int64_t *shape, const struct mlp_view *view)
{
    memcpy(shape, view->shape, (size_t)view->ndim * sizeof *shape);
    if (view->dtype != MLP_DTYPE_F4)
        return view->ndim;
    /* torch's float4_e2m1fn_x2 counts bytes of two values; safetensors 0.8 writes values. */
    if (view->ndim == 0) {
        shape[0] = 2;
        return 1;
    }
    shape[view->ndim - 1] *= 2;
    return view->ndim;
}
