/* Strided tensors: pieces read from any place on, many small ones in one call, large ones on several
 * threads, against the slow reference (tensor_reference.h) or a dense copy. */
#include "check.h"
#include "hash/hash.h"
#include "system_faults.h"
#include "tensor/canonical.h"
#include "tensor/digest.h"
#include "tensor_reference.h"

#include <stdlib.h>

/* ---- views ---- */

/* Two or three dimensions of any lengths, in any order, with gaps, some of them run through backwards:
 * planes of whole and of partial tiles. */
static struct mlp_view random_plane(int dtype)
{
    struct mlp_view view = {.data = arena, .dtype = dtype, .ndim = 2 + (int)random_below(2)};
    view.item_len = mlp_dtype_info(dtype)->item_len;
    int64_t stride = (int64_t)view.item_len, room = (int64_t)(ARENA_LEN / view.item_len);
    int order[3] = {0, 1, 2};
    for (int i = view.ndim - 1; i > 0; i--) {
        int other = (int)random_below((uint64_t)i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (int i = 0; i < view.ndim; i++) {
        int64_t *length = &view.shape[order[i]];
        *length = 1 + (int64_t)random_below(i == 2 ? 6 : 150);
        *length = *length < room ? *length : room;
        view.strides[order[i]] = stride;
        int64_t span = *length + (int64_t)random_below(3); /* the next dimension may have a gap */
        room /= span;
        room = room > 0 ? room : 1;
        stride *= span;
        if (random_below(6) == 0) {
            view.data = (const uint8_t *)view.data + (*length - 1) * view.strides[order[i]];
            view.strides[order[i]] = -view.strides[order[i]];
        }
    }
    if (random_below(4) == 0)
        random_flags(&view);
    return view;
}

static struct mlp_view transposed(int dtype, int64_t rows, int64_t columns, const void *data)
{
    struct mlp_view view = view_of(data, dtype, 2, (int64_t[]){rows, columns});
    view.strides[0] = (int64_t)view.item_len;
    view.strides[1] = rows * (int64_t)view.item_len;
    return view;
}

/* ---- pieces ---- */

static bool pieces_agree(const struct mlp_view *view)
{
    struct mlp_buffer expected = reference_bytes(view);
    struct mlp_canonical_reader reader;
    uint8_t *buffer = malloc(expected.len + 1);
    bool holds = buffer != NULL;
    mlp_canonical_reader_init(&reader, view);
    for (size_t i = 0; i < 5 && holds && expected.len > 0; i++) {
        size_t offset = i == 0 ? 0 : 64 * random_below((expected.len + 63) / 64);
        size_t left = expected.len - offset;
        size_t len = i == 0 || left <= 64 ? left : left - 64 * random_below(left / 64);
        buffer[len] = 0xA5;
        const uint8_t *bytes = mlp_canonical_read(&reader, offset, len, buffer);
        holds = memcmp(bytes, expected.data + offset, len) == 0 && buffer[len] == 0xA5;
        if (!holds)
            printf("  dtype %s, %d dimensions, %zu bytes from %zu on\n",
                   mlp_dtype_info(view->dtype)->name, view->ndim, len, offset);
    }
    free(buffer);
    mlp_buffer_clear(&expected);
    return holds;
}

static void any_piece_of_any_layout_is_what_the_reference_says(void)
{
    static const int dtypes[] = {MLP_DTYPE_U8,   MLP_DTYPE_BF16, MLP_DTYPE_F32, MLP_DTYPE_F64,
                                 MLP_DTYPE_C128, MLP_DTYPE_C160, MLP_DTYPE_BOOL};
    random_state = 11;
    random_fill(arena, ARENA_LEN);
    for (size_t round = 0; round < 150; round++)
        for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
            struct mlp_view view = random_plane(dtypes[i]);
            if (!CHECK(pieces_agree(&view)))
                return;
        }
    for (int dtype = 1; dtype < MLP_DTYPE_END; dtype++)
        for (size_t round = 0; round < 20; round++) {
            struct mlp_view view = random_view(dtype, 3000);
            if (!CHECK(pieces_agree(&view)))
                return;
        }
}

static void rows_that_are_long_enough_are_read_where_they_lie(void)
{
    struct mlp_view view = view_of(arena, MLP_DTYPE_U8, 2, (int64_t[]){5, 40000});
    struct mlp_canonical_reader reader;
    uint8_t buffer[32768];
    view.strides[0] = 40001;
    mlp_canonical_reader_init(&reader, &view);
    CHECK(mlp_canonical_piece_len(&reader) == sizeof buffer);
    CHECK(mlp_canonical_read(&reader, 0, sizeof buffer, buffer) == arena);
    CHECK(mlp_canonical_read(&reader, sizeof buffer, sizeof buffer, buffer) == buffer);
    CHECK(mlp_canonical_read(&reader, 64000, 16000, buffer) == arena + 64001);
    CHECK(mlp_canonical_read(&reader, 64000, 16001, buffer) == buffer); /* one byte beyond a row */
    CHECK(buffer[15999] == arena[80000] && buffer[16000] == arena[80002]);
    view.flags = MLP_VIEW_BYTESWAP; /* of single bytes: nothing to do */
    CHECK(mlp_canonical_read(&reader, 0, sizeof buffer, buffer) == arena);
    view.dtype = MLP_DTYPE_BOOL;
    arena[9] = 2;
    CHECK(mlp_canonical_read(&reader, 0, sizeof buffer, buffer) == buffer && buffer[9] == 1);
}

/* ---- digests ---- */

static bool digests_agree(const struct mlp_view *const *views, size_t count, size_t threads)
{
    uint8_t digests[200][32], expected[32];
    bool holds = digest_views(digests[0], views, count, MLP_BLAKE3, threads, NULL, NULL) == 0;
    for (size_t i = 0; i < count && holds; i++) {
        struct mlp_view dense = *views[i];
        dense.stage = NULL;
        dense.data = dense.data != NULL ? dense.data : arena;
        struct mlp_buffer bytes = reference_bytes(&dense);
        mlp_blake3(expected, bytes.data, bytes.len);
        holds = memcmp(digests[i], expected, 32) == 0;
        if (!holds)
            printf("  tensor %zu of %zu, dtype %s, %zu bytes, %zu threads\n", i, count,
                   mlp_dtype_info(dense.dtype)->name, bytes.len, threads);
        mlp_buffer_clear(&bytes);
    }
    return holds;
}

/* Strided, contiguous and staged ones beside one another. */
static void many_tensors_of_every_layout_have_their_digests_in_one_call(void)
{
    static struct mlp_view views[200];
    static struct stage_source sources[200];
    const struct mlp_view *pointers[200];
    const char *names[MLP_KERNELS_MAX];
    bool usable[MLP_KERNELS_MAX];
    size_t kernels_count = mlp_hash_kernels(names, usable);
    random_fill(arena, ARENA_LEN);
    for (size_t i = 0; i < 200; i++) {
        pointers[i] = &views[i];
        views[i] = i % 3 == 0 ? random_plane(1 + (int)random_below(MLP_DTYPE_VOID - 3))
                              : random_view(1 + (int)random_below(MLP_DTYPE_END - 1), 900);
        if (i % 10 != 7)
            continue;
        views[i] = view_of(NULL, MLP_DTYPE_F32, 1, (int64_t[]){(int64_t)random_below(9000)});
        sources[i] = (struct stage_source){.bytes = arena, .item_len = 4};
        views[i].stage = stage_from_memory;
        views[i].stage_context = &sources[i];
    }
    for (size_t kernel = 0; kernel < kernels_count; kernel++)
        for (size_t threads = 1; threads <= 3 && usable[kernel]; threads++) {
            CHECK(mlp_hash_kernel_force(names[kernel], NULL) == 0);
            for (size_t i = 7; i < 200; i += 10)
                sources[i].next = 0;
            CHECK(digests_agree(pointers, 200, threads));
        }
    CHECK(mlp_hash_kernel_force(names[0], NULL) == 0 || !usable[0]);
}

#define LARGE_LEN ((size_t)7 << 20)

static bool digest_is_that_of_its_bytes(const struct mlp_view *view, const uint8_t *dense,
                                        int algorithm, size_t threads)
{
    uint64_t len = 0;
    uint8_t digest[32], expected[32];
    return mlp_canonical_len(&len, view, NULL) == 0 &&
           mlp_hash(algorithm, expected, dense, (size_t)len, NULL) == 0 &&
           digest_views(digest, &view, 1, algorithm, threads, NULL, NULL) == 0 &&
           memcmp(digest, expected, 32) == 0;
}

static void a_large_strided_tensor_has_its_digest_on_any_number_of_threads(void)
{
    uint8_t *memory = malloc(LARGE_LEN), *dense = malloc(LARGE_LEN);
    if (!CHECK(memory != NULL && dense != NULL))
        return;
    random_fill(memory, LARGE_LEN);
    struct mlp_view views[] = {
        transposed(MLP_DTYPE_F32, 1200, 1501, memory),
        transposed(MLP_DTYPE_BF16, 1024, 2048, memory),
        transposed(MLP_DTYPE_F64, 4096, 200, memory),
        transposed(MLP_DTYPE_U8, 3000, 999, memory),
        view_of(memory, MLP_DTYPE_F32, 3, (int64_t[]){100, 48, 300}), /* permuted below */
        view_of(memory, MLP_DTYPE_F32, 2, (int64_t[]){70, 20000}),    /* rows with gaps */
    };
    views[4].strides[0] = 4;
    views[4].strides[1] = 300 * 100 * 4;
    views[4].strides[2] = 100 * 4;
    views[5].strides[0] = 20003 * 4;
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        struct mlp_buffer bytes = reference_bytes(&views[i]);
        memcpy(dense, bytes.data, bytes.len);
        for (size_t threads = 1; threads <= 5; threads++)
            CHECK(digest_is_that_of_its_bytes(&views[i], dense, MLP_BLAKE3, threads));
        CHECK(digest_is_that_of_its_bytes(&views[i], dense, MLP_SHA256, 1));
        CHECK(digest_is_that_of_its_bytes(&views[i], dense, MLP_SHA256, 3));
        mlp_buffer_clear(&bytes);
    }
    free(memory);
    free(dense);
}

