/* Canonical bytes, digests, leaves and safetensors headers, against a reference that walks a view
 * one element at a time. Real tensors and arrays are the Python tests' (tests/python). */
#include "base/bytes.h"
#include "check.h"
#include "hash/hash.h"
#include "tensor/canonical.h"
#include "tensor/digest.h"
#include "tensor/gather.h"
#include "tensor/leaf.h"
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

/* ---- the slow reference ---- */

static uint64_t random_state;

static uint64_t random_below(uint64_t bound)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % bound;
}

static void random_fill(uint8_t *bytes, size_t bytes_len)
{
    for (size_t i = 0; i < bytes_len; i++)
        bytes[i] = (uint8_t)random_below(256);
}

static struct mlp_view view_of(const void *data, int dtype, int ndim, const int64_t *shape)
{
    struct mlp_view view = {.data = data, .dtype = dtype, .ndim = ndim};
    view.item_len = mlp_dtype_info(dtype)->item_len;
    for (int i = 0; i < ndim; i++)
        view.shape[i] = shape[i];
    CHECK(mlp_view_set_dense_strides(&view, NULL) == 0);
    return view;
}

/* One part of one element, written as docs/format.md says it, not as canonical.c does it. */
static void reference_part(uint8_t *part, size_t part_len, const struct mlp_view *view,
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

static void reference_walk(struct mlp_buffer *out, const struct mlp_view *view, int dim,
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

static struct mlp_buffer reference_bytes(const struct mlp_view *view)
{
    struct mlp_buffer out;
    mlp_buffer_init(&out);
    reference_walk(&out, view, 0, view->data);
    return out;
}

/* ---- what is held against it ---- */

struct collector {
    struct mlp_buffer bytes;
    size_t pushes;
    size_t largest;
    const void *first; /* where the first push lay */
    size_t fail_at;    /* this push fails; 0: none */
};

static int collect(void *context, const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    struct collector *collector = context;
    collector->pushes++;
    if (collector->pushes == collector->fail_at)
        return mlp_fail(error, MLP_E_IO, "asked to fail");
    if (collector->pushes == 1)
        collector->first = bytes;
    if (bytes_len > collector->largest)
        collector->largest = bytes_len;
    mlp_buffer_append(&collector->bytes, bytes, bytes_len);
    return 0;
}

/* A stage over dense memory. */
struct stage_source {
    const uint8_t *bytes;
    size_t item_len;
    uint64_t next; /* the first element that has not been asked for */
    int fails;
};

static int stage_from_memory(void *context, uint64_t first, size_t count, void *out,
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

static bool same_bytes(const struct mlp_buffer *left, const struct mlp_buffer *right)
{
    return left->len == right->len &&
           (left->len == 0 || memcmp(left->data, right->data, left->len) == 0);
}

/* A set of the views, each kept, and their digests; failed: as mlp_tensor_digest_many. */
static int digest_views(uint8_t *digests, const struct mlp_view *const *views, size_t count,
                        int algorithm, size_t threads, size_t *failed, struct mlp_error *error)
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

static int digest_one(uint8_t *digest, const struct mlp_view *view, int algorithm,
                      struct mlp_error *error)
{
    return digest_views(digest, &view, 1, algorithm, 0, NULL, error);
}

/* Canonical bytes, length, one digest and many digests all say what the reference says. */
static bool agrees_with_reference(const struct mlp_view *view)
{
    struct mlp_buffer expected = reference_bytes(view);
    struct collector seen = {0};
    struct mlp_error error = {0};
    uint64_t len = 0;
    uint8_t digest[32];
    uint8_t expected_digest[32];
    uint8_t twice[64];
    const struct mlp_view *pair[2] = {view, view};
    bool holds = mlp_canonical_write(view, collect, &seen, &error) == 0 &&
                 same_bytes(&seen.bytes, &expected) && mlp_canonical_len(&len, view, &error) == 0 &&
                 len == expected.len;
    mlp_blake3(expected_digest, expected.data, expected.len);
    holds = holds && digest_one(digest, view, MLP_BLAKE3, &error) == 0 &&
            memcmp(digest, expected_digest, 32) == 0 &&
            digest_views(twice, pair, 2, MLP_BLAKE3, 2, NULL, &error) == 0 &&
            memcmp(twice, expected_digest, 32) == 0 && memcmp(twice + 32, expected_digest, 32) == 0;
    if (!holds)
        printf("  dtype %s, %d dimensions: %s\n", mlp_dtype_info(view->dtype)->name, view->ndim,
               error.message);
    mlp_buffer_clear(&expected);
    mlp_buffer_clear(&seen.bytes);
    return holds;
}

/* ---- random views ---- */

#define ARENA_LEN (size_t)(1 << 20)

static uint8_t arena[ARENA_LEN];

static void random_item_len(struct mlp_view *view)
{
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    view->item_len = info->item_len != 0 ? info->item_len : info->part_len * random_below(40);
}

static void random_flags(struct mlp_view *view)
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
static struct mlp_view random_view(int dtype, uint64_t count_max)
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

static void every_dtype_and_layout_gives_the_bytes_of_the_reference(void)
{
    random_state = 7;
    random_fill(arena, ARENA_LEN);
    for (int dtype = 1; dtype < MLP_DTYPE_END; dtype++) {
        for (int round = 0; round < 60; round++) {
            struct mlp_view view = random_view(dtype, round % 4 == 0 ? 500 : 60);
            if (!CHECK(agrees_with_reference(&view)))
                return;
        }
    }
}

/* Blocks end inside rows, between rows, and inside an element's parts. */
static void tensors_longer_than_a_block_are_gathered_block_by_block(void)
{
    static const int dtypes[] = {MLP_DTYPE_U8,   MLP_DTYPE_F16,  MLP_DTYPE_F32, MLP_DTYPE_C64,
                                 MLP_DTYPE_C128, MLP_DTYPE_C160, MLP_DTYPE_BOOL};
    random_fill(arena, ARENA_LEN);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        size_t item_len = mlp_dtype_info(dtypes[i])->item_len;
        for (int64_t extra = -1; extra <= 1; extra++) {
            int64_t items = (int64_t)(2 * MLP_CANONICAL_BLOCK / item_len) + extra;
            struct mlp_view view = view_of(arena, dtypes[i], 2, (int64_t[]){3, items / 3 + 1});
            struct mlp_view turned = view;
            turned.shape[0] = view.shape[1];
            turned.shape[1] = view.shape[0];
            turned.strides[0] = view.strides[1];
            turned.strides[1] = view.strides[0];
            CHECK(agrees_with_reference(&view));
            CHECK(agrees_with_reference(&turned));
            view.flags = MLP_VIEW_BYTESWAP;
            CHECK(agrees_with_reference(&view));
            if (mlp_dtype_info(dtypes[i])->kind == MLP_KIND_COMPLEX) {
                turned.flags = MLP_VIEW_CONJ;
                CHECK(agrees_with_reference(&turned));
            }
        }
    }
}

static void rows_with_gaps_are_pushed_where_they_lie(void)
{
    struct mlp_view view = view_of(arena, MLP_DTYPE_U8, 2, (int64_t[]){5, 20000});
    view.strides[0] = 20001;
    struct collector seen = {0};
    CHECK(mlp_canonical_write(&view, collect, &seen, NULL) == 0);
    CHECK(seen.pushes == 5 && seen.first == (const void *)arena);
    CHECK(agrees_with_reference(&view));
    mlp_buffer_clear(&seen.bytes);
}

/* Three items of 100,000 bytes with a gap after each. */
static void items_longer_than_a_block_are_hashed(void)
{
    for (int dtype = MLP_DTYPE_TEXT_BYTES; dtype <= MLP_DTYPE_VOID; dtype++) {
        struct mlp_view view = {.data = arena, .dtype = dtype, .ndim = 1, .item_len = 100000};
        view.shape[0] = 3;
        view.strides[0] = 100004;
        CHECK(agrees_with_reference(&view));
        view.flags = MLP_VIEW_BYTESWAP;
        CHECK(agrees_with_reference(&view));
    }
}

static void a_contiguous_tensor_is_hashed_where_it_lies(void)
{
    struct mlp_view view = view_of(arena, MLP_DTYPE_F32, 3, (int64_t[]){8, 16, 1024});
    struct collector seen = {0};
    CHECK(mlp_canonical_in_place(&view));
    CHECK(mlp_canonical_write(&view, collect, &seen, NULL) == 0);
    CHECK(seen.pushes == 1 && seen.first == (const void *)arena);
    mlp_buffer_clear(&seen.bytes);
    view.strides[0] += 4;
    CHECK(!mlp_canonical_in_place(&view));
}

static void no_push_but_one_in_place_is_longer_than_a_block(void)
{
    struct mlp_view view = view_of(arena, MLP_DTYPE_F32, 2, (int64_t[]){300, 400});
    struct collector seen = {0};
    view.strides[0] = 4;
    view.strides[1] = 1200;
    CHECK(mlp_canonical_write(&view, collect, &seen, NULL) == 0);
    CHECK(seen.largest <= MLP_CANONICAL_BLOCK && seen.pushes > 1);
    mlp_buffer_clear(&seen.bytes);
}

/* ---- values ---- */

static void bool_bytes_other_than_0_are_1(void)
{
    static const uint8_t stored[] = {0, 1, 2, 255, 0x80};
    static const uint8_t hashed[] = {0, 1, 1, 1, 1};
    struct mlp_view view = view_of(stored, MLP_DTYPE_BOOL, 1, (int64_t[]){5});
    struct collector seen = {0};
    CHECK(!mlp_canonical_in_place(&view));
    CHECK(mlp_canonical_write(&view, collect, &seen, NULL) == 0);
    CHECK(seen.bytes.len == 5 && memcmp(seen.bytes.data, hashed, 5) == 0);
    mlp_buffer_clear(&seen.bytes);
    view.shape[0] = 2;
    CHECK(mlp_canonical_in_place(&view));
}

static void long_bools_are_normalised_in_the_block_that_needs_it(void)
{
    uint8_t *stored = calloc(1, 300000);
    if (!CHECK(stored != NULL))
        return;
    stored[200001] = 7;
    struct mlp_view view = view_of(stored, MLP_DTYPE_BOOL, 1, (int64_t[]){300000});
    CHECK(agrees_with_reference(&view));
    free(stored);
}

static void padding_of_x87_values_does_not_count(void)
{
    uint8_t one[32];
    uint8_t other[32];
    uint8_t digests[2][32];
    random_fill(one, sizeof one);
    memcpy(other, one, sizeof one);
    other[10] ^= 1;
    other[31] ^= 0x80;
    struct mlp_view view = view_of(one, MLP_DTYPE_F80, 1, (int64_t[]){2});
    CHECK(digest_one(digests[0], &view, MLP_BLAKE3, NULL) == 0);
    view.data = other;
    CHECK(digest_one(digests[1], &view, MLP_BLAKE3, NULL) == 0);
    CHECK(memcmp(digests[0], digests[1], 32) == 0);
    other[9] ^= 1; /* a value byte does */
    CHECK(digest_one(digests[1], &view, MLP_BLAKE3, NULL) == 0);
    CHECK(memcmp(digests[0], digests[1], 32) != 0);
}

static void negative_zero_and_nan_payloads_are_kept(void)
{
    static const uint32_t bits[] = {0x80000000, 0x7fc00001, 0x7f800001, 0xffc00000};
    struct mlp_view view = view_of(bits, MLP_DTYPE_F32, 2, (int64_t[]){2, 2});
    struct collector seen = {0};
    view.strides[0] = 4;
    view.strides[1] = 8; /* gathered, not in place */
    CHECK(mlp_canonical_write(&view, collect, &seen, NULL) == 0);
    static const uint32_t expected[] = {0x80000000, 0x7f800001, 0x7fc00001, 0xffc00000};
    CHECK(seen.bytes.len == 16 && memcmp(seen.bytes.data, expected, 16) == 0);
    mlp_buffer_clear(&seen.bytes);
}

static void empty_tensors_of_any_shape_have_the_digest_of_nothing(void)
{
    uint8_t digest[32];
    uint8_t nothing[32];
    mlp_blake3(nothing, "", 0);
    struct mlp_view view = view_of(NULL, MLP_DTYPE_F32, 3, (int64_t[]){4, 0, 5});
    CHECK(digest_one(digest, &view, MLP_BLAKE3, NULL) == 0);
    CHECK(memcmp(digest, nothing, 32) == 0);
    /* A shape whose product overflows before the 0 is reached. */
    view.shape[0] = INT64_C(1) << 40;
    view.shape[1] = INT64_C(1) << 60;
    view.shape[2] = 0;
    CHECK(digest_one(digest, &view, MLP_BLAKE3, NULL) == 0);
    CHECK(memcmp(digest, nothing, 32) == 0);
    struct mlp_view no_items = {.dtype = MLP_DTYPE_VOID, .ndim = 1};
    no_items.shape[0] = 9;
    CHECK(digest_one(digest, &no_items, MLP_BLAKE3, NULL) == 0);
    CHECK(memcmp(digest, nothing, 32) == 0);
}

static void sixty_four_dimensions_are_hashed(void)
{
    struct mlp_view view = {.data = arena, .dtype = MLP_DTYPE_F16, .ndim = 64, .item_len = 2};
    for (int i = 0; i < 64; i++) {
        view.shape[i] = i % 5 == 0 ? 2 : 1;
        view.strides[i] = i % 5 == 0 ? 2 * ((i * 7) % 64) : 12345;
    }
    CHECK(agrees_with_reference(&view));
    view.ndim = 65;
    CHECK(mlp_view_check(&view, NULL) == MLP_E_TENSOR);
}

/* ---- staged views ---- */

static void a_staged_view_has_the_digest_of_its_dense_twin(void)
{
    static const int dtypes[] = {MLP_DTYPE_U8, MLP_DTYPE_F32, MLP_DTYPE_C128, MLP_DTYPE_BOOL};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        size_t item_len = mlp_dtype_info(dtypes[i])->item_len;
        int64_t per_block = (int64_t)(MLP_CANONICAL_BLOCK / item_len);
        const int64_t counts[] = {0, 1, per_block - 1, per_block, per_block + 1, 3 * per_block + 7};
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            struct mlp_view dense = view_of(arena, dtypes[i], 1, &counts[k]);
            struct stage_source source = {arena, item_len, 0, 0};
            struct mlp_view staged = dense;
            uint8_t digests[2][32];
            if (mlp_dtype_info(dtypes[i])->kind == MLP_KIND_COMPLEX)
                dense.flags = staged.flags = MLP_VIEW_CONJ | MLP_VIEW_NEG;
            staged.data = NULL;
            staged.stage = stage_from_memory;
            staged.stage_context = &source;
            CHECK(digest_one(digests[0], &dense, MLP_BLAKE3, NULL) == 0);
            CHECK(digest_one(digests[1], &staged, MLP_BLAKE3, NULL) == 0);
            CHECK(memcmp(digests[0], digests[1], 32) == 0);
            CHECK(source.next == (uint64_t)counts[k]);
        }
    }
}

