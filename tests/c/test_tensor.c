/* Canonical bytes and digests, against a reference that walks a view one element at a time. Real tensors
 * and arrays are the Python tests' (tests/python). */
#include "base/bytes.h"
#include "check.h"
#include "hash/hash.h"
#include "tensor/canonical.h"
#include "tensor/digest.h"
#include "tensor_reference.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is held against it ---- */

struct collector {
    struct mlp_buffer bytes;
    size_t pushes;
    size_t largest;
    size_t fail_at; /* this push fails; 0: none */
};

static int collect(void *context, const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    struct collector *collector = context;
    collector->pushes++;
    if (collector->pushes == collector->fail_at)
        return mlp_fail(error, MLP_E_IO, "asked to fail");
    if (bytes_len > collector->largest)
        collector->largest = bytes_len;
    mlp_buffer_append(&collector->bytes, bytes, bytes_len);
    return 0;
}

/* All bytes of a view in host memory, by pieces of random lengths. */
static bool read_all(struct mlp_buffer *out, const struct mlp_view *view)
{
    uint8_t buffer[64 * 100];
    uint64_t len = 0;
    struct mlp_canonical_reader reader;
    if (mlp_canonical_len(&len, view, NULL) != 0)
        return false;
    mlp_canonical_reader_init(&reader, view);
    for (uint64_t done = 0; done < len;) {
        size_t piece_len = 64 * (1 + random_below(100));
        if (piece_len > len - done)
            piece_len = (size_t)(len - done);
        mlp_buffer_append(out, mlp_canonical_read(&reader, done, piece_len, buffer), piece_len);
        done += piece_len;
    }
    return true;
}

static bool same_bytes(const struct mlp_buffer *left, const struct mlp_buffer *right)
{
    return left->len == right->len &&
           (left->len == 0 || memcmp(left->data, right->data, left->len) == 0);
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
    struct mlp_buffer seen = {0};
    struct mlp_error error = {0};
    uint64_t len = 0;
    uint8_t digest[32];
    uint8_t expected_digest[32];
    uint8_t twice[64];
    const struct mlp_view *pair[2] = {view, view};
    bool holds = read_all(&seen, view) && same_bytes(&seen, &expected) &&
                 mlp_canonical_len(&len, view, &error) == 0 && len == expected.len;
    mlp_blake3(expected_digest, expected.data, expected.len);
    holds = holds && digest_one(digest, view, MLP_BLAKE3, &error) == 0 &&
            memcmp(digest, expected_digest, 32) == 0 &&
            digest_views(twice, pair, 2, MLP_BLAKE3, 2, NULL, &error) == 0 &&
            memcmp(twice, expected_digest, 32) == 0 && memcmp(twice + 32, expected_digest, 32) == 0;
    if (!holds)
        printf("  dtype %s, %d dimensions: %s\n", mlp_dtype_info(view->dtype)->name, view->ndim,
               error.message);
    mlp_buffer_clear(&expected);
    mlp_buffer_clear(&seen);
    return holds;
}

/* ---- layouts ---- */

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

static void a_contiguous_tensor_lies_as_it_is_hashed(void)
{
    struct mlp_view view = view_of(arena, MLP_DTYPE_F32, 3, (int64_t[]){8, 16, 1024});
    CHECK(mlp_canonical_in_place(&view));
    view.strides[0] += 4;
    CHECK(!mlp_canonical_in_place(&view));
}

/* ---- values ---- */

static void bool_bytes_other_than_0_are_1(void)
{
    static const uint8_t stored[] = {0, 1, 2, 255, 0x80};
    static const uint8_t hashed[] = {0, 1, 1, 1, 1};
    struct mlp_view view = view_of(stored, MLP_DTYPE_BOOL, 1, (int64_t[]){5});
    struct mlp_buffer seen = {0};
    CHECK(!mlp_canonical_in_place(&view));
    CHECK(read_all(&seen, &view));
    CHECK(seen.len == 5 && memcmp(seen.data, hashed, 5) == 0);
    mlp_buffer_clear(&seen);
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
    struct mlp_buffer seen = {0};
    view.strides[0] = 4;
    view.strides[1] = 8; /* gathered, not in place */
    CHECK(read_all(&seen, &view));
    static const uint32_t expected[] = {0x80000000, 0x7f800001, 0x7fc00001, 0xffc00000};
    CHECK(seen.len == 16 && memcmp(seen.data, expected, 16) == 0);
    mlp_buffer_clear(&seen);
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

static void failures_of_stage_and_sink_end_the_staging(void)
{
    struct stage_source source = {arena, 4, 0, 0};
    struct mlp_error error = {0};
    uint8_t digest[32];
    struct mlp_view view = view_of(NULL, MLP_DTYPE_F32, 1, (int64_t[]){100000});
    view.stage = stage_from_memory;
    view.stage_context = &source;
    struct collector seen = {.fail_at = 2};
    CHECK(mlp_canonical_stage(&view, collect, &seen, &error) == MLP_E_IO);
    CHECK(seen.pushes == 2 && seen.largest == MLP_CANONICAL_BLOCK);
    mlp_buffer_clear(&seen.bytes);
    source.fails = 1;
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
    struct mlp_hash_request requests[MLP_HASH_REQUESTS_MAX + 1] = {{0}};
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
    CHECK(mlp_tensor_digest_many(requests, MLP_HASH_REQUESTS_MAX + 1, &set, 2, NULL, NULL) ==
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

int main(void)
{
    RUN(every_dtype_and_layout_gives_the_bytes_of_the_reference);
    RUN(tensors_longer_than_a_block_are_gathered_block_by_block);
    RUN(items_longer_than_a_block_are_hashed);
    RUN(a_contiguous_tensor_lies_as_it_is_hashed);
    RUN(bool_bytes_other_than_0_are_1);
    RUN(long_bools_are_normalised_in_the_block_that_needs_it);
    RUN(padding_of_x87_values_does_not_count);
    RUN(negative_zero_and_nan_payloads_are_kept);
    RUN(empty_tensors_of_any_shape_have_the_digest_of_nothing);
    RUN(sixty_four_dimensions_are_hashed);
    RUN(a_staged_view_has_the_digest_of_its_dense_twin);
    RUN(failures_of_stage_and_sink_end_the_staging);
    RUN(views_that_cannot_be_hashed_are_refused);
    RUN(lengths_that_overflow_are_refused);
    RUN(the_failing_tensor_of_many_is_named_by_its_index);
    RUN(several_algorithms_hash_what_each_hashes_alone);
    RUN(many_digests_stand_in_the_order_of_the_tensors);
    return check_finish();
}