/* Each allocation of a call fails in turn: the call says so, or does without. */
static void without_memory_a_digest_is_right_or_refused(void)
{
#if ALLOCATIONS_CAN_FAIL
    struct mlp_view small = transposed(MLP_DTYPE_F32, 50, 60, arena);
    struct mlp_view large = transposed(MLP_DTYPE_F32, 300, 200, arena);
    const struct mlp_view *views[] = {&small, &large, &small};
    uint8_t expected[3][32], digests[3][32];
    CHECK(digest_views(expected[0], views, 3, MLP_BLAKE3, 1, NULL, NULL) == 0);
    bool happened = true;
    size_t refused = 0, done_without = 0;
    for (long nth = 0; happened; nth++) {
        struct mlp_error error;
        failing = ALLOCATIONS;
        calls_to_go = nth;
        fault_happened = false;
        int status = digest_views(digests[0], views, 3, MLP_BLAKE3, 1, NULL, &error);
        failing = NOTHING;
        happened = fault_happened;
        CHECK(status == 0 || status == MLP_E_MEMORY);
        CHECK(status != 0 || memcmp(digests, expected, sizeof expected) == 0);
        refused += status != 0;
        done_without += happened && status == 0;
    }
    if (!CHECK(refused == 7 &&
               done_without == 2)) /* the set (3), the list, three readers; what is gathered */
        printf("  %zu refused, %zu done without\n", refused, done_without);
#else
    SKIP("the sanitizer's allocator stands where allocations would be made to fail");
#endif
}

int main(void)
{
    RUN(any_piece_of_any_layout_is_what_the_reference_says);
    RUN(rows_that_are_long_enough_are_read_where_they_lie);
    RUN(many_tensors_of_every_layout_have_their_digests_in_one_call);
    RUN(a_large_strided_tensor_has_its_digest_on_any_number_of_threads);
    RUN(without_memory_a_digest_is_right_or_refused);
    return check_finish();
}
