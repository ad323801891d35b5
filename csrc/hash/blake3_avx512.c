/* blake3_avx512.c - the BLAKE3 kernels for AVX-512: sixteen lanes, one state word of all lanes in a
 * zmm register; a rotation is one instruction (vprord). The loops are in blake3_avx512_loops.S.
 *
 * Two kernels that differ as processors do: in how a run of chunks is transposed, by shuffles, or by copies
 * that leave the vector units to the arithmetic; and in how a lone block is compressed (blake3_choice.c
 * says where which is used).
 */
#if defined(__x86_64__) && defined(__ELF__)

#include "hash/blake3_avx512_frames.h"
#include "hash/blake3_avx512_narrow.h"

#define TARGET          __attribute__((target("avx512f,avx512vl")))
#define INLINE          static inline __attribute__((always_inline))
#define VECTOR          __m512i
#define INTRINSIC(name) _mm512_##name
#define LANES           16
#define WIDE_FROM       (MLP_BLAKE3_AVX512_NARROW_MAX + 1) /* fewer lanes than this go elsewhere */

#include "hash/blake3_transpose.h"

/* ---- chaining values to rows ---- */

/* Eight vectors of words to sixteen rows of 32 bytes. After the transposition within quarters,
 * quarter i of rows[j] and of rows[4 + j] are the halves of lane 4i + j. */
TARGET INLINE void to_rows(__m256i lanes[LANES], const struct mlp_blake3_avx512_set *set)
{
    __m512i rows[8];
    for (size_t word = 0; word < 8; word++)
        rows[word] = _mm512_load_si512(set->words[word]);
    transpose(rows, rows);
    transpose(rows + 4, rows + 4);
    for (size_t j = 0; j < 4; j++) {
        /* Quarters 0, 1 of both, then 2, 3 of both; 0xD8 puts equal lanes side by side. */
        __m512i front = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x44);
        __m512i back = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xEE);
        front = _mm512_shuffle_i32x4(front, front, 0xD8);
        back = _mm512_shuffle_i32x4(back, back, 0xD8);
        lanes[j] = _mm512_castsi512_si256(front);
        lanes[4 + j] = _mm512_extracti64x4_epi64(front, 1);
        lanes[8 + j] = _mm512_castsi512_si256(back);
        lanes[12 + j] = _mm512_extracti64x4_epi64(back, 1);
    }
}

/* ---- sixteen lanes ---- */

TARGET INLINE void spread(uint32_t row[LANES], uint32_t word)
{
    _mm512_store_si512(row, _mm512_set1_epi32((int)word));
}

TARGET INLINE void copy_row(uint32_t row[LANES], const uint32_t words[LANES])
{
    _mm512_store_si512(row, _mm512_loadu_si512(words));
}

/* Rows of 32 bytes to word-major: the inverse of to_rows. */
TARGET static void from_rows(struct mlp_blake3_avx512_set *set, const uint8_t *const rows[LANES])
{
    const __m512i word_0_of_lanes =
        _mm512_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120);
    uint8_t side_by_side[LANES * MLP_BLAKE3_OUT_LEN];
    for (size_t i = 0; i < LANES; i++)
        memcpy(side_by_side + i * MLP_BLAKE3_OUT_LEN, rows[i], MLP_BLAKE3_OUT_LEN);
    for (size_t word = 0; word < 8; word++)
        _mm512_store_si512(set->words[word],
                           _mm512_i32gather_epi32(word_0_of_lanes, side_by_side + 4 * word, 4));
}

/* Chaining values and flags before the first block. */
TARGET static void start_lanes(struct mlp_blake3_avx512_lanes *lanes,
                               const struct mlp_blake3_work *work)
{
    if (work->resumed == 0) {
        for (size_t i = 0; i < 8; i++)
            spread(lanes->cvs.words[i], work->key[i]);
        spread(lanes->flags, work->flags | work->flags_start);
        return;
    }
    const uint8_t *starts[LANES];
    mlp_blake3_lane_starts(starts, lanes->flags, work, 0, LANES);
    from_rows(&lanes->cvs, starts);
}

