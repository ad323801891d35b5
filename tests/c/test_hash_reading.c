/* BLAKE3 of an input that is read piece by piece, against that of the same bytes in memory: every count
 * of threads and length, what ends it, and what it does with little memory and no workers.
 */
#include "check.h"
#include "hash/blake3_reading.h"
#include "hash/pool.h"
#include "hash/read_buffers.h"
#include "hash/task_size.h"
#include "thread_faults.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* With 1024 threads pieces are 64 KiB, and a job of them 64 MiB. */
#define INPUT_LEN (64 * MIB + 64 * KIB + 17)

static uint8_t *input;

struct memory {
    size_t len;
    atomic_size_t taken;     /* bytes read */
    size_t fail_at;          /* a read of this byte fails; none: SIZE_MAX */
    atomic_int checks_to_go; /* the check that ends it is the one that finds 0; below: none */
    atomic_bool outside;     /* a read beyond the input */
};

static int read_input(void *context, void *out, size_t out_len, uint64_t offset,
                      struct mlp_error *error)
{
    struct memory *memory = context;
    if (out_len == 0 || offset + out_len > memory->len) {
        atomic_store(&memory->outside, true);
        return MLP_E_RANGE;
    }
    if (offset <= memory->fail_at && memory->fail_at < offset + out_len)
        return mlp_fail(error, MLP_E_IO, "byte %zu cannot be read", memory->fail_at);
    memcpy(out, input + offset, out_len);
    atomic_fetch_add(&memory->taken, out_len);
    return MLP_OK;
}

static int check_memory(void *context)
{
    struct memory *memory = context;
    return atomic_fetch_sub(&memory->checks_to_go, 1) == 0 ? 7 : 0;
}

static int hash_memory(uint8_t digest32[32], struct memory *memory, size_t threads,
                       struct mlp_error *error)
{
    const struct mlp_blake3_reading reading = {read_input, check_memory, memory};
    return mlp_blake3_of_reading(digest32, &reading, memory->len, threads, error);
}

static bool equals_memory(size_t len, size_t threads)
{
    struct memory memory = {.len = len, .fail_at = SIZE_MAX, .checks_to_go = -1};
    uint8_t read[32] = {0}, in_memory[32];
    mlp_blake3(in_memory, input, len);
    return hash_memory(read, &memory, threads, NULL) == 0 && !memory.outside &&
           atomic_load(&memory.taken) == len && memcmp(read, in_memory, sizeof read) == 0;
}

static void a_reading_has_the_digest_of_its_bytes_on_any_number_of_threads(void)
{
    static const size_t lens[] = {1,           1024,          1025,        64 * KIB - 1,
                                  64 * KIB,    64 * KIB + 1,  128 * KIB,   512 * KIB - 1,
                                  512 * KIB,   512 * KIB + 1, MIB,         3 * MIB + 1025,
                                  8 * MIB - 1, 16 * MIB,      33 * MIB + 3};
    for (size_t threads = 0; threads <= 8; threads++)
        for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++)
            if (!CHECK(equals_memory(lens[i], threads)))
                printf("  %zu bytes, %zu threads\n", lens[i], threads);
}

static void without_a_check_it_is_hashed_all_the_same(void)
{
    struct memory memory = {.len = 5000, .fail_at = SIZE_MAX};
    const struct mlp_blake3_reading reading = {read_input, NULL, &memory};
    uint8_t read[32], in_memory[32];
    mlp_blake3(in_memory, input, 5000);
    CHECK(mlp_blake3_of_reading(read, &reading, 5000, 0, NULL) == 0);
    CHECK(memcmp(read, in_memory, sizeof read) == 0);
}

/* No workers can be made: the caller does all, with the pieces of 1024 threads. */
static void an_input_of_several_jobs_is_joined_from_all_of_them(void)
{
    if (THREADS_ARE_WATCHED) {
        SKIP("a sanitizer makes the threads");
        return;
    }
    atomic_store(&threads_to_go, 0);
    CHECK(equals_memory(64 * MIB, MLP_THREADS_MAX));
    CHECK(equals_memory(64 * MIB + 1, MLP_THREADS_MAX));
    CHECK(equals_memory(64 * MIB + 64 * KIB + 1, MLP_THREADS_MAX));
    CHECK(equals_memory(INPUT_LEN, MLP_THREADS_MAX));
    atomic_store(&threads_to_go, -1);
}

static void a_byte_that_cannot_be_read_ends_it_with_its_error(void)
{
    static const size_t places[] = {0, 100 * KIB, 4 * MIB, 16 * MIB - 1};
    for (size_t threads = 1; threads <= 8; threads++) {
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            struct memory memory = {.len = 16 * MIB, .fail_at = places[i], .checks_to_go = -1};
            uint8_t digest[32] = {9}, before[32] = {9};
            struct mlp_error error = {0};
            char expected[64];
            (void)snprintf(expected, sizeof expected, "byte %zu cannot be read", places[i]);
            CHECK(hash_memory(digest, &memory, threads, &error) == MLP_E_IO);
            CHECK(strcmp(error.message, expected) == 0);
            CHECK(memcmp(digest, before, sizeof digest) == 0);
            CHECK(hash_memory(digest, &memory, threads, NULL) == MLP_E_IO);
        }
    }
}

