/* The self-test that stands before every kernel: good kernels pass it, each broken one is refused.
 * And what a self-test cannot ask without risk: that a kernel reads only what it may. */
#include "check.h"
#include "hash/blake3_kernel.h"
#include "hash/cpu.h"
#include "hash_fixture.h"

#include <stdlib.h>

/* ---- a kernel that is wrong on purpose, around one that is right ---- */

enum defect {
    NONE,
    ONE_BIT_WRONG,
    SWAPPED_WITH_NEXT_LANE,
    HIGH_COUNTER_LOST,
    LOW_COUNTER_LOST,
    END_FLAGS_LOST,
    LENGTH_IGNORED,
    LAST_BLOCK_OF_ANOTHER_LANE,
    LANE_NOT_WRITTEN,
    RESUMED_LANE_BEGINS_ANEW,
    NEW_LANE_IS_RESUMED,
    LANE_DEFECTS_COUNT,
    START_FLAG_LOST = LANE_DEFECTS_COUNT,
    START_FLAG_IN_RESUMED_LANES,
    MODE_FLAGS_LOST,
    KEY_IGNORED,
    ONE_BLOCK_SHORT,
    ROW_BEYOND_COUNT_WRITTEN,
    CHILDREN_OVERWRITTEN,
    BLOCK_COUNTER_CUT,
    BLOCK_LENGTH_IGNORED,
    BLOCK_FLAGS_IGNORED,
    UPPER_HALF_WRONG,
    RUN_COUNTER_CUT,
    RUN_KEY_IGNORED,
    RUN_MODE_FLAGS_LOST,
    RUN_ROWS_SWAPPED,
    DEFECTS_COUNT,
};

static const struct mlp_blake3_kernel *right;
static enum defect defect;
static size_t broken_lane;

static void swap_outputs(const struct mlp_blake3_work *work, size_t one, size_t other)
{
    uint8_t cv[32];
    memcpy(cv, work->cvs[one], 32);
    memcpy(work->cvs[one], work->cvs[other], 32);
    memcpy(work->cvs[other], cv, 32);
}

/* In works of one block: it is the last one too, whose flags are per lane. */
static void flag_resumed_lanes(struct mlp_blake3_work *work)
{
    for (size_t i = 0; i < work->count && work->blocks_count == 1; i++)
        work->flags_end[i] |= (work->resumed >> i & 1) != 0 ? work->flags_start : 0;
}

/* Wrong inputs for the right kernel. */
static void spoil_work(struct mlp_blake3_work *work, uint8_t discarded[32])
{
    size_t lane = broken_lane;
    if (defect == HIGH_COUNTER_LOST)
        work->counter_high[lane] = 0;
    else if (defect == LOW_COUNTER_LOST)
        work->counter_low[lane] = 0;
    else if (defect == END_FLAGS_LOST)
        work->flags_end[lane] = 0;
    else if (defect == LENGTH_IGNORED)
        work->last_len[lane] = MLP_BLAKE3_BLOCK_LEN;
    else if (defect == LAST_BLOCK_OF_ANOTHER_LANE && lane < work->count)
        work->last_block[lane] = work->last_block[lane > 0 ? lane - 1 : work->count - 1];
    else if (defect == LANE_NOT_WRITTEN && lane < work->count)
        work->cvs[lane] = discarded;
    else if (defect == RESUMED_LANE_BEGINS_ANEW)
        work->resumed &= ~(1U << lane);
    else if (defect == NEW_LANE_IS_RESUMED)
        work->resumed |= 1U << lane;
    else if (defect == START_FLAG_IN_RESUMED_LANES)
        flag_resumed_lanes(work);
    else if (defect == START_FLAG_LOST)
        work->flags_start = 0;
    else if (defect == MODE_FLAGS_LOST)
        work->flags = 0;
    else if (defect == KEY_IGNORED)
        work->key = mlp_blake3_iv;
    else if (defect == ONE_BLOCK_SHORT && work->blocks_count > 1)
        work->blocks_count--;
}

static void broken_compress_lanes(const struct mlp_blake3_work *work)
{
    struct mlp_blake3_work spoiled = *work;
    uint8_t discarded[32];
    if (defect == CHILDREN_OVERWRITTEN) { /* the lanes one by one, from the last */
        for (size_t i = work->count; i-- > 0;)
            mlp_blake3_lane_by_blocks(work, i, &mlp_blake3_portable);
        return;
    }
    spoil_work(&spoiled, discarded);
    right->compress_lanes(&spoiled);
    if (defect == ONE_BIT_WRONG && broken_lane < work->count)
        work->cvs[broken_lane][31] ^= 0x80;
    else if (defect == SWAPPED_WITH_NEXT_LANE && broken_lane + 1 < work->count)
        swap_outputs(work, broken_lane, broken_lane + 1);
    else if (defect == ROW_BEYOND_COUNT_WRITTEN && work->count < MLP_BLAKE3_LANES_MAX)
        work->cvs[work->count][0] ^= 1;
}

