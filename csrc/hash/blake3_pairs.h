/* blake3_pairs.h - one block, and up to four lanes, for the kernels with vectors of eight words: AVX2, and
 * AVX-512 with few lanes.
 *
 * A block's state is four rows of four words (a, b, c and d of four Gs), and a vector holds a row of two
 * lanes. The Gs of a half round are then one chain of instructions, each of which waits for the one before;
 * another pair of lanes runs in the gaps. Vectors of one word of every lane would be four such chains, to
 * fill lanes that are idle, after a message that must be transposed.
 *
 * In every row the columns stand in the order 0, 2, 1, 3. Then each row of the next round's message comes
 * from blends of the last round's rows and one shuffle (in the natural order two rows of four would take
 * two shuffles): few ports of a processor can shuffle or rotate, most can blend.
 *
 * Included once by a kernel that has defined TARGET and ROTATE16, ROTATE12, ROTATE8, ROTATE7, rightwards in
 * every word.
 *
 * Threads: what it defines touches nothing but its arguments.
 */
#ifndef MLP_HASH_BLAKE3_PAIRS_H
#define MLP_HASH_BLAKE3_PAIRS_H

#include "hash/blake3_kernel.h"

#include <immintrin.h>

#define PAIR_INLINE static inline __attribute__((always_inline))

struct pair {
    __m256i a, b, c, d;
    __m256i x, y; /* what the halves of the round's column step add, */
    __m256i z, w; /* and those of its diagonal step */
};

/* Words i0 to i3 of x, in either half; words i0 and i1 of x, then i2 and i3 of y; x with word i of y. */
#define WORDS(x, i0, i1, i2, i3) _mm256_shuffle_epi32(x, (i0) | (i1) << 2 | (i2) << 4 | (i3) << 6)
#define WORDS_OF_BOTH(x, i0, i1, y, i2, i3)                                                        \
    _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(y),          \
                                          (i0) | (i1) << 2 | (i2) << 4 | (i3) << 6))
#define WITH_WORD(x, i, y) _mm256_blend_epi32(x, y, 0x11 << (i))

/* Between the natural order of words and that of columns, either way. */
#define REORDER(x) WORDS(x, 0, 2, 1, 3)

/* ---- rounds ---- */

/* a + m + b in this order: b is ready last, and gcc would add it to m first. */
TARGET PAIR_INLINE __m256i add_both(__m256i a, __m256i m, __m256i b)
{
    __m256i sum = _mm256_add_epi32(a, m);
    __asm__("" : "+x"(sum));
    return _mm256_add_epi32(sum, b);
}

/* Section 2.2, half of four Gs each. */
TARGET PAIR_INLINE void first_half(struct pair *pair, __m256i m)
{
    pair->a = add_both(pair->a, m, pair->b);
    pair->d = ROTATE16(_mm256_xor_si256(pair->d, pair->a));
    pair->c = _mm256_add_epi32(pair->c, pair->d);
    pair->b = ROTATE12(_mm256_xor_si256(pair->b, pair->c));
}

TARGET PAIR_INLINE void second_half(struct pair *pair, __m256i m)
{
    pair->a = add_both(pair->a, m, pair->b);
    pair->d = ROTATE8(_mm256_xor_si256(pair->d, pair->a));
    pair->c = _mm256_add_epi32(pair->c, pair->d);
    pair->b = ROTATE7(_mm256_xor_si256(pair->b, pair->c));
}

/* Diagonals under one another, and columns again. Row b stays, for it is ready last: so the diagonals
 * stand in the order 3, 1, 0, 2. */
TARGET PAIR_INLINE void turn(struct pair *pair)
{
    pair->a = WORDS(pair->a, 3, 2, 0, 1);
    pair->c = WORDS(pair->c, 2, 3, 1, 0);
    pair->d = WORDS(pair->d, 1, 0, 3, 2);
}

TARGET PAIR_INLINE void turn_back(struct pair *pair)
{
    pair->a = WORDS(pair->a, 2, 3, 1, 0);
    pair->c = WORDS(pair->c, 3, 2, 0, 1);
    pair->d = WORDS(pair->d, 1, 0, 3, 2);
}

/* The next round's message (table 2). */
TARGET PAIR_INLINE void permute(struct pair *pair)
{
    const __m256i x = pair->x, y = pair->y, z = pair->z, w = pair->w;
    pair->x = WORDS_OF_BOTH(WITH_WORD(x, 3, y), 2, 3, WITH_WORD(x, 2, y), 2, 1);
    pair->y = WORDS_OF_BOTH(x, 3, 0, WITH_WORD(z, 3, w), 1, 3);
    pair->z = WORDS_OF_BOTH(WITH_WORD(w, 3, z), 0, 3, WITH_WORD(w, 0, y), 0, 2);
    pair->w = WORDS_OF_BOTH(WITH_WORD(z, 1, y), 2, 1, WITH_WORD(z, 1, w), 1, 0);
}