/* All sixteen rows of work are used; the chaining values of count lanes are stored. */
TARGET static void compress_sixteen(const struct mlp_blake3_work *work, size_t count)
{
    struct mlp_blake3_avx512_lanes lanes;
    size_t before_last = work->blocks_count - 1;
    start_lanes(&lanes, work);
    copy_row(lanes.counter_low, work->counter_low);
    copy_row(lanes.counter_high, work->counter_high);
    spread(lanes.later_flags, work->flags);
    if (before_last > 0) {
        spread(lanes.block_len, MLP_BLAKE3_BLOCK_LEN);
        mlp_blake3_avx512_blocks(&lanes, work->blocks, before_last, work->ahead, 0);
    }
    copy_row(lanes.block_len, work->last_len);
    _mm512_store_si512(lanes.flags, _mm512_or_si512(_mm512_load_si512(lanes.flags),
                                                    _mm512_loadu_si512(work->flags_end)));
    mlp_blake3_avx512_blocks(&lanes, work->last_block, 1, work->ahead,
                             before_last * MLP_BLAKE3_BLOCK_LEN);
    __m256i rows[LANES];
    to_rows(rows, &lanes.cvs);
    for (size_t i = 0; i < count; i++)
        _mm256_storeu_si256((__m256i *)work->cvs[i], rows[i]);
}

/* Idle lanes do what lane 0 does. */
static void compress_padded(const struct mlp_blake3_work *work)
{
    struct mlp_blake3_work padded = *work;
    for (size_t i = work->count; i < LANES; i++) {
        padded.blocks[i] = work->blocks[0];
        padded.last_block[i] = work->last_block[0];
        padded.ahead[i] = work->ahead[0];
    }
    compress_sixteen(&padded, work->count);
}

static void compress_lanes(const struct mlp_blake3_work *work)
{
    if (work->count < WIDE_FROM)
        mlp_blake3_avx512_narrow(work);
    else if (work->count < LANES)
        compress_padded(work);
    else
        compress_sixteen(work, LANES);
}

/* On Zen 5 a chain of vector instructions is slower than plain C (blake3_avx512_narrow.h). */
static void compress_lanes_but_one(const struct mlp_blake3_work *work)
{
    if (work->count == 1)
        mlp_blake3_lane_by_blocks(work, 0, &mlp_blake3_portable);
    else
        compress_lanes(work);
}

/* ---- runs of chunks ---- */

#define SLAB     (2 * LANES) /* chunks that are compressed together */
#define SLAB_LEN (SLAB * MLP_BLAKE3_CHUNK_LEN)
#define SETS_MAX 6 /* log2(MLP_BLAKE3_RUN_MAX / SLAB), and one more */
_Static_assert(SLAB == MLP_BLAKE3_RUN_MIN, "a run has whole slabs");
_Static_assert(SLAB << (SETS_MAX - 1) == MLP_BLAKE3_RUN_MAX, "a set for each level and one more");

static void init_run(struct mlp_blake3_avx512_run *run, const uint32_t key[8], uint32_t flags)
{
    memcpy(run->key, key, sizeof run->key);
    for (size_t i = 0; i < MLP_BLAKE3_CHUNK_BLOCKS; i++)
        run->flags[i] = flags;
    run->flags[0] |= MLP_BLAKE3_CHUNK_START;
    run->flags[MLP_BLAKE3_CHUNK_BLOCKS - 1] |= MLP_BLAKE3_CHUNK_END;
}

static void count_chunks(struct mlp_blake3_avx512_run *run, uint64_t counter)
{
    for (size_t lane = 0; lane < SLAB; lane++) {
        run->counter_low[lane / LANES][lane % LANES] = (uint32_t)(counter + lane);
        run->counter_high[lane / LANES][lane % LANES] = (uint32_t)((counter + lane) >> 32);
    }
}

