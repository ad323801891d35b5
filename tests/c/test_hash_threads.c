/* Digests do not depend on threads: every kernel, count of threads, length and split against one thread
 * alone, several algorithms at once, several callers at once, and no memory for a plan.
 */
#include "check.h"
#include "hash/blake3_parallel.h"
#include "hash/hash.h"
#include "hash/pool.h"
#include "thread_faults.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_LEN   ((size_t)(4U << 20) + 17)
#define THREADS_MAX 8

static uint8_t *input; /* INPUT_LEN bytes that end where an unmapped page begins */
static const uint8_t key32[32] = "thirty-two bytes of a test's key";

static uint32_t random_word(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U; /* Numerical Recipes, section 7.1 */
    return *state >> 8;
}

static bool map_input(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t len = (INPUT_LEN + page - 1) / page * page;
    uint8_t *pages =
        mmap(NULL, len + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + len, page, PROT_NONE) != 0)
        return false;
    input = pages + len - INPUT_LEN;
    uint32_t state = 1;
    for (size_t i = 0; i < INPUT_LEN; i++)
        input[i] = (uint8_t)random_word(&state);
    return true;
}

/* The last len bytes of the input: reading one byte more faults. */
static const uint8_t *ending_at_the_page(size_t len)
{
    return input + INPUT_LEN - len;
}

static const char *names[MLP_KERNELS_MAX];
static bool usable[MLP_KERNELS_MAX];
static size_t kernels_count;

static void for_each_kernel(void (*test)(void))
{
    const char *first = mlp_hash_kernel_name();
    for (size_t k = 0; k < kernels_count; k++) {
        if (!usable[k])
            continue;
        CHECK(mlp_hash_kernel_force(names[k], NULL) == 0);
        test();
    }
    CHECK(mlp_hash_kernel_force(first, NULL) == 0);
}

/* ---- no memory ---- */

static atomic_bool no_memory, no_memory_for_openssl, memory_failed;
#if THREADS_ARE_WATCHED || defined(__SANITIZE_ADDRESS__)
#define MEMORY_CAN_FAIL 0 /* the sanitizer's own allocator stands there */
#else
#define MEMORY_CAN_FAIL 1
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_malloc(size_t size);

__attribute__((visibility("default"))) void *calloc(size_t count, size_t size)
{
    if (!atomic_load(&no_memory))
        return __libc_calloc(count, size);
    atomic_store(&memory_failed, true);
    return NULL;
}

__attribute__((visibility("default"))) void *malloc(size_t size)
{
    if (!atomic_load(&no_memory) && !atomic_load(&no_memory_for_openssl))
        return __libc_malloc(size);
    atomic_store(&memory_failed, true);
    return NULL;
}
#endif

/* ---- one input ---- */

static void hash_on(size_t threads, int algorithm, uint8_t *digest, const void *data, size_t len)
{
    const struct mlp_hash_request request = {algorithm, digest};
    const struct mlp_hash_input one = {.data = data, .len = len};
    CHECK(mlp_hash_many_by(&request, 1, &one, 1, threads, NULL) == 0);
}

static void check_one_input(size_t len)
{
    const uint8_t *data = ending_at_the_page(len);
    uint8_t expected[32];
    mlp_blake3(expected, data, len);
    for (size_t threads = 0; threads <= THREADS_MAX; threads++) {
        uint8_t seen[32] = {0};
        hash_on(threads, MLP_BLAKE3, seen, data, len);
        if (!CHECK(memcmp(seen, expected, 32) == 0))
            printf("  kernel %s, %zu threads, %zu bytes\n", mlp_hash_kernel_name(), threads, len);
    }
}

static void check_lengths_of_one_input(void)
{
    static const size_t lengths[] = {524287,  524288,  524289,  525312,  589823,    655360,
                                     655361,  700001,  1048575, 1048576, 1048577,   1049600,
                                     2097152, 2097153, 3000000, 4194303, INPUT_LEN, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        check_one_input(lengths[i]);
}

static void one_input_has_one_digest_on_any_number_of_threads(void)
{
    for_each_kernel(check_lengths_of_one_input);
}

/* ---- many inputs ---- */

#define MANY 400

struct batch {
    struct mlp_hash_input inputs[MANY];
    size_t count;
    uint8_t expected[2][MANY * 32]; /* BLAKE3, SHA-256 */
    uint8_t seen[2][MANY * 32];
};

static void expect_digests(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct mlp_hash_input *one = &batch->inputs[i];
        mlp_blake3(batch->expected[0] + i * 32, one->data, one->len);
        hash_on(1, MLP_SHA256, batch->expected[1] + i * 32, one->data, one->len);
    }
}