static void failures_of_stage_and_sink_end_the_write(void)
{
    struct stage_source source = {arena, 4, 0, 1};
    struct mlp_error error = {0};
    uint8_t digest[32];
    struct mlp_view view = view_of(arena, MLP_DTYPE_F32, 1, (int64_t[]){100000});
    view.strides[0] = 8;
    struct collector seen = {.fail_at = 2};
    CHECK(mlp_canonical_write(&view, collect, &seen, &error) == MLP_E_IO);
    CHECK(seen.pushes == 2);
    mlp_buffer_clear(&seen.bytes);
    view.stage = stage_from_memory;
    view.stage_context = &source;
    CHECK(digest_one(digest, &view, MLP_BLAKE3, &error) == MLP_E_TENSOR);
    CHECK(strcmp(error.message, "device lost") == 0);
}

/* ---- what is refused ---- */

static void views_that_cannot_be_hashed_are_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_view good = view_of(arena, MLP_DTYPE_F32, 2, (int64_t[]){2, 3});
    struct mlp_view view = good;
    CHECK(mlp_view_check(&view, &error) == 0);
    view.dtype = MLP_DTYPE_NONE;
    CHECK(mlp_view_check(&view, &error) == MLP_E_ARGUMENT);
    view.dtype = MLP_DTYPE_END;
    CHECK(mlp_view_check(&view, &error) == MLP_E_ARGUMENT);
    view = good;
    view.item_len = 8;
    CHECK(mlp_view_check(&view, &error) == MLP_E_ARGUMENT);
    view = good;
    view.flags = 8;
    CHECK(mlp_view_check(&view, &error) == MLP_E_ARGUMENT);
    view.flags = MLP_VIEW_CONJ;
    CHECK(mlp_view_check(&view, &error) == MLP_E_ARGUMENT);
    view = good;
    view.shape[1] = -1;
    CHECK(mlp_view_check(&view, &error) == MLP_E_TENSOR);
    view = good;
    view.data = NULL;
    CHECK(mlp_view_check(&view, &error) == MLP_E_TENSOR);
    view = view_of(arena, MLP_DTYPE_BOOL, 1, (int64_t[]){2});
    view.flags = MLP_VIEW_NEG;
    CHECK(mlp_view_check(&view, &error) == MLP_E_TENSOR);
    struct mlp_view text = {.data = arena, .dtype = MLP_DTYPE_TEXT_UCS4, .item_len = 6};
    CHECK(mlp_view_check(&text, &error) == MLP_E_ARGUMENT);
}