static void broken_compress(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                            uint64_t counter, uint32_t block_len, uint32_t flags)
{
    if (defect == BLOCK_COUNTER_CUT)
        counter = (uint32_t)counter;
    else if (defect == BLOCK_LENGTH_IGNORED)
        block_len = MLP_BLAKE3_BLOCK_LEN;
    else if (defect == BLOCK_FLAGS_IGNORED)
        flags &= ~(uint32_t)MLP_BLAKE3_ROOT;
    right->compress(out, cv, block, counter, block_len, flags);
    if (defect == UPPER_HALF_WRONG)
        out[15] ^= 1;
}

/* As a wrong lane of a group, or a wrong counter of one, would show: in the row that it goes into. */
static void broken_compress_run(uint8_t *cvs, const uint8_t *data, size_t count, uint64_t counter,
                                const uint32_t key[8], uint32_t flags)
{
    if (defect == RUN_COUNTER_CUT)
        counter = (uint32_t)counter;
    else if (defect == RUN_KEY_IGNORED)
        key = mlp_blake3_iv;
    else if (defect == RUN_MODE_FLAGS_LOST)
        flags = 0;
    right->compress_run(cvs, data, count, counter, key, flags);
    if (defect == ONE_BIT_WRONG)
        cvs[broken_lane * 32] ^= 1;
    else if (defect == RUN_ROWS_SWAPPED)
        for (size_t i = 0; i < 32; i++) {
            uint8_t byte = cvs[i];
            cvs[i] = cvs[32 + i];
            cvs[32 + i] = byte;
        }
}

static struct mlp_blake3_kernel broken = {
    .name = "broken",
    .lanes = 1,
    .compress = broken_compress,
    .compress_lanes = broken_compress_lanes,
};

static bool broken_passes(enum defect how, size_t lane)
{
    defect = how;
    broken_lane = lane;
    broken.compress_run = right->compress_run != NULL ? broken_compress_run : NULL;
    bool passes = mlp_blake3_self_test(&broken);
    if (passes != (how == NONE))
        printf("  kernel %s, defect %d, lane %zu\n", right->name, (int)how, lane);
    return passes;
}

/* ---- tests, for one right kernel after another ---- */

static void a_good_kernel_passes_its_self_test(void)
{
    CHECK(mlp_blake3_self_test(right));
    CHECK(broken_passes(NONE, 0));
}

static void a_kernel_broken_in_any_one_lane_is_refused(void)
{
    for (int how = NONE + 1; how < LANE_DEFECTS_COUNT; how++)
        for (size_t lane = 0; lane < MLP_BLAKE3_LANES_MAX; lane++) {
            bool has_next = lane + 1 < MLP_BLAKE3_LANES_MAX;
            if (how != SWAPPED_WITH_NEXT_LANE || has_next)
                CHECK(!broken_passes((enum defect)how, lane));
        }
}

static void a_kernel_broken_in_all_lanes_is_refused(void)
{
    int count = right->compress_run != NULL ? DEFECTS_COUNT : RUN_COUNTER_CUT;
    for (int how = LANE_DEFECTS_COUNT; how < count; how++)
        CHECK(!broken_passes((enum defect)how, 0));
}

/* Every block that a lane may read ends at an unmapped page, where the pointers of all else lead: of
 * lanes beyond count, of the blocks before the last where there is none, and what is only prefetched. */
static void lay_out_at_the_page(struct mlp_blake3_work *work, const struct guarded *input,
                                uint8_t cvs[MLP_BLAKE3_LANES_MAX][32])
{
    memset(cvs, 0, MLP_BLAKE3_LANES_MAX * 32);
    for (size_t i = 0; i < MLP_BLAKE3_LANES_MAX; i++) {
        bool used = i < work->count;
        work->blocks[i] = input->end - (used ? (work->blocks_count - 1) * 64 : 0);
        work->last_block[i] = input->end - (used ? 64 : 0);
        work->cvs[i] = used ? cvs[i] : NULL;
        work->ahead[i] = (uintptr_t)input->end;
        work->last_len[i] = 64;
        work->counter_low[i] = (uint32_t)i;
        work->flags_end[i] = MLP_BLAKE3_CHUNK_END;
    }
}