static void check_batch(struct batch *batch, size_t requests_count, size_t threads)
{
    const struct mlp_hash_request requests[2] = {{MLP_BLAKE3, batch->seen[0]},
                                                 {MLP_SHA256, batch->seen[1]}};
    memset(batch->seen, 0, sizeof batch->seen);
    CHECK(mlp_hash_many_by(requests, requests_count, batch->inputs, batch->count, threads, NULL) ==
          0);
    for (size_t i = 0; i < requests_count; i++) {
        if (!CHECK(memcmp(batch->seen[i], batch->expected[i], batch->count * 32) == 0))
            printf("  kernel %s, %zu threads, algorithm %d of %zu\n", mlp_hash_kernel_name(),
                   threads, requests[i].algorithm, requests_count);
    }
}

/* Sizes of a model's tensors: many small ones, some large; the largest of all in the middle. */
static void fill_batch(struct batch *batch, uint32_t seed)
{
    size_t left = INPUT_LEN;
    batch->count = 0;
    while (batch->count < MANY) {
        uint32_t kind = random_word(&seed) % 16;
        size_t most = kind == 0 ? 400000 : kind < 4 ? 70000 : 2000;
        size_t len = batch->count == MANY / 2 ? 1500000 : random_word(&seed) % most;
        if (len > left)
            len = left % 3000;
        batch->inputs[batch->count++] =
            (struct mlp_hash_input){.data = len > 0 ? ending_at_the_page(len) : NULL, .len = len};
        left -= len < left ? len : left;
        if (left == 0)
            left = INPUT_LEN;
    }
}

static struct batch batch;

static void check_batches(void)
{
    for (uint32_t seed = 1; seed <= 3; seed++) {
        fill_batch(&batch, seed);
        expect_digests(&batch);
        for (size_t threads = 0; threads <= THREADS_MAX; threads++)
            check_batch(&batch, 1 + threads % 2, threads);
    }
}

static void many_inputs_have_their_digests_on_any_number_of_threads(void)
{
    for_each_kernel(check_batches);
}

static void several_algorithms_at_once_give_the_digests_of_each(void)
{
    static const int algorithms[] = {MLP_SHA512, MLP_BLAKE3, MLP_SHA256, MLP_BLAKE3, MLP_SHA384};
    static const size_t lengths[] = {0, 100, 600000, 3000001};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct mlp_hash_request requests[5];
        const struct mlp_hash_input one = {.data = ending_at_the_page(lengths[i]),
                                           .len = lengths[i]};
        uint8_t seen[5][MLP_HASH_MAX_LEN], expected[MLP_HASH_MAX_LEN];
        for (size_t k = 0; k < 5; k++)
            requests[k] = (struct mlp_hash_request){algorithms[k], seen[k]};
        CHECK(mlp_hash_many_by(requests, 5, &one, 1, 4, NULL) == 0);
        for (size_t k = 0; k < 5; k++) {
            hash_on(1, algorithms[k], expected, one.data, one.len);
            CHECK(memcmp(seen[k], expected, mlp_algorithm_digest_len(algorithms[k])) == 0);
        }
    }
    CHECK(mlp_hash_many_by(NULL, 0, NULL, 0, 4, NULL) == 0);
}

static void an_unknown_algorithm_among_several_is_refused(void)
{
    uint8_t digests[2][32];
    struct mlp_error error;
    const struct mlp_hash_request requests[2] = {{MLP_BLAKE3, digests[0]}, {9, digests[1]}};
    const struct mlp_hash_input one = {.data = input, .len = INPUT_LEN};
    CHECK(mlp_hash_many_by(requests, 2, &one, 1, 2, &error) == MLP_E_ARGUMENT);
    CHECK(strstr(error.message, "algorithm number 9") != NULL);
}