static void lengths_that_overflow_are_refused(void)
{
    struct mlp_view view = {.data = arena, .dtype = MLP_DTYPE_F64, .ndim = 2, .item_len = 8};
    uint64_t len = 99;
    view.shape[0] = INT64_C(1) << 40;
    view.shape[1] = INT64_C(1) << 40;
    CHECK(mlp_canonical_len(&len, &view, NULL) == MLP_E_TENSOR); /* the count */
    view.shape[1] = INT64_C(1) << 20;
    CHECK(mlp_canonical_len(&len, &view, NULL) == MLP_E_TENSOR); /* the bytes */
    view.shape[0] = 2;
    view.shape[1] = 3;
    view.strides[1] = INT64_MAX / 2 + 1;
    CHECK(mlp_canonical_len(&len, &view, NULL) == MLP_E_TENSOR); /* the reach of a stride */
    view.strides[1] = INT64_MAX / 2;
    view.strides[0] = INT64_MAX / 2;
    CHECK(mlp_canonical_len(&len, &view, NULL) == MLP_E_TENSOR); /* of two together */
    CHECK(len == 99);
    view.shape[0] = INT64_C(1) << 62;
    CHECK(mlp_view_set_dense_strides(&view, NULL) == MLP_E_TENSOR);
}

static void the_failing_tensor_of_many_is_named_by_its_index(void)
{
    struct stage_source lost = {.bytes = arena, .item_len = 4, .fails = 1};
    struct mlp_view good = view_of(arena, MLP_DTYPE_F32, 1, (int64_t[]){3});
    struct mlp_view bad = good;
    uint8_t digests[3 * 64];
    size_t failed = 99;
    bad.stage = stage_from_memory;
    bad.stage_context = &lost;
    const struct mlp_view *views[] = {&good, &good, &bad};
    CHECK(digest_views(digests, views, 3, MLP_SHA256, 0, &failed, NULL) == MLP_E_TENSOR);
    CHECK(failed == 2);
    CHECK(digest_views(digests, views, 2, 77, 0, &failed, NULL) == MLP_E_ARGUMENT);
    CHECK(failed == 2);
    CHECK(digest_views(digests, views, 0, MLP_SHA256, 0, &failed, NULL) == 0);
}