/* The first block of each chunk, as the assembly copies those that follow. */
static void copy_first_pairs(struct mlp_blake3_avx512_run *run, const uint8_t *data)
{
    for (size_t lane = 0; lane < SLAB; lane++) {
        size_t row = lane % 4 / 2, place = lane % LANES / 4 * 4 + lane % 2 * 2;
        for (size_t pair = 0; pair < 8; pair++)
            memcpy(&run->pairs[lane / LANES][pair][row][place],
                   data + lane * MLP_BLAKE3_CHUNK_LEN + pair * 8, 8);
    }
}

/* Parents of two sets at a time, as soon as both are there: sets[0] holds what is left at the end. A set is
 * on the stack for each one bit of the number of slabs done. */
static size_t join_sets(struct mlp_blake3_avx512_set *sets, size_t count, size_t slabs_done,
                        const uint32_t key[8], uint32_t flags)
{
    for (; slabs_done % 2 == 0; slabs_done /= 2, count--)
        mlp_blake3_avx512_parents(&sets[count - 2], &sets[count - 2], &sets[count - 1], key, flags);
    return count;
}

TARGET INLINE void compress_slabs(uint8_t *cvs, const uint8_t *data, size_t count, uint64_t counter,
                                  const uint32_t key[8], uint32_t flags, bool by_copies)
{
    struct mlp_blake3_avx512_run run;
    struct mlp_blake3_avx512_set sets[SETS_MAX];
    size_t sets_count = 0, slabs_count = count / SLAB;
    init_run(&run, key, flags);
    if (by_copies)
        copy_first_pairs(&run, data);
    for (size_t done = 0; done < slabs_count; done++, data += SLAB_LEN) {
        count_chunks(&run, counter + done * SLAB);
        if (by_copies)
            mlp_blake3_avx512_chunks_copied(&run, data,
                                            done + 1 < slabs_count ? data + SLAB_LEN : data);
        else
            mlp_blake3_avx512_chunks_shuffled(&run, data);
        mlp_blake3_avx512_parents(&sets[sets_count++], &run.cvs[0], &run.cvs[1], key,
                                  flags | MLP_BLAKE3_PARENT);
        sets_count = join_sets(sets, sets_count, done + 1, key, flags | MLP_BLAKE3_PARENT);
    }
    __m256i rows[LANES];
    to_rows(rows, &sets[0]);
    for (size_t i = 0; i < LANES; i++)
        _mm256_storeu_si256((__m256i *)(cvs + i * MLP_BLAKE3_OUT_LEN), rows[i]);
}

TARGET static void compress_run_by_copies(uint8_t *cvs, const uint8_t *data, size_t count,
                                          uint64_t counter, const uint32_t key[8], uint32_t flags)
{
    compress_slabs(cvs, data, count, counter, key, flags, true);
}

TARGET static void compress_run_by_shuffles(uint8_t *cvs, const uint8_t *data, size_t count,
                                            uint64_t counter, const uint32_t key[8], uint32_t flags)
{
    compress_slabs(cvs, data, count, counter, key, flags, false);
}

const struct mlp_blake3_kernel mlp_blake3_avx512 = {
    .name = "avx512",
    .lanes = LANES,
    .compress = mlp_blake3_compress_portable,
    .compress_lanes = compress_lanes_but_one,
    .compress_run = compress_run_by_shuffles,
};

const struct mlp_blake3_kernel mlp_blake3_avx512_copying = {
    .name = "avx512-copying",
    .lanes = LANES,
    .compress = mlp_blake3_compress_avx512,
    .compress_lanes = compress_lanes,
    .compress_run = compress_run_by_copies,
};

#else
typedef int mlp_blake3_avx512_is_for_x86_64; /* ISO C forbids an empty file */
#endif