/* ---- updates ---- */

static void update_in_pieces(struct mlp_blake3_state *state, const uint8_t *data, size_t len,
                             size_t threads, uint32_t seed)
{
    while (len > 0) {
        size_t most = random_word(&seed) % 4 == 0 ? 3000 : 3000000;
        size_t piece = random_word(&seed) % most + 1;
        if (random_word(&seed) % 3 == 0)
            piece = (piece + 65535) / 65536 * 65536;
        piece = piece < len ? piece : len;
        mlp_blake3_update_parallel(state, data, piece, threads);
        data += piece;
        len -= piece;
    }
}

static void check_updates(void)
{
    uint32_t key[8];
    memcpy(key, key32, sizeof key);
    for (uint32_t seed = 1; seed <= 24; seed++) {
        struct mlp_blake3_state one, several;
        uint8_t expected[100], seen[100];
        uint32_t flags = seed % 2 == 0 ? MLP_BLAKE3_KEYED_HASH : MLP_BLAKE3_DERIVE_KEY_MATERIAL;
        uint64_t first_chunk = seed % 3 == 0 ? UINT64_C(1) << 33 : 0;
        uint32_t lengths = seed;
        size_t len = INPUT_LEN - random_word(&lengths) % (seed < 12 ? 2000000 : 2000);
        mlp_blake3_init(&one, key, flags, first_chunk);
        mlp_blake3_init(&several, key, flags, first_chunk);
        mlp_blake3_update(&one, ending_at_the_page(len), len);
        update_in_pieces(&several, ending_at_the_page(len), len, seed % THREADS_MAX + 1, seed);
        mlp_blake3_output(&one, 0, expected, sizeof expected);
        mlp_blake3_output(&several, 0, seen, sizeof seen);
        if (!CHECK(memcmp(seen, expected, sizeof seen) == 0))
            printf("  kernel %s, seed %u\n", mlp_hash_kernel_name(), seed);
        mlp_blake3_chaining_value(&one, expected);
        mlp_blake3_chaining_value(&several, seen);
        CHECK(memcmp(seen, expected, 32) == 0);
    }
}

static void updates_in_any_pieces_on_any_number_of_threads_give_one_digest(void)
{
    for_each_kernel(check_updates);
}

static void a_hasher_takes_whole_subtrees_of_a_large_piece_in_parallel(void)
{
    uint8_t expected[32], seen[32];
    CHECK(mlp_pool_set_threads(4, NULL) == 0);
    for (size_t extra = 0; extra < 3; extra++) {
        struct mlp_hasher *hasher;
        size_t len = ((size_t)2 << 20) + extra * 1024;
        mlp_blake3(expected, input, len);
        CHECK(mlp_hasher_new(&hasher, MLP_BLAKE3, NULL, NULL) == 0);
        CHECK(mlp_hasher_update(hasher, input, len, NULL) == 0);
        CHECK(mlp_hasher_digest(hasher, seen, NULL) == 0);
        CHECK(memcmp(seen, expected, 32) == 0);
        mlp_hasher_free(hasher);
    }
    CHECK(mlp_pool_workers() > 0);
    uint8_t left[32], right[32];
    CHECK(mlp_blake3_subtree(left, input, 2U << 20, 0, NULL, NULL) == 0);
    CHECK(mlp_blake3_subtree(right, input + (2U << 20), 2U << 20, 2U << 10, NULL, NULL) == 0);
    mlp_blake3_root_of_parents(seen, left, right, NULL);
    mlp_blake3(expected, input, 4U << 20);
    CHECK(memcmp(seen, expected, 32) == 0);
    CHECK(mlp_pool_set_threads(2, NULL) == 0);
}

/* ---- at once ---- */

static void *hash_again_and_again(void *argument)
{
    const size_t *threads = argument;
    uint8_t expected[32], seen[32];
    mlp_blake3(expected, input, INPUT_LEN);
    for (int i = 0; i < 20; i++) {
        hash_on(*threads, MLP_BLAKE3, seen, input, INPUT_LEN);
        CHECK(memcmp(seen, expected, 32) == 0);
    }
    return NULL;
}