static void a_check_ends_it_before_the_next_piece_is_read(void)
{
    for (size_t threads = 1; threads <= 8; threads++) {
        for (int check = 0; check < 4; check++) {
            struct memory memory = {.len = 16 * MIB, .fail_at = SIZE_MAX, .checks_to_go = check};
            uint8_t digest[32];
            CHECK(hash_memory(digest, &memory, threads, NULL) == 7);
            /* Every other thread may have begun one more. */
            CHECK(atomic_load(&memory.taken) <= ((size_t)check + threads) * MIB);
        }
    }
}

/* ---- no memory ---- */

#if THREADS_ARE_WATCHED || defined(__SANITIZE_ADDRESS__)
#define MEMORY_CAN_FAIL 0 /* the sanitizer's own allocator stands there */
#else
#define MEMORY_CAN_FAIL 1
static atomic_bool no_memory;
extern void *__libc_malloc(size_t size);

/* Buffers come from aligned_alloc. */
__attribute__((visibility("default"))) void *malloc(size_t size)
{
    return atomic_load(&no_memory) ? NULL : __libc_malloc(size);
}
#endif

static void without_memory_for_a_job_that_is_said(void)
{
#if MEMORY_CAN_FAIL
    struct memory memory = {.len = 8 * MIB, .fail_at = SIZE_MAX, .checks_to_go = -1};
    uint8_t digest[32];
    struct mlp_error error;
    atomic_store(&no_memory, true);
    int status = hash_memory(digest, &memory, 2, &error);
    atomic_store(&no_memory, false);
    CHECK(status == MLP_E_MEMORY && strstr(error.message, "hash by pieces") != NULL);
    CHECK(atomic_load(&memory.taken) == 0);
    CHECK(equals_memory(8 * MIB, 2));
#else
    SKIP("the sanitizer's own allocator stands there");
#endif
}

/* ---- buffers ---- */

struct borrowing {
    struct mlp_read_buffers buffers;
    atomic_bool shared; /* two had the same one */
};

static void borrow(void *context, size_t index)
{
    struct borrowing *borrowing = context;
    uint8_t *buffer = mlp_read_buffers_take(&borrowing->buffers);
    memset(buffer, (int)(index & 0xFF), borrowing->buffers.buffer_len);
    for (size_t i = 0; i < borrowing->buffers.buffer_len; i++)
        if (buffer[i] != (index & 0xFF))
            atomic_store(&borrowing->shared, true);
    mlp_read_buffers_give(&borrowing->buffers, buffer);
}

static void a_buffer_is_one_threads_alone(void)
{
    struct borrowing borrowing;
    atomic_init(&borrowing.shared, false);
    CHECK(mlp_read_buffers_new(&borrowing.buffers, MLP_READ_BUFFER_ALIGN, 4, NULL) == 0);
    CHECK(borrowing.buffers.count == 4);
    mlp_pool_run(borrow, &borrowing, 2000, 4);
    CHECK(!atomic_load(&borrowing.shared));
    mlp_read_buffers_free(&borrowing.buffers);
}

/* Sanitizers' allocators end the process otherwise. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void where_memory_is_short_there_are_fewer_buffers_or_none(void)
{
    struct mlp_read_buffers buffers;
    struct mlp_error error;
    /* More than any address space has, at first. */
    if (mlp_read_buffers_new(&buffers, (size_t)1 << 32, (size_t)1 << 20, NULL) == 0) {
        CHECK(buffers.count >= 1 && buffers.count < (size_t)1 << 20);
        mlp_read_buffers_free(&buffers);
    }
    CHECK(mlp_read_buffers_new(&buffers, (size_t)1 << 62, 1, &error) == MLP_E_MEMORY);
    CHECK(strstr(error.message, "no memory to read into") != NULL);
}

int main(void)
{
    uint32_t word = 1;
    input = malloc(INPUT_LEN);
    if (!CHECK(input != NULL))
        return 1;
    for (size_t i = 0; i < INPUT_LEN; i++) {
        word = word * 1664525U + 1013904223U; /* Numerical Recipes, section 7.1 */
        input[i] = (uint8_t)(word >> 24);
    }
    RUN(a_reading_has_the_digest_of_its_bytes_on_any_number_of_threads);
    RUN(without_a_check_it_is_hashed_all_the_same);
    RUN(an_input_of_several_jobs_is_joined_from_all_of_them);
    RUN(a_byte_that_cannot_be_read_ends_it_with_its_error);
    RUN(a_check_ends_it_before_the_next_piece_is_read);
    RUN(without_memory_for_a_job_that_is_said);
    RUN(a_buffer_is_one_threads_alone);
    RUN(where_memory_is_short_there_are_fewer_buffers_or_none);
    free(input);
    return check_finish();
}
