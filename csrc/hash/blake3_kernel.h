/* blake3_kernel.h - the contract between the BLAKE3 tree and its kernels.
 *
 * One kernel per instruction set.
 *
 * Source: BLAKE3 (2021): section 2.1 (chunks, parents), 2.2 (compression function), table 2
 * (message schedule), table 3 (flags). Internal to the hash room; other rooms include hash.h.
 *
 * Threads: kernels are pure functions of their arguments; they allocate nothing and never fail.
 */
#ifndef MLP_HASH_BLAKE3_KERNEL_H
#define MLP_HASH_BLAKE3_KERNEL_H

#include "base/bytes.h"
#include "hash/hash.h"

#define MLP_BLAKE3_LANES_MAX    16
#define MLP_BLAKE3_CHUNK_BLOCKS (MLP_BLAKE3_CHUNK_LEN / MLP_BLAKE3_BLOCK_LEN)

/* How far ahead is prefetched while the chunks of one long input are compressed: chunks of neighbouring
 * lanes lie 1 KiB apart, too many streams for the processor's own prefetcher. */
#define MLP_BLAKE3_AHEAD (32 * 1024)

/* Table 3 of the specification. */
enum mlp_blake3_flag {
    MLP_BLAKE3_CHUNK_START = 1 << 0,
    MLP_BLAKE3_CHUNK_END = 1 << 1,
    MLP_BLAKE3_PARENT = 1 << 2,
    MLP_BLAKE3_ROOT = 1 << 3,
    MLP_BLAKE3_KEYED_HASH = 1 << 4,
    MLP_BLAKE3_DERIVE_KEY_CONTEXT = 1 << 5,
    MLP_BLAKE3_DERIVE_KEY_MATERIAL = 1 << 6,
};

/* Table 1: the IV, which is also the key of the unkeyed mode. It equals SHA-256's initial value. */
#define MLP_BLAKE3_IV_0 0x6A09E667U
#define MLP_BLAKE3_IV_1 0xBB67AE85U
#define MLP_BLAKE3_IV_2 0x3C6EF372U
#define MLP_BLAKE3_IV_3 0xA54FF53AU
#define MLP_BLAKE3_IV_4 0x510E527FU
#define MLP_BLAKE3_IV_5 0x9B05688CU
#define MLP_BLAKE3_IV_6 0x1F83D9ABU
#define MLP_BLAKE3_IV_7 0x5BE0CD19U
extern const uint32_t mlp_blake3_iv[8];

/* The message words of the seven rounds: table 2's permutation applied 0 to 6 times. ROUND(r, w0 ..
 * w15) is the kernel's own macro; words 2i and 2i+1 go to the i-th G (0-3: columns, 4-7:
 * diagonals). */
#define MLP_BLAKE3_SEVEN_ROUNDS(ROUND)                                                             \
    ROUND(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)                                 \
    ROUND(1, 2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)                                 \
    ROUND(2, 3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)                                 \
    ROUND(3, 10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)                                 \
    ROUND(4, 12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)                                 \
    ROUND(5, 9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)                                 \
    ROUND(6, 11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)

/* Work of up to MLP_BLAKE3_LANES_MAX independent lanes that advance by the same number of blocks:
 * chunks (of one input or of several), stretches of chunks, or parents (blocks_count 1). Rows of
 * per-lane words lie as vector kernels load them.
 *
 * Lane i compresses blocks_count blocks of 64 bytes: all but the last at blocks[i], one after
 * another, and the last at last_block[i], 64 readable bytes that are zero beyond last_len[i]. A
 * kernel reads no other memory; it may load the rows of numbers whole, but uses no row beyond
 * count. flags_start is added for the first block, flags_end[i] for the last. The chaining value,
 * eight little-endian words, goes to cvs[i], 32 bytes at any alignment.
 *
 * A lane begins with the key. Where bit i of resumed is set, lane i goes on instead with the chaining
 * value that an earlier call left at cvs[i], and flags_start is not added: so a chunk may be compressed
 * in several calls, beside chunks of other lengths (blake3_many.c).
 *
 * While a kernel compresses the b-th block it may prefetch the 64 bytes at ahead[i] + 64 b, which the
 * caller expects to be read soon. It is an address and no pointer: nothing need lie there.
 *
 * cvs[i] may overwrite the blocks of lanes 0 to i, never those of a later lane (parents reduced in
 * place): a kernel reads all of the lanes it holds before it writes any of their chaining values.
 */
