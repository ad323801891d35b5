#include "tensor/canonical.h"

#include "base/bytes.h"
#include "tensor/gather.h"

#include <stdlib.h>
#include <string.h>

/* A run that is at least this long is pushed where it lies instead of being copied into the block:
 * the hash takes long inputs fastest, and a short push costs more than its copy. */
#define RUN_IN_PLACE_MIN 8192

#define X87_VALUE_LEN 10 /* sign, exponent, 64-bit significand; the rest of the 16 is padding */

/* ---- transforming a block that starts at an even part ---- */

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

/* ---- writing ---- */

struct writer {
    const struct mlp_view *view;
    mlp_canonical_sink sink;
    void *sink_context;
    uint8_t *block;
    size_t block_len;
    struct mlp_error *error;
};

static int write_staged(struct writer *writer, uint64_t count)
{
    const struct mlp_view *view = writer->view;
    uint64_t per_block = writer->block_len / view->item_len;
    for (uint64_t first = 0; first < count;) {
        size_t now = (size_t)(count - first < per_block ? count - first : per_block);
        int status = view->stage(view->stage_context, first, now, writer->block, writer->error);
        if (status != 0)
            return status;
        transform(view, writer->block, now * view->item_len);
        status =
            writer->sink(writer->sink_context, writer->block, now * view->item_len, writer->error);
        if (status != 0)
            return status;
        first += now;
    }
    return 0;
}

/* The bytes at the cursor that can be pushed where they lie; 0: the block must be used. */
static size_t pushable_run(const uint8_t **run, const struct mlp_view *view,
                           const struct mlp_gather *cursor)
{
    if (needs_transform(view))
        return 0;
    size_t run_len = mlp_gather_run(run, cursor);
    if (run_len < RUN_IN_PLACE_MIN)
        return 0;
    if (view->dtype != MLP_DTYPE_BOOL)
        return run_len;
    /* Bool is looked at a block at a time; a block with other bytes is copied and normalised. */
    run_len = run_len < MLP_CANONICAL_BLOCK ? run_len : MLP_CANONICAL_BLOCK;
    return all_zero_or_one(*run, run_len) ? run_len : 0;
}

static int write_strided(struct writer *writer)
{
    struct mlp_gather cursor;
    mlp_gather_init(&cursor, writer->view);
    while (cursor.left > 0) {
        const uint8_t *bytes = NULL;
        size_t bytes_len = pushable_run(&bytes, writer->view, &cursor);
        if (bytes_len > 0) {
            mlp_gather_skip(&cursor, bytes_len);
        } else {
            bytes = writer->block;
            bytes_len = mlp_gather_copy(&cursor, writer->block, writer->block_len);
            transform(writer->view, writer->block, bytes_len);
        }
        int status = writer->sink(writer->sink_context, bytes, bytes_len, writer->error);
        if (status != 0)
            return status;
    }
    return 0;
}

bool mlp_canonical_in_place(const struct mlp_view *view)
{
    if (view->stage != NULL || needs_transform(view))
        return false;
    struct mlp_gather cursor;
    mlp_gather_init(&cursor, view);
    if (!mlp_gather_is_dense(&cursor))
        return false;
    return view->dtype != MLP_DTYPE_BOOL || all_zero_or_one(view->data, (size_t)cursor.left);
}

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

int mlp_canonical_write(const struct mlp_view *view, mlp_canonical_sink sink, void *sink_context,
                        struct mlp_error *error)
{
    uint64_t len;
    int status = mlp_canonical_len(&len, view, error);
    if (status != 0 || len == 0)
        return status;
    if (mlp_canonical_in_place(view))
        return sink(sink_context, view->data, (size_t)len, error);

    if (view->stage != NULL && view->item_len > MLP_CANONICAL_BLOCK)
        return mlp_fail(error, MLP_E_ARGUMENT, "staged elements of %zu bytes", view->item_len);
    /* Every type that has more than one kind of part has elements of a power of two bytes, so
     * blocks begin at even parts; elements of other lengths are text or void, whose parts are
     * alike. */
    size_t block_len = MLP_CANONICAL_BLOCK;
    if (len < block_len)
        block_len = (size_t)len;
    struct writer writer = {view, sink, sink_context, malloc(block_len), block_len, error};
    if (writer.block == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory for a block of %zu bytes", block_len);
    status =
        view->stage != NULL ? write_staged(&writer, len / view->item_len) : write_strided(&writer);
    free(writer.block);
    return status;
}
