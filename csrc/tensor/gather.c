#include "tensor/gather.h"

#include <string.h>

/* Drops dimensions of 1 and joins a dimension with the next inner one where a step of the outer is
 * all steps of the inner (also two of stride 0). */
static void join_dimensions(struct mlp_gather *cursor)
{
    int kept = 0;
    for (int i = 0; i < cursor->ndim; i++) {
        if (cursor->shape[i] == 1)
            continue;
        int64_t span;
        if (kept > 0 && !__builtin_mul_overflow(cursor->strides[i], cursor->shape[i], &span) &&
            cursor->strides[kept - 1] == span) {
            cursor->shape[kept - 1] *= cursor->shape[i];
            cursor->strides[kept - 1] = cursor->strides[i];
            continue;
        }
        cursor->shape[kept] = cursor->shape[i];
        cursor->strides[kept] = cursor->strides[i];
        kept++;
    }
    if (kept == 0) {
        cursor->shape[0] = 1;
        cursor->strides[0] = (int64_t)cursor->part_len;
        kept = 1;
    }
    cursor->ndim = kept;
}

void mlp_gather_init(struct mlp_gather *cursor, const struct mlp_view *view)
{
    memset(cursor, 0, sizeof *cursor);
    cursor->data = view->data;
    cursor->part_len = mlp_dtype_info(view->dtype)->part_len;
    cursor->ndim = view->ndim + 1;
    uint64_t count = 1;
    for (int i = 0; i < view->ndim; i++) {
        cursor->shape[i] = view->shape[i];
        cursor->strides[i] = view->strides[i];
        if (view->shape[i] == 0)
            count = 0;
        count *= (uint64_t)view->shape[i]; /* mlp_view_check: fits, or is 0 */
    }
    cursor->shape[view->ndim] = (int64_t)(view->item_len / cursor->part_len);
    cursor->strides[view->ndim] = (int64_t)cursor->part_len;
    cursor->left = count * (uint64_t)cursor->shape[view->ndim];
    if (cursor->left > 0)
        join_dimensions(cursor);
}

bool mlp_gather_is_dense(const struct mlp_gather *cursor)
{
    return cursor->left == 0 ||
           (cursor->ndim == 1 && cursor->strides[0] == (int64_t)cursor->part_len);
}

/* Offsets are sums of index x stride, all within the int64_t that mlp_view_check allows. */
static const uint8_t *position(const struct mlp_gather *cursor)
{
    int64_t offset = 0;
    for (int i = 0; i < cursor->ndim; i++)
        offset += cursor->index[i] * cursor->strides[i];
    return cursor->data + offset;
}

/* Steps dimension dim on by count, which ends at most at its end, and carries outwards. */
static void advance(struct mlp_gather *cursor, int dim, int64_t count)
{
    cursor->index[dim] += count;
    while (dim > 0 && cursor->index[dim] == cursor->shape[dim]) {
        cursor->index[dim] = 0;
        cursor->index[--dim]++;
    }
}

size_t mlp_gather_run(const uint8_t **run, const struct mlp_gather *cursor)
{
    int last = cursor->ndim - 1;
    if (cursor->left == 0 || cursor->strides[last] != (int64_t)cursor->part_len)
        return 0;
    *run = position(cursor);
    return (size_t)(cursor->shape[last] - cursor->index[last]) * cursor->part_len;
}

void mlp_gather_skip(struct mlp_gather *cursor, size_t len)
{
    size_t parts = len / cursor->part_len;
    cursor->left -= parts;
    advance(cursor, cursor->ndim - 1, (int64_t)parts);
}

/* One box of rows x columns parts, densely into out. The dimension of the smaller stride is walked
 * innermost, so that a transposed matrix is read along its memory. memcpy of a constant length is
 * one load and one store, at any alignment. */
#define COPY_BOX(part_len)                                                                         \
    static void copy_box_##part_len(uint8_t *out, const uint8_t *from, int64_t rows,               \
                                    int64_t row_stride, int64_t columns, int64_t column_stride)    \
    {                                                                                              \
        bool along_columns = magnitude(column_stride) <= magnitude(row_stride) || rows == 1;       \
        int64_t outer = along_columns ? rows : columns;                                            \
        int64_t inner = along_columns ? columns : rows;                                            \
        int64_t outer_from = along_columns ? row_stride : column_stride;                           \
        int64_t inner_from = along_columns ? column_stride : row_stride;                           \
        int64_t outer_out = along_columns ? columns * (part_len) : (part_len);                     \
        int64_t inner_out = along_columns ? (part_len) : columns * (part_len);                     \
        for (int64_t i = 0; i < outer; i++) {                                                      \
            const uint8_t *source = from + i * outer_from;                                         \
            uint8_t *target = out + i * outer_out;                                                 \
            for (int64_t j = 0; j < inner; j++)                                                    \
                memcpy(target + j * inner_out, source + j * inner_from, (part_len));               \
        }                                                                                          \
    }

static int64_t magnitude(int64_t stride)
{
    return stride < 0 ? -stride : stride;
}

COPY_BOX(1)
COPY_BOX(2)
COPY_BOX(4)
COPY_BOX(8)
COPY_BOX(16)
#undef COPY_BOX

static void copy_box(const struct mlp_gather *cursor, uint8_t *out, int64_t rows, int64_t columns)
{
    int last = cursor->ndim - 1;
    const uint8_t *from = position(cursor);
    int64_t column_stride = cursor->strides[last];
    int64_t row_stride = rows > 1 ? cursor->strides[last - 1] : 0;
    if (column_stride == (int64_t)cursor->part_len) {
        size_t row_len = (size_t)columns * cursor->part_len;
        for (int64_t i = 0; i < rows; i++)
            memcpy(out + (size_t)i * row_len, from + i * row_stride, row_len);
        return;
    }
    switch (cursor->part_len) {
    case 1:
        copy_box_1(out, from, rows, row_stride, columns, column_stride);
        break;
    case 2:
        copy_box_2(out, from, rows, row_stride, columns, column_stride);
        break;
    case 4:
        copy_box_4(out, from, rows, row_stride, columns, column_stride);
        break;
    case 8:
        copy_box_8(out, from, rows, row_stride, columns, column_stride);
        break;
    default:
        copy_box_16(out, from, rows, row_stride, columns, column_stride);
        break;
    }
}

static int64_t smaller(int64_t left, int64_t right)
{
    return left < right ? left : right;
}

size_t mlp_gather_copy(struct mlp_gather *cursor, uint8_t *out, size_t out_len)
{
    uint64_t wanted = out_len / cursor->part_len;
    if (wanted > cursor->left)
        wanted = cursor->left;
    int last = cursor->ndim - 1;
    int64_t room = (int64_t)wanted;
    while (room > 0) {
        int64_t columns = smaller(cursor->shape[last] - cursor->index[last], room);
        int64_t rows = 1;
        /* Whole rows of the innermost two dimensions go as one box. */
        if (last > 0 && columns == cursor->shape[last])
            rows = smaller(cursor->shape[last - 1] - cursor->index[last - 1], room / columns);
        copy_box(cursor, out, rows, columns);
        out += (size_t)(rows * columns) * cursor->part_len;
        room -= rows * columns;
        if (rows > 1)
            advance(cursor, last - 1, rows);
        else
            advance(cursor, last, columns);
    }
    cursor->left -= wanted;
    return (size_t)wanted * cursor->part_len;
}