/* One block of every lane, whose states and messages are ready. The pairs' half steps alternate. */
TARGET PAIR_INLINE void compress_ready(struct pair *pairs, size_t pairs_count)
{
    for (size_t rounds_left = 7;; rounds_left--) {
        for (size_t i = 0; i < pairs_count; i++)
            first_half(&pairs[i], pairs[i].x);
        for (size_t i = 0; i < pairs_count; i++) {
            second_half(&pairs[i], pairs[i].y);
            turn(&pairs[i]);
        }
        for (size_t i = 0; i < pairs_count; i++)
            first_half(&pairs[i], pairs[i].z);
        for (size_t i = 0; i < pairs_count; i++) {
            second_half(&pairs[i], pairs[i].w);
            turn_back(&pairs[i]);
        }
        if (rounds_left == 1)
            return;
        for (size_t i = 0; i < pairs_count; i++)
            permute(&pairs[i]);
    }
}

/* ---- blocks ---- */

/* Sixteen bytes of two lanes. */
TARGET PAIR_INLINE __m256i load_row(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

/* Sets the message and rows c and d. */
TARGET PAIR_INLINE void begin_block(struct pair *pair, const uint8_t *low, const uint8_t *high,
                                    __m256i d)
{
    __m256i row0 = load_row(low, high), row1 = load_row(low + 16, high + 16);
    __m256i row2 = load_row(low + 32, high + 32), row3 = load_row(low + 48, high + 48);
    __m256i front = _mm256_unpacklo_epi32(row0, row1), back = _mm256_unpackhi_epi32(row0, row1);
    pair->x = _mm256_unpacklo_epi64(front, back);
    pair->y = _mm256_unpackhi_epi64(front, back);
    front = _mm256_unpacklo_epi32(row2, row3);
    back = _mm256_unpackhi_epi32(row2, row3);
    pair->z = WORDS_OF_BOTH(back, 1, 0, front, 0, 1);
    pair->w = WORDS_OF_BOTH(back, 3, 2, front, 2, 3);
    pair->c = REORDER(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)mlp_blake3_iv)));
    pair->d = d;
}

/* The chaining value to rows a and b. */
TARGET PAIR_INLINE void end_block(struct pair *pair)
{
    pair->a = _mm256_xor_si256(pair->a, pair->c);
    pair->b = _mm256_xor_si256(pair->b, pair->d);
}

/* Row d of two lanes. In the order of columns it is the counter's low word, the block's length, the
 * counter's high word, the flags. */
struct pair_ends {
    __m256i first; /* block that is compressed */
    __m256i later;
};

/* Compresses count > 0 blocks of every lane into rows a and b. blocks: where the lanes' blocks are, two
 * for each pair. */
TARGET PAIR_INLINE void compress_pairs(struct pair *pairs, size_t pairs_count,
                                       const struct pair_ends *ends, const uint8_t *const *blocks,
                                       size_t count)
{
    struct pair states[2];
    for (size_t i = 0; i < pairs_count; i++)
        states[i] = pairs[i];
    for (size_t done = 0; done < count; done++) {
        const size_t offset = done * MLP_BLAKE3_BLOCK_LEN;
        for (size_t i = 0; i < pairs_count; i++)
            begin_block(&states[i], blocks[2 * i] + offset, blocks[2 * i + 1] + offset,
                        done == 0 ? ends[i].first : ends[i].later);
        compress_ready(states, pairs_count);
        for (size_t i = 0; i < pairs_count; i++)
            end_block(&states[i]);
    }
    for (size_t i = 0; i < pairs_count; i++)
        pairs[i] = states[i];
}

/* Both lanes alike. Row d: see struct pair_ends. */
TARGET PAIR_INLINE __m256i row_d(uint32_t counter_low, uint32_t block_len, uint32_t counter_high,
                                 uint32_t flags)
{
    return _mm256_broadcastsi128_si256(
        _mm_setr_epi32((int)counter_low, (int)block_len, (int)counter_high, (int)flags));
}