static void a_kernel_reads_the_blocks_of_its_lanes_and_nothing_else(void)
{
    struct guarded input;
    uint8_t expected[MLP_BLAKE3_LANES_MAX][32], seen[MLP_BLAKE3_LANES_MAX][32];
    static const size_t blocks_counts[] = {1, 2, MLP_BLAKE3_CHUNK_BLOCKS};
    if (!CHECK(map_guarded(&input, MLP_BLAKE3_CHUNK_LEN)))
        return;
    struct mlp_blake3_work work = {.key = mlp_blake3_iv, .flags_start = MLP_BLAKE3_CHUNK_START};
    for (work.count = 1; work.count <= MLP_BLAKE3_LANES_MAX; work.count++)
        for (size_t i = 0; i < sizeof blocks_counts / sizeof blocks_counts[0]; i++) {
            work.blocks_count = blocks_counts[i];
            work.resumed = work.count % 2 == 0 ? 0 : UINT32_MAX;
            lay_out_at_the_page(&work, &input, expected);
            mlp_blake3_portable.compress_lanes(&work);
            lay_out_at_the_page(&work, &input, seen);
            right->compress_lanes(&work);
            CHECK(memcmp(seen, expected, sizeof seen) == 0);
        }
    unmap_guarded(&input);
}

/* A bit of each row in turn, with lanes that are right. */
static void a_kernel_broken_in_one_row_of_a_run_is_refused(void)
{
    struct mlp_blake3_kernel only_runs = *right;
    only_runs.compress_run = broken_compress_run;
    defect = ONE_BIT_WRONG;
    for (broken_lane = 0; broken_lane < MLP_BLAKE3_RUN_CVS; broken_lane++)
        CHECK(!mlp_blake3_self_test(&only_runs));
}

/* Both ends of the input lie at unmapped pages, which the copies for the next block must not reach. */
static void a_run_reads_its_chunks_and_nothing_else(void)
{
    uint8_t ordinary[MLP_BLAKE3_RUN_CVS * 32], guarded[MLP_BLAKE3_RUN_CVS * 32];
    for (size_t count = MLP_BLAKE3_RUN_MIN; count <= MLP_BLAKE3_RUN_MAX; count *= 2) {
        struct guarded input;
        if (!CHECK(map_guarded(&input, count * MLP_BLAKE3_CHUNK_LEN)))
            return;
        uint8_t *copy = malloc(count * MLP_BLAKE3_CHUNK_LEN);
        const uint8_t *data = input.end - count * MLP_BLAKE3_CHUNK_LEN;
        if (CHECK(copy != NULL)) {
            memcpy(copy, data, count * MLP_BLAKE3_CHUNK_LEN);
            right->compress_run(ordinary, copy, count, 0, mlp_blake3_iv, 0);
            right->compress_run(guarded, data, count, 0, mlp_blake3_iv, 0);
            CHECK(memcmp(ordinary, guarded, sizeof ordinary) == 0);
        }
        free(copy);
        unmap_guarded(&input);
    }
}

static void test_kernel(const struct mlp_blake3_kernel *kernel, bool in_cpu)
{
    printf("  kernel %s\n", kernel->name);
    if (!in_cpu) {
        SKIP("this processor or system does not have it");
        return;
    }
    right = kernel;
    RUN(a_good_kernel_passes_its_self_test);
    RUN(a_kernel_broken_in_any_one_lane_is_refused);
    RUN(a_kernel_broken_in_all_lanes_is_refused);
    RUN(a_kernel_reads_the_blocks_of_its_lanes_and_nothing_else);
    if (right->compress_run != NULL) {
        RUN(a_kernel_broken_in_one_row_of_a_run_is_refused);
        RUN(a_run_reads_its_chunks_and_nothing_else);
    }
}

/* Without MLPROV_HASH_IMPL. Names stand in order of preference. */
static void the_first_usable_kernel_is_the_one_in_use(void)
{
    const char *names[MLP_KERNELS_MAX];
    bool usable[MLP_KERNELS_MAX];
    size_t count = mlp_hash_kernels(names, usable), first = 0;
    while (first < count && !usable[first])
        first++;
    CHECK(first < count && strcmp(mlp_hash_kernel_name(), names[first]) == 0);
#if defined(__aarch64__)
    CHECK(strcmp(mlp_hash_kernel_name(), "neon") == 0);
#endif
}

int main(void)
{
    CHECK(unsetenv("MLPROV_HASH_IMPL") == 0);
    RUN(the_first_usable_kernel_is_the_one_in_use);
    test_kernel(&mlp_blake3_portable, true);
#if defined(__x86_64__)
    test_kernel(&mlp_blake3_sse41, mlp_cpu_has_sse41());
    test_kernel(&mlp_blake3_avx2, mlp_cpu_has_avx2());
#if defined(__ELF__)
    test_kernel(&mlp_blake3_avx512, mlp_cpu_has_avx512());
    test_kernel(&mlp_blake3_avx512_copying, mlp_cpu_has_avx512());
#endif
#endif
#if defined(__aarch64__)
    test_kernel(&mlp_blake3_neon, true);
#endif
    return check_finish();
}