static void callers_that_hash_at_once_do_not_disturb_each_other(void)
{
    pthread_t callers[5];
    size_t threads[5];
    for (size_t i = 0; i < 5; i++) {
        threads[i] = i;
        CHECK(pthread_create(&callers[i], NULL, hash_again_and_again, &threads[i]) == 0);
    }
    for (size_t i = 0; i < 5; i++)
        CHECK(pthread_join(callers[i], NULL) == 0);
}

static void without_memory_for_a_plan_one_thread_does_all(void)
{
    uint8_t expected[32], seen[32];
    mlp_blake3(expected, input, INPUT_LEN);
    atomic_store(&no_memory, true);
    hash_on(4, MLP_BLAKE3, seen, input, INPUT_LEN);
    atomic_store(&no_memory, false);
    CHECK(memcmp(seen, expected, 32) == 0);
    if (MEMORY_CAN_FAIL)
        CHECK(atomic_load(&memory_failed));
}

static void without_memory_for_subtrees_one_thread_does_the_update(void)
{
    struct mlp_blake3_state state;
    uint8_t expected[32], seen[32];
    mlp_blake3(expected, input, INPUT_LEN);
    mlp_blake3_init(&state, mlp_blake3_iv, 0, 0);
    mlp_blake3_update_parallel(&state, input, 100, 4);
    atomic_store(&memory_failed, false);
    atomic_store(&no_memory, true);
    mlp_blake3_update_parallel(&state, input + 100, INPUT_LEN - 100, 4);
    atomic_store(&no_memory, false);
    mlp_blake3_output(&state, 0, seen, sizeof seen);
    CHECK(memcmp(seen, expected, 32) == 0);
    if (MEMORY_CAN_FAIL)
        CHECK(atomic_load(&memory_failed));
}

static void a_task_that_fails_fails_the_call(void)
{
    uint8_t digests[2][8 * 32], expected[32];
    struct mlp_hash_input inputs[8];
    struct mlp_error error;
    const struct mlp_hash_request requests[2] = {{MLP_BLAKE3, digests[0]},
                                                 {MLP_SHA256, digests[1]}};
    if (!MEMORY_CAN_FAIL) {
        SKIP("the sanitizer's own allocator stands there");
        return;
    }
    for (size_t i = 0; i < 8; i++)
        inputs[i] = (struct mlp_hash_input){.data = input + i, .len = 300000};
    CHECK(mlp_hash_many_by(requests, 2, inputs, 8, 4, &error) == 0);
    atomic_store(&no_memory_for_openssl, true);
    int status = mlp_hash_many_by(requests, 2, inputs, 8, 4, &error);
    int alone = mlp_hash_many_by(requests, 2, inputs, 8, 1, NULL);
    int without_error = mlp_hash_many_by(requests, 2, inputs, 8, 4, NULL);
    atomic_store(&no_memory_for_openssl, false);
    CHECK(status == MLP_E_CRYPTO && alone == MLP_E_CRYPTO && without_error == MLP_E_CRYPTO);
    CHECK(error.status == MLP_E_CRYPTO && strstr(error.message, "SHA-2") != NULL);
    CHECK(mlp_hash_many_by(requests, 2, inputs, 8, 4, &error) == 0);
    hash_on(1, MLP_SHA256, expected, input + 7, 300000);
    CHECK(memcmp(digests[1] + 7 * 32, expected, 32) == 0);
}

int main(void)
{
    kernels_count = mlp_hash_kernels(names, usable);
    if (!CHECK(map_input()))
        return 1;
    RUN(one_input_has_one_digest_on_any_number_of_threads);
    RUN(many_inputs_have_their_digests_on_any_number_of_threads);
    RUN(several_algorithms_at_once_give_the_digests_of_each);
    RUN(an_unknown_algorithm_among_several_is_refused);
    RUN(updates_in_any_pieces_on_any_number_of_threads_give_one_digest);
    RUN(a_hasher_takes_whole_subtrees_of_a_large_piece_in_parallel);
    RUN(callers_that_hash_at_once_do_not_disturb_each_other);
    RUN(without_memory_for_a_plan_one_thread_does_all);
    RUN(without_memory_for_subtrees_one_thread_does_the_update);
    RUN(a_task_that_fails_fails_the_call);
    return check_finish();
}