/* struct mlp_blake3_kernel's compress. */
TARGET PAIR_INLINE void compress_one_block(uint32_t out[16], const uint32_t cv[8],
                                           const uint8_t block[64], uint64_t counter,
                                           uint32_t block_len, uint32_t flags)
{
    const __m128i low = _mm_loadu_si128((const __m128i *)cv);
    const __m128i high = _mm_loadu_si128((const __m128i *)(cv + 4));
    struct pair pair;
    pair.a = REORDER(_mm256_castsi128_si256(low));
    pair.b = REORDER(_mm256_castsi128_si256(high));
    begin_block(&pair, block, block,
                row_d((uint32_t)counter, block_len, (uint32_t)(counter >> 32), flags));
    compress_ready(&pair, 1);
    end_block(&pair);
    const __m256i rows[] = {REORDER(pair.a), REORDER(pair.b), REORDER(pair.c), REORDER(pair.d)};
    __m128i *words = (__m128i *)out;
    _mm_storeu_si128(words, _mm256_castsi256_si128(rows[0]));
    _mm_storeu_si128(words + 1, _mm256_castsi256_si128(rows[1]));
    _mm_storeu_si128(words + 2, _mm_xor_si128(low, _mm256_castsi256_si128(rows[2])));
    _mm_storeu_si128(words + 3, _mm_xor_si128(high, _mm256_castsi256_si128(rows[3])));
}

/* ---- lanes of work ---- */

/* What a lane's first block has beside the flags of all. */
static inline uint32_t start_flags(const struct mlp_blake3_work *work, size_t lane)
{
    return (work->resumed >> lane & 1) != 0 ? 0 : work->flags_start;
}

/* body: of all blocks but the last; last: of that. */
TARGET PAIR_INLINE void set_ends(struct pair_ends *body, struct pair_ends *last,
                                 const struct mlp_blake3_work *work, size_t low, size_t high)
{
    const __m256i counters =
        _mm256_setr_epi32((int)work->counter_low[low], 0, (int)work->counter_high[low], 0,
                          (int)work->counter_low[high], 0, (int)work->counter_high[high], 0);
    const __m256i own =
        _mm256_setr_epi32(0, (int)work->last_len[low], 0, (int)work->flags_end[low], 0,
                          (int)work->last_len[high], 0, (int)work->flags_end[high]);
    const __m256i start = _mm256_setr_epi32(0, 0, 0, (int)start_flags(work, low), 0, 0, 0,
                                            (int)start_flags(work, high));
    body->later = _mm256_or_si256(counters, row_d(0, MLP_BLAKE3_BLOCK_LEN, 0, work->flags));
    body->first = _mm256_or_si256(body->later, start);
    last->first = _mm256_or_si256(_mm256_or_si256(counters, own), row_d(0, 0, 0, work->flags));
    if (work->blocks_count == 1)
        last->first = _mm256_or_si256(last->first, start);
    last->later = last->first;
}

TARGET PAIR_INLINE void store_lane(uint8_t *cv32, __m256i cv)
{
    _mm256_storeu_si256((__m256i *)cv32, cv);
}

/* Lanes first to first + count - 1 in pairs_count pairs, the last of which may have one. */
TARGET PAIR_INLINE void compress_lanes_in_pairs(const struct mlp_blake3_work *work, size_t first,
                                                size_t count, size_t pairs_count)
{
    struct pair pairs[2];
    struct pair_ends body[2], end[2];
    const uint8_t *blocks[4], *last[4];
    for (size_t i = 0; i < pairs_count; i++) {
        size_t low = first + 2 * i, high = 2 * i + 1 < count ? low + 1 : low;
        blocks[2 * i] = work->blocks[low];
        blocks[2 * i + 1] = work->blocks[high];
        last[2 * i] = work->last_block[low];
        last[2 * i + 1] = work->last_block[high];
        const uint8_t *low_start = mlp_blake3_lane_start(work, low);
        const uint8_t *high_start = mlp_blake3_lane_start(work, high);
        pairs[i].a = REORDER(load_row(low_start, high_start));
        pairs[i].b = REORDER(load_row(low_start + 16, high_start + 16));
        set_ends(&body[i], &end[i], work, low, high);
    }
    if (work->blocks_count > 1)
        compress_pairs(pairs, pairs_count, body, blocks, work->blocks_count - 1);
    compress_pairs(pairs, pairs_count, end, last, 1);
    for (size_t i = 0; i < pairs_count; i++) {
        const __m256i a = REORDER(pairs[i].a), b = REORDER(pairs[i].b);
        store_lane(work->cvs[first + 2 * i], _mm256_permute2x128_si256(a, b, 0x20));
        if (2 * i + 1 < count)
            store_lane(work->cvs[first + 2 * i + 1], _mm256_permute2x128_si256(a, b, 0x31));
    }
}

TARGET static void compress_one_pair(const struct mlp_blake3_work *work, size_t first, size_t count)
{
    compress_lanes_in_pairs(work, first, count, 1);
}

TARGET static void compress_two_pairs(const struct mlp_blake3_work *work, size_t first,
                                      size_t count)
{
    compress_lanes_in_pairs(work, first, count, 2);
}

/* Lanes first to first + count - 1, count at most four. */
static void compress_few(const struct mlp_blake3_work *work, size_t first, size_t count)
{
    if (count <= 2)
        compress_one_pair(work, first, count);
    else
        compress_two_pairs(work, first, count);
}

#endif
