/* blake3_kernel.h - the contract between the BLAKE3 tree and its kernels.
 *
 * One kernel per instruction set.
 *
 * Source: BLAKE3 (2021): section 2.1 (chunks, parents), 2.2 (compression function), table 2
 * (message schedule), table 3 (flags). Internal to the hash room; other rooms include hash.h.
 *
 * Threads: kernels are pure functions of their arguments; they allocate nothing and never fail.
 * Stack: 10 KiB (a run of AVX-512; 1 KiB the others).
 */
#ifndef MLP_HASH_BLAKE3_KERNEL_H
#define MLP_HASH_BLAKE3_KERNEL_H

#include "base/bytes.h"
#include "hash/blake3_schedule.h"
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

extern const uint32_t mlp_blake3_iv[8];

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

    /* Whole chunks of one input that lie one after another, count of them: a power of two from
     * MLP_BLAKE3_RUN_MIN to MLP_BLAKE3_RUN_MAX. Their parents are computed as far up as fills
     * MLP_BLAKE3_RUN_CVS lanes: cvs receives the chaining values of that many neighbouring subtrees
     * of count / MLP_BLAKE3_RUN_CVS chunks, 32 bytes each. counter: of the first chunk. flags: of the
     * mode. NULL where compress_lanes does as well. */
    void (*compress_run)(uint8_t *cvs, const uint8_t *data, size_t count, uint64_t counter,
                         const uint32_t key[8], uint32_t flags);
};

#define MLP_BLAKE3_RUN_CVS 16
#define MLP_BLAKE3_RUN_MIN 32
#define MLP_BLAKE3_RUN_MAX 1024

/* The portable kernel's compress, for kernels that have no faster one. */
void mlp_blake3_compress_portable(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                                  uint64_t counter, uint32_t block_len, uint32_t flags);

extern const struct mlp_blake3_kernel mlp_blake3_portable;
#if defined(__x86_64__)
extern const struct mlp_blake3_kernel mlp_blake3_sse41;
extern const struct mlp_blake3_kernel mlp_blake3_avx2;
#if defined(__ELF__) /* the assembly is written for it */
extern const struct mlp_blake3_kernel mlp_blake3_avx512;
extern const struct mlp_blake3_kernel mlp_blake3_avx512_copying;
#endif
#endif
#if defined(__aarch64__)
extern const struct mlp_blake3_kernel mlp_blake3_neon;
#endif

/* The kernel in use, chosen at the first call (blake3_choice.c). */
const struct mlp_blake3_kernel *mlp_blake3_kernel(void);

/* For tests: uses a kernel that is not in the table of the build. NULL: the one chosen at first. */
void mlp_blake3_use_kernel(const struct mlp_blake3_kernel *kernel);

/* Whether a kernel computes what the portable one does, on every lane count, with short and full
 * blocks, all flags, counters beyond 2^32, lanes that go on, parents in place, and runs. Takes well under a
 * millisecond, and 90 KiB of stack.
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
