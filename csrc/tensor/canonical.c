#include "tensor/canonical.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* A long piece lets a transposed matrix use all of each cache line that is read, and stays in the
 * second-level cache of most processors [measured: Zen 4; half or twice as much is slower on the whole]. */
#define PIECE_LEN ((size_t)512 << 10)

/* Rows that are at least this long are read where they lie: the hash fills its lanes with as much. */
#define RUN_IN_PLACE_MIN ((size_t)16 << 10)

#define X87_VALUE_LEN 10 /* sign, exponent, 64-bit significand; the rest of the 16 is padding */

/* ---- transforming a block ----
 *
 * A block begins at an even part: every type that has more than one kind of part has elements of a
 * power of two bytes, at most 32; elements of other lengths are text or void, whose parts are alike. */

static void swap_parts(uint8_t *block, size_t block_len, size_t part_len)
{
    for (size_t i = 0; i < block_len; i += part_len) {
        for (size_t low = i, high = i + part_len - 1; low < high; low++, high--) {
            uint8_t byte = block[low];
            block[low] = block[high];
            block[high] = byte;
        }
    }
}

static void flip_signs(uint8_t *block, size_t block_len, size_t part_len, size_t first_part,
                       size_t step_parts)
{
    for (size_t i = first_part * part_len; i < block_len; i += step_parts * part_len)
        block[i + part_len - 1] ^= 0x80; /* little-endian: the sign is in a part's last byte */
}

/* Two's complement: -x = ~x + 1, carried byte by byte. */
static void negate_integers(uint8_t *block, size_t block_len, size_t part_len)
{
    for (size_t i = 0; i < block_len; i += part_len) {
        unsigned carry = 1;
        for (size_t k = i; k < i + part_len; k++) {
            unsigned sum = (unsigned)(uint8_t)~block[k] + carry;
            block[k] = (uint8_t)sum;
            carry = sum >> 8;
        }
    }
}

static void clear_x87_padding(uint8_t *block, size_t block_len)
{
    for (size_t i = 0; i < block_len; i += 16)
        memset(block + i + X87_VALUE_LEN, 0, 16 - X87_VALUE_LEN);
}

static bool all_zero_or_one(const uint8_t *bytes, size_t bytes_len)
{
    uint8_t seen = 0;
    for (size_t i = 0; i < bytes_len; i++)
        seen |= bytes[i];
    return seen <= 1;
}

static bool is_x87(int dtype)
{
    return dtype == MLP_DTYPE_F80 || dtype == MLP_DTYPE_C160;
}

/* Whether stored bytes can differ from canonical ones for another reason than strides. */
static bool needs_transform(const struct mlp_view *view)
{
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    bool swaps = (view->flags & MLP_VIEW_BYTESWAP) != 0 && info->part_len > 1;
    return swaps || (view->flags & (MLP_VIEW_CONJ | MLP_VIEW_NEG)) != 0 || is_x87(view->dtype);
}

static void transform(const struct mlp_view *view, uint8_t *block, size_t block_len)
{
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    if ((view->flags & MLP_VIEW_BYTESWAP) != 0 && info->part_len > 1)
        swap_parts(block, block_len, info->part_len);
    if (is_x87(view->dtype))
        clear_x87_padding(block, block_len);
    if ((view->flags & MLP_VIEW_NEG) != 0 && info->kind == MLP_KIND_INTEGER)
        negate_integers(block, block_len, info->part_len);
    else if ((view->flags & MLP_VIEW_NEG) != 0)
        flip_signs(block, block_len, info->part_len, 0, 1);
    if ((view->flags & MLP_VIEW_CONJ) != 0)
        flip_signs(block, block_len, info->part_len, 1, 2);
    if (info->kind == MLP_KIND_BOOL) {
        for (size_t i = 0; i < block_len; i++)
            block[i] = block[i] != 0;
    }
}

/* ---- lengths and places ---- */