static void several_algorithms_hash_what_each_hashes_alone(void)
{
    static const int algorithms[] = {MLP_BLAKE3, MLP_SHA256, MLP_SHA384, MLP_SHA512};
    struct mlp_view dense = view_of(arena, MLP_DTYPE_F32, 1, (int64_t[]){5000});
    struct mlp_view strided = dense;
    struct mlp_view staged = dense;
    struct stage_source source = {.bytes = arena, .item_len = 4};
    struct mlp_hash_request requests[MLP_DIGEST_REQUESTS_MAX + 1] = {{0}};
    uint8_t digests[4][3 * MLP_HASH_MAX_LEN];
    uint8_t alone[MLP_HASH_MAX_LEN];
    struct mlp_view_set set;
    size_t index;
    strided.strides[0] = 8;
    staged.stage = stage_from_memory;
    staged.stage_context = &source;
    CHECK(mlp_view_set_init(&set, 3, false, NULL) == 0);
    CHECK(mlp_view_set_add(&set, &index, &staged, NULL) == 0);
    CHECK(mlp_view_set_add(&set, &index, &strided, NULL) == 0);
    CHECK(mlp_view_set_add(&set, &index, &dense, NULL) == 0);
    CHECK(mlp_view_set_add(&set, &index, &dense, NULL) == MLP_E_RANGE);
    for (size_t i = 0; i < 4; i++)
        requests[i] = (struct mlp_hash_request){algorithms[i], digests[i]};
    CHECK(mlp_tensor_digest_many(requests, 4, &set, 2, NULL, NULL) == 0);
    CHECK(source.next == 5000); /* the device was read once */
    for (size_t i = 0; i < 4; i++) {
        size_t len = mlp_algorithm_digest_len(algorithms[i]);
        CHECK(digest_one(alone, &dense, algorithms[i], NULL) == 0);
        CHECK(memcmp(digests[i], alone, len) == 0 && memcmp(digests[i] + 2 * len, alone, len) == 0);
        CHECK(digest_one(alone, &strided, algorithms[i], NULL) == 0);
        CHECK(memcmp(digests[i] + len, alone, len) == 0);
    }
    CHECK(mlp_tensor_digest_many(requests, 0, &set, 2, NULL, NULL) == MLP_E_ARGUMENT);
    CHECK(mlp_tensor_digest_many(requests, MLP_DIGEST_REQUESTS_MAX + 1, &set, 2, NULL, NULL) ==
          MLP_E_ARGUMENT);
    mlp_view_set_clear(&set);
}