struct mlp_blake3_work {
    const uint8_t *blocks[MLP_BLAKE3_LANES_MAX];
    const uint8_t *last_block[MLP_BLAKE3_LANES_MAX];
    uint8_t *cvs[MLP_BLAKE3_LANES_MAX];
    uintptr_t ahead[MLP_BLAKE3_LANES_MAX];
    uint32_t counter_low[MLP_BLAKE3_LANES_MAX];
    uint32_t counter_high[MLP_BLAKE3_LANES_MAX];
    uint32_t last_len[MLP_BLAKE3_LANES_MAX];
    uint32_t flags_end[MLP_BLAKE3_LANES_MAX]; /* roots and inner nodes may share the work */
    size_t count;                             /* 1 to MLP_BLAKE3_LANES_MAX */
    size_t blocks_count;                      /* 1 to MLP_BLAKE3_CHUNK_BLOCKS */
    const uint32_t *key; /* eight words: the chaining value before the first block */
    uint32_t flags;
    uint32_t flags_start;
    uint32_t resumed; /* a bit for each lane */
};

struct mlp_blake3_kernel {
    const char *name;
    size_t lanes; /* how many lanes of work it compresses at a time; work may have more or fewer */

    /* One block (section 2.2). out: the sixteen output words, of which the first eight are the
     * chaining value; may be the same memory as cv. block: 64 bytes, zero beyond block_len. */
    void (*compress)(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                     uint64_t counter, uint32_t block_len, uint32_t flags);
    void (*compress_lanes)(const struct mlp_blake3_work *work);
};

/* The portable kernel's compress, for kernels that have no faster one. */
void mlp_blake3_compress_portable(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                                  uint64_t counter, uint32_t block_len, uint32_t flags);

extern const struct mlp_blake3_kernel mlp_blake3_portable;
#if defined(__x86_64__)
extern const struct mlp_blake3_kernel mlp_blake3_sse41;
extern const struct mlp_blake3_kernel mlp_blake3_avx2;
extern const struct mlp_blake3_kernel mlp_blake3_avx512;
#endif
#if defined(__aarch64__)
extern const struct mlp_blake3_kernel mlp_blake3_neon;
#endif

/* The kernel in use, chosen at the first call (blake3_choice.c). */
const struct mlp_blake3_kernel *mlp_blake3_kernel(void);

/* For tests: uses a kernel that is not in the table of the build. NULL: the one chosen at first. */
void mlp_blake3_use_kernel(const struct mlp_blake3_kernel *kernel);

/* Whether a kernel computes what the portable one does, on every lane count, with short and full
 * blocks, all flags, counters beyond 2^32, lanes that go on, and parents in place. Takes well under a millisecond.
 * Never ask a kernel that the CPU does not have. */
bool mlp_blake3_self_test(const struct mlp_blake3_kernel *kernel);

/* Where a lane's chaining value is before its first block. */
static inline const uint8_t *mlp_blake3_lane_start(const struct mlp_blake3_work *work, size_t lane)
{
    return (work->resumed >> lane & 1) != 0 ? work->cvs[lane] : (const uint8_t *)work->key;
}

/* The flags of a lane's first block, without flags_end. */
static inline uint32_t mlp_blake3_lane_start_flags(const struct mlp_blake3_work *work, size_t lane)
{
    return work->flags | ((work->resumed >> lane & 1) != 0 ? 0 : work->flags_start);
}

/* Both for rows lanes from the first-th on; those that are not in work are like the first. */
static inline void mlp_blake3_lane_starts(const uint8_t **starts, uint32_t *start_flags,
                                          const struct mlp_blake3_work *work, size_t first,
                                          size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        size_t lane = first + i < work->count ? first + i : first;
        starts[i] = mlp_blake3_lane_start(work, lane);
        start_flags[i] = mlp_blake3_lane_start_flags(work, lane);
    }
}

/* One lane of work, block by block: the rest that is too small for a vector of lanes. */
static inline void mlp_blake3_lane_by_blocks(const struct mlp_blake3_work *work, size_t lane,
                                             const struct mlp_blake3_kernel *kernel)
{
    uint32_t state[16];
    memcpy(state, mlp_blake3_lane_start(work, lane), 32);
    uint64_t counter = (uint64_t)work->counter_high[lane] << 32 | work->counter_low[lane];
    uint32_t flags = mlp_blake3_lane_start_flags(work, lane);
    for (size_t i = 0; i + 1 < work->blocks_count; i++) {
        kernel->compress(state, state, work->blocks[lane] + i * MLP_BLAKE3_BLOCK_LEN, counter,
                         MLP_BLAKE3_BLOCK_LEN, flags);
        flags = work->flags;
    }
    kernel->compress(state, state, work->last_block[lane], counter, work->last_len[lane],
                     flags | work->flags_end[lane]);
    memcpy(work->cvs[lane], state, 32);
}

#endif