int mlp_canonical_len(uint64_t *len, const struct mlp_view *view, struct mlp_error *error)
{
    int status = mlp_view_check(view, error);
    uint64_t count;
    if (status == 0)
        status = mlp_view_count(&count, view, error);
    if (status == 0)
        *len = count * view->item_len; /* mlp_view_check: fits */
    return status;
}

bool mlp_canonical_in_place(const struct mlp_view *view)
{
    if (view->stage != NULL || needs_transform(view))
        return false;
    struct mlp_gather gather;
    mlp_gather_init(&gather, view);
    if (!mlp_gather_is_dense(&gather))
        return false;
    return view->dtype != MLP_DTYPE_BOOL || all_zero_or_one(view->data, (size_t)gather.count);
}

/* ---- reading ---- */

void mlp_canonical_reader_init(struct mlp_canonical_reader *reader, const struct mlp_view *view)
{
    reader->view = view;
    mlp_gather_init(&reader->gather, view);
}

const uint8_t *mlp_canonical_read(const void *context, uint64_t offset, size_t len, uint8_t *buffer)
{
    const struct mlp_canonical_reader *reader = context;
    const struct mlp_gather *gather = &reader->gather;
    const uint64_t first = offset / gather->part_len, count = len / gather->part_len;
    if (!needs_transform(reader->view)) {
        const uint8_t *bytes = mlp_gather_in_place(gather, first, count);
        if (bytes != NULL && (reader->view->dtype != MLP_DTYPE_BOOL || all_zero_or_one(bytes, len)))
            return bytes;
    }
    mlp_gather_copy(gather, first, count, buffer);
    transform(reader->view, buffer, len);
    return buffer;
}

size_t mlp_canonical_piece_len(const struct mlp_canonical_reader *reader)
{
    uint64_t run_len = mlp_gather_run_parts(&reader->gather) * reader->gather.part_len;
    size_t piece_len = PIECE_LEN;
    if (needs_transform(reader->view) || run_len < RUN_IN_PLACE_MIN)
        return piece_len;
    while (piece_len > run_len)
        piece_len /= 2;
    return piece_len;
}

/* ---- staging ---- */

int mlp_canonical_stage_part(const struct mlp_view *view, uint64_t first, size_t count, void *out,
                             struct mlp_error *error)
{
    int status = view->stage(view->stage_context, first, count, out, error);
    if (status == 0)
        transform(view, out, count * view->item_len);
    return status;
}

static int stage_blocks(const struct mlp_view *view, uint64_t count, uint8_t *block,
                        size_t block_len, mlp_canonical_sink sink, void *sink_context,
                        struct mlp_error *error)
{
    uint64_t per_block = block_len / view->item_len;
    for (uint64_t first = 0; first < count;) {
        size_t now = (size_t)(count - first < per_block ? count - first : per_block);
        int status = mlp_canonical_stage_part(view, first, now, block, error);
        if (status != 0)
            return status;
        status = sink(sink_context, block, now * view->item_len, error);
        if (status != 0)
            return status;
        first += now;
    }
    return 0;
}

int mlp_canonical_stage(const struct mlp_view *view, mlp_canonical_sink sink, void *sink_context,
                        struct mlp_error *error)
{
    uint64_t len;
    int status = mlp_canonical_len(&len, view, error);
    if (status != 0 || len == 0)
        return status;
    if (view->item_len > MLP_CANONICAL_BLOCK)
        return mlp_fail(error, MLP_E_ARGUMENT, "staged elements of %zu bytes", view->item_len);
    size_t block_len = MLP_CANONICAL_BLOCK;
    if (len < block_len)
        block_len = (size_t)len;
    uint8_t *block = malloc(block_len);
    if (block == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory for a block of %zu bytes", block_len);
    status = stage_blocks(view, len / view->item_len, block, block_len, sink, sink_context, error);
    free(block);
    return status;
}