static void many_digests_stand_in_the_order_of_the_tensors(void)
{
    static const int algorithms[] = {MLP_BLAKE3, MLP_SHA256, MLP_SHA512};
    struct mlp_view views[40];
    const struct mlp_view *pointers[40];
    uint8_t digests[40 * MLP_HASH_MAX_LEN];
    uint8_t single[MLP_HASH_MAX_LEN];
    random_state = 3;
    for (size_t i = 0; i < 40; i++) {
        views[i] = random_view(i % 3 == 0 ? MLP_DTYPE_F32 : MLP_DTYPE_C64, 100);
        if (i % 2 == 0) {
            views[i].flags = 0;
            CHECK(mlp_view_set_dense_strides(&views[i], NULL) == 0);
            views[i].data = arena + 8 * i;
        }
        pointers[i] = &views[i];
    }
    for (size_t k = 0; k < 3; k++) {
        size_t len = mlp_algorithm_digest_len(algorithms[k]);
        CHECK(digest_views(digests, pointers, 40, algorithms[k], k + 1, NULL, NULL) == 0);
        for (size_t i = 0; i < 40; i++) {
            CHECK(digest_one(single, &views[i], algorithms[k], NULL) == 0);
            CHECK(memcmp(single, digests + i * len, len) == 0);
        }
    }
}

/* ---- names, shapes ---- */

static void names_carry_their_parameter(void)
{
    char name[MLP_DTYPE_NAME_MAX];
    struct mlp_view view = {.dtype = MLP_DTYPE_TEXT_UCS4, .item_len = 12};
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "U3_UCS4") == 0);
    view.dtype = MLP_DTYPE_TEXT_BYTES;
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "S12") == 0);
    view.dtype = MLP_DTYPE_DATETIME64;
    memcpy(view.unit, "[25s]", 6);
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "DATETIME64[25s]") == 0);
    view.dtype = MLP_DTYPE_NONE;
    view.unit[0] = '\0';
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "") == 0);
}

static void every_dtype_is_found_again_by_its_names(void)
{
    for (int dtype = 1; dtype < MLP_DTYPE_END; dtype++) {
        const struct mlp_dtype_info *info = mlp_dtype_info(dtype);
        if (!CHECK(info != NULL && (int)info->dtype == dtype))
            return;
        CHECK(mlp_dtype_from_file(info->name, strlen(info->name)) ==
              (info->in_safetensors ? dtype : MLP_DTYPE_NONE));
        if (info->torch_name != NULL)
            CHECK(mlp_dtype_from_torch(info->torch_name, strlen(info->torch_name)) == dtype);
        if (info->numpy_name != NULL)
            CHECK(mlp_dtype_from_numpy(info->numpy_name, strlen(info->numpy_name)) == dtype);
        CHECK(info->item_len == 0 || info->item_len % info->part_len == 0);
    }
    CHECK(mlp_dtype_info(0) == NULL && mlp_dtype_info(-1) == NULL &&
          mlp_dtype_info(MLP_DTYPE_END) == NULL);
    CHECK(mlp_dtype_from_torch("float3", 6) == MLP_DTYPE_NONE);
    CHECK(mlp_dtype_from_file("F32x", 4) == MLP_DTYPE_NONE);
    CHECK(mlp_dtype_long_double('f', 8) == MLP_DTYPE_NONE);
    CHECK(mlp_dtype_long_double('i', 16) == MLP_DTYPE_NONE);
}

static void packed_float4_has_the_shape_that_safetensors_writes(void)
{
    int64_t shape[MLP_VIEW_DIMS_MAX];
    struct mlp_view view = view_of(arena, MLP_DTYPE_F4, 2, (int64_t[]){2, 3});
    CHECK(mlp_view_leaf_shape(shape, &view) == 2 && shape[0] == 2 && shape[1] == 6);
    view.ndim = 0;
    CHECK(mlp_view_leaf_shape(shape, &view) == 1 && shape[0] == 2);
    view = view_of(arena, MLP_DTYPE_U8, 2, (int64_t[]){2, 3});
    CHECK(mlp_view_leaf_shape(shape, &view) == 2 && shape[1] == 3);
}

/* ---- leaves ---- */

static const uint8_t digest_of_ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                           1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
#define ONES "0101010101010101010101010101010101010101010101010101010101010101"

static bool holds_text(const struct mlp_buffer *buffer, const char *text)
{
    bool holds = buffer->len == strlen(text) && memcmp(buffer->data, text, buffer->len) == 0;
    if (!holds)
        printf("  seen: %.*s\n", (int)buffer->len, (const char *)buffer->data);
    return holds;
}

static struct mlp_tensor_leaf example_leaf(const int64_t *shape)
{
    struct mlp_tensor_leaf leaf = {"conv1.weight", 12,    MLP_BLAKE3, digest_of_ones,
                                   "F32",          37632, 4,          shape};
    return leaf;
}

static void a_leaf_is_the_jcs_object_of_the_specification(void)
{
    static const int64_t shape[] = {64, 3, 7, 7};
    struct mlp_tensor_leaf leaf = example_leaf(shape);
    struct mlp_buffer out;
    mlp_buffer_init(&out);
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == 0);
    CHECK(holds_text(&out, "{\"digest\":\"blake3:" ONES "\",\"dtype\":\"F32\",\"len\":37632,"
                           "\"name\":\"conv1.weight\",\"shape\":[64,3,7,7]}"));
    out.len = 0;
    leaf.name = "a\"\\\n\xc3\xa9\x01";
    leaf.name_len = 7;
    leaf.algorithm = MLP_SHA256;
    leaf.ndim = 0;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == 0);
    CHECK(holds_text(&out, "{\"digest\":\"sha256:" ONES "\",\"dtype\":\"F32\",\"len\":37632,"
                           "\"name\":\"a\\\"\\\\\\n\xc3\xa9\\u0001\",\"shape\":[]}"));
    out.len = 0;
    leaf.name = NULL;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == 0);
    CHECK(holds_text(&out, "{\"digest\":\"sha256:" ONES "\",\"dtype\":\"F32\",\"len\":37632,"
                           "\"shape\":[]}"));
    mlp_buffer_clear(&out);
}

static void a_leaf_that_json_cannot_carry_leaves_the_buffer_as_it_was(void)
{
    static const int64_t shape[] = {1};
    static const int64_t huge[] = {INT64_C(1) << 53};
    struct mlp_tensor_leaf leaf = example_leaf(shape);
    struct mlp_buffer out;
    mlp_buffer_init(&out);
    mlp_buffer_append_text(&out, "before");
    leaf.ndim = 1;
    leaf.name = "\xff";
    leaf.name_len = 1;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    leaf = example_leaf(shape);
    leaf.ndim = 1;
    leaf.algorithm = 99;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    leaf = example_leaf(shape);
    leaf.ndim = 1;
    leaf.len = UINT64_C(1) << 53;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    leaf = example_leaf(huge);
    leaf.ndim = 1;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    CHECK(holds_text(&out, "before"));
    leaf = example_leaf(shape);
    leaf.ndim = 1;
    out.failed = 1;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_MEMORY);
    mlp_buffer_clear(&out);
}

/* ---- safetensors headers ---- */

/* Parses header + data_len bytes of data that is not there. */
static int parse_header(struct mlp_safetensors *file, const char *header, uint64_t data_len,
                        struct mlp_error *error)
{
    size_t len = strlen(header);
    return mlp_safetensors_parse(file, (const uint8_t *)header, len, 8 + len + data_len, error);
}

static void entries_are_sorted_by_name_and_count_from_the_file_start(void)
{
    static const char header[] =
        "{\"__metadata__\":{\"z\":\"1\",\"a\":\"\\u0000x\"},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"\xc3\xa9\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[8,11]},"
        "\"a\":{\"data_offsets\":[11,11],\"dtype\":\"I64\",\"shape\":[0,7]}}  ";
    struct mlp_safetensors file = {0};
    struct mlp_error error = {0};
    if (!CHECK(parse_header(&file, header, 11, &error) == 0)) {
        printf("  %s\n", error.message);
        return;
    }
    uint64_t start = 8 + strlen(header);
    CHECK(file.entries_count == 3 && file.metadata_count == 2);
    CHECK(strcmp(file.entries[0].name, "a") == 0 && strcmp(file.entries[1].name, "b") == 0);
    CHECK(file.entries[0].begin == start + 11 && file.entries[0].end == start + 11);
    CHECK(file.entries[0].ndim == 2 && file.entries[0].shape[1] == 7);
    CHECK(file.entries[1].begin == start && file.entries[1].end == start + 8);
    CHECK(file.entries[1].dtype == MLP_DTYPE_F32 && file.entries[2].dtype == MLP_DTYPE_F4);
    CHECK(strcmp(file.metadata[0].key, "a") == 0 && file.metadata[0].value_len == 2);
    mlp_safetensors_clear(&file);
    CHECK(file.entries == NULL && file.entries_count == 0);
}

#define ENTRY(members) "{\"t\":{" members "}}"

static void malformed_headers_are_refused(void)
{
    static const struct {
        const char *header;
        uint64_t data_len;
    } bad[] = {
        {"[]", 0},
        {"1", 0},
        {"", 0},
        {"{\"t\":1}", 0},
        {"{\"__metadata__\":{\"a\":1}}", 0},
        {"{\"__metadata__\":[]}", 0},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"shape\":[1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"C128\",\"shape\":[1],\"data_offsets\":[0,16]"), 16},
        {ENTRY("\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]"), 8},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 3}, /* cut short */
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 5}, /* trailing byte */
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8}, /* hole in front */
        {ENTRY("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]"), 1},  /* 12 bits */
        {ENTRY("\"dtype\":\"F32\",\"shape\":[9007199254740991,9007199254740991,9007199254740991,0],"
               "\"data_offsets\":[0,0]"),
         0},
        {"{}", 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
         6},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[5,9]}}",
         9},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
         8},
        {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4},
        {"{\"a\\u0000\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4},
        {ENTRY("\"dtype\":\"U8\",\"shape\":[[1]],\"data_offsets\":[0,1]"), 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mlp_safetensors file = {0};
        struct mlp_error error = {0};
        int status = parse_header(&file, bad[i].header, bad[i].data_len, &error);
        if (!CHECK(status == MLP_E_MALFORMED && error.message[0] != '\0'))
            printf("  %s -> %d\n", bad[i].header, status);
        CHECK(file.entries == NULL && file.metadata == NULL);
        mlp_safetensors_clear(&file);
    }
}

static void too_many_dimensions_in_a_header_are_refused(void)
{
    char header[400] = "{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,1],\"shape\":[1";
    struct mlp_safetensors file = {0};
    for (int i = 0; i < MLP_VIEW_DIMS_MAX; i++)
        strcat(header, ",1");
    strcat(header, "]}}");
    CHECK(parse_header(&file, header, 1, NULL) == MLP_E_MALFORMED);
}

static void header_lengths_beyond_the_file_are_refused(void)
{
    const uint8_t prefix[8] = {2, 0, 0, 0, 0, 0, 0, 0};
    const uint8_t over[8] = {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0}; /* 100,000,001 */
    const uint8_t wraps[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    size_t len = 0;
    CHECK(mlp_safetensors_header_len(&len, prefix, 8, 10, NULL) == 0 && len == 2);
    CHECK(mlp_safetensors_header_len(&len, prefix, 8, 9, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_safetensors_header_len(&len, prefix, 7, 7, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_safetensors_header_len(&len, over, 8, 200000000, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_safetensors_header_len(&len, wraps, 8, UINT64_MAX, NULL) == MLP_E_MALFORMED);
    struct mlp_safetensors file = {0};
    CHECK(mlp_safetensors_parse(&file, prefix, 8, 15, NULL) == MLP_E_MALFORMED);
}

static int parse_bytes(const uint8_t *bytes, size_t bytes_len)
{
    struct mlp_safetensors file = {0};
    size_t header_len;
    int status = mlp_safetensors_header_len(&header_len, bytes, bytes_len, bytes_len, NULL);
    if (status == 0)
        status = mlp_safetensors_parse(&file, bytes + 8, header_len, bytes_len, NULL);
    mlp_safetensors_clear(&file);
    return status;
}

/* The reference implementation's own unit tests, one file each; ok_ and bad_ say what is expected.
 */
static void the_vector_files_are_judged_as_the_reference_reader_judges_them(void)
{
    static const char *const names[] = {"ok_basic",
                                        "ok_whitespace_leading",
                                        "ok_whitespace_padded",
                                        "ok_zero_sized",
                                        "bad_header_length",
                                        "bad_header_non_utf8",
                                        "bad_header_not_json",
                                        "bad_header_too_large",
                                        "bad_header_too_small",
                                        "bad_info",
                                        "bad_missing_2_bytes",
                                        "bad_overflow_bytes",
                                        "bad_overflow_shape",
                                        "bad_trailing_polyglot"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[200];
        uint8_t bytes[4096];
        (void)snprintf(path, sizeof path, "../shared/vectors/safetensors-files/%s.safetensors",
                       names[i]);
        FILE *stream = fopen(path, "rb");
        if (stream == NULL) {
            SKIP("../shared/vectors is not here");
            return;
        }
        size_t len = fread(bytes, 1, sizeof bytes, stream);
        (void)fclose(stream);
        int expected = names[i][0] == 'o' ? 0 : MLP_E_MALFORMED;
        if (!CHECK(parse_bytes(bytes, len) == expected))
            printf("  %s\n", names[i]);
    }
}

int main(void)
{
    RUN(every_dtype_and_layout_gives_the_bytes_of_the_reference);
    RUN(tensors_longer_than_a_block_are_gathered_block_by_block);
    RUN(rows_with_gaps_are_pushed_where_they_lie);
    RUN(items_longer_than_a_block_are_hashed);
    RUN(a_contiguous_tensor_is_hashed_where_it_lies);
    RUN(no_push_but_one_in_place_is_longer_than_a_block);
    RUN(bool_bytes_other_than_0_are_1);
    RUN(long_bools_are_normalised_in_the_block_that_needs_it);
    RUN(padding_of_x87_values_does_not_count);
    RUN(negative_zero_and_nan_payloads_are_kept);
    RUN(empty_tensors_of_any_shape_have_the_digest_of_nothing);
    RUN(sixty_four_dimensions_are_hashed);
    RUN(a_staged_view_has_the_digest_of_its_dense_twin);
    RUN(failures_of_stage_and_sink_end_the_write);
    RUN(views_that_cannot_be_hashed_are_refused);
    RUN(lengths_that_overflow_are_refused);
    RUN(the_failing_tensor_of_many_is_named_by_its_index);
    RUN(several_algorithms_hash_what_each_hashes_alone);
    RUN(many_digests_stand_in_the_order_of_the_tensors);
    RUN(names_carry_their_parameter);
    RUN(every_dtype_is_found_again_by_its_names);
    RUN(packed_float4_has_the_shape_that_safetensors_writes);
    RUN(a_leaf_is_the_jcs_object_of_the_specification);
    RUN(a_leaf_that_json_cannot_carry_leaves_the_buffer_as_it_was);
    RUN(entries_are_sorted_by_name_and_count_from_the_file_start);
    RUN(malformed_headers_are_refused);
    RUN(too_many_dimensions_in_a_header_are_refused);
    RUN(header_lengths_beyond_the_file_are_refused);
    RUN(the_vector_files_are_judged_as_the_reference_reader_judges_them);
    return check_finish();
}
