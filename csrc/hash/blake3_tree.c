/* blake3_tree.c - chunks to chaining values, chaining values to a root. */
#include "hash/blake3_tree.h"
#include "hash/blake3_lanes.h"

/* Chunks whose chaining values are computed together before their parents: 256 KiB of input and 8
 * KiB of chaining values stay in the second-level cache. A power of two. */
#define BATCH_CHUNKS 256

/* The bytes of a node that is not compressed yet: whether it is the root is known only at the end.
 */
struct node {
    uint32_t cv[8];
    uint8_t block[MLP_BLAKE3_BLOCK_LEN];
    uint64_t counter;
    uint32_t block_len;
    uint32_t flags;
};

static size_t smaller(size_t left, size_t right)
{
    return left < right ? left : right;
}

/* ---- nodes ---- */

static void compress_node(const struct node *node, uint64_t counter, uint32_t flags,
                          uint32_t words[16])
{
    mlp_blake3_kernel()->compress(words, node->cv, node->block, counter, node->block_len,
                                  node->flags | flags);
}

static void node_chaining_value(const struct node *node, uint8_t cv32[32])
{
    uint32_t words[16];
    compress_node(node, node->counter, 0, words);
    memcpy(cv32, words, MLP_BLAKE3_OUT_LEN);
}

/* All blocks but the last of the chunk being filled are compressed here. */
static void chunk_node(const struct mlp_blake3_state *state, struct node *node)
{
    const struct mlp_blake3_kernel *kernel = mlp_blake3_kernel();
    const uint8_t *block = state->chunk;
    size_t left = state->chunk_len;
    uint32_t words[16];
    node->counter = state->first_chunk + state->chunks_done;
    node->flags = state->flags | MLP_BLAKE3_CHUNK_START;
    memcpy(words, state->key, sizeof state->key);
    for (; left > MLP_BLAKE3_BLOCK_LEN; left -= MLP_BLAKE3_BLOCK_LEN) {
        kernel->compress(words, words, block, node->counter, MLP_BLAKE3_BLOCK_LEN, node->flags);
        block += MLP_BLAKE3_BLOCK_LEN;
        node->flags = state->flags;
    }
    memcpy(node->cv, words, sizeof node->cv);
    memcpy(node->block, block, left);
    memset(node->block + left, 0, sizeof node->block - left);
    node->block_len = (uint32_t)left;
    node->flags |= MLP_BLAKE3_CHUNK_END;
}

static void parent_node(struct node *node, const uint8_t left32[32], const uint8_t right32[32],
                        const uint32_t key[8], uint32_t flags)
{
    memcpy(node->cv, key, sizeof node->cv);
    memcpy(node->block, left32, 32);
    memcpy(node->block + 32, right32, 32);
    node->counter = 0;
    node->block_len = MLP_BLAKE3_BLOCK_LEN;
    node->flags = flags | MLP_BLAKE3_PARENT;
}

/* ---- the stack ---- */

static uint8_t *stack_entry(struct mlp_blake3_state *state, size_t index)
{
    return state->stack + index * MLP_BLAKE3_OUT_LEN;
}

/* Joins finished neighbours until there is one entry for each one bit of chunks_done. Called only
 * when more input follows, so that no join is the root. */
static void merge_stack(struct mlp_blake3_state *state)
{
    size_t wanted = (size_t)__builtin_popcountll(state->chunks_done);
    while (state->stack_count > wanted) {
        struct node node;
        parent_node(&node, stack_entry(state, state->stack_count - 2),
                    stack_entry(state, state->stack_count - 1), state->key, state->flags);
        node_chaining_value(&node, stack_entry(state, state->stack_count - 2));
        state->stack_count--;
    }
}

void mlp_blake3_push_subtree(struct mlp_blake3_state *state, const uint8_t cv32[32],
                             uint64_t chunks_count)
{
    merge_stack(state);
    memcpy(stack_entry(state, state->stack_count), cv32, MLP_BLAKE3_OUT_LEN);
    state->stack_count++;
    state->chunks_done += chunks_count;
}

size_t mlp_blake3_aligned_subtree(uint64_t chunks_done, size_t count)
{
    size_t largest = (size_t)1 << (63 - __builtin_clzll(count));
    uint64_t lowest_bit = chunks_done & (~chunks_done + 1);
    return lowest_bit != 0 && lowest_bit < largest ? (size_t)lowest_bit : largest;
}

/* Pushes neighbouring subtrees of chunks_each chunks, a power of two, joined as far as they can be; their
 * chaining values are destroyed. The last two subtrees of a power of two stay apart: more input may or
 * may not follow. */
static void push_values(struct mlp_blake3_state *state, const struct mlp_blake3_kernel *kernel,
                        uint8_t *cvs, size_t count, uint64_t chunks_each)
{
    for (size_t done = 0; done < count;) {
        size_t subtree = mlp_blake3_aligned_subtree(state->chunks_done / chunks_each, count - done);
        uint8_t *first = cvs + done * MLP_BLAKE3_OUT_LEN;
        mlp_blake3_reduce_to(kernel, first, subtree, 2, state->key, state->flags);
        if (subtree == 1) {
            mlp_blake3_push_subtree(state, first, chunks_each);
        } else {
            mlp_blake3_push_subtree(state, first, subtree / 2 * chunks_each);
            mlp_blake3_push_subtree(state, first + MLP_BLAKE3_OUT_LEN, subtree / 2 * chunks_each);
        }
        done += subtree;
    }
}

/* Returns: chunks at the front that the kernel takes as a run, 0 where there are too few. */
static size_t run_chunks(const struct mlp_blake3_kernel *kernel, uint64_t chunks_done, size_t count)
{
    if (kernel->compress_run == NULL || count < MLP_BLAKE3_RUN_MIN)
        return 0;
    size_t run = mlp_blake3_aligned_subtree(chunks_done, smaller(count, MLP_BLAKE3_RUN_MAX));
    return run >= MLP_BLAKE3_RUN_MIN ? run : 0;
}

/* Adds the chunk at first and those that begin at others, count of them or as many as are computed
 * together. Returns: how many, at least one. */
static size_t add_by_lanes(struct mlp_blake3_state *state, const struct mlp_blake3_kernel *kernel,
                           const uint8_t *first, const uint8_t *others, size_t count)
{
    uint8_t cvs[BATCH_CHUNKS * MLP_BLAKE3_OUT_LEN];
    size_t aligned = kernel->compress_run != NULL ? MLP_BLAKE3_RUN_MIN : BATCH_CHUNKS;
    count = smaller(count, aligned - (size_t)(state->chunks_done % aligned));
    mlp_blake3_compress_chunks(kernel, cvs, first, others, count,
                               state->first_chunk + state->chunks_done, state->key, state->flags);
    push_values(state, kernel, cvs, count, 1);
    return count;
}

size_t mlp_blake3_add_chunks(struct mlp_blake3_state *state, const uint8_t *data, size_t data_len)
{
    const struct mlp_blake3_kernel *kernel = mlp_blake3_kernel();
    uint8_t cvs[MLP_BLAKE3_RUN_CVS * MLP_BLAKE3_OUT_LEN];
    size_t count = data_len / MLP_BLAKE3_CHUNK_LEN;
    size_t run = run_chunks(kernel, state->chunks_done, count);
    if (run == 0)
        return add_by_lanes(state, kernel, data, data + MLP_BLAKE3_CHUNK_LEN, count) *
               MLP_BLAKE3_CHUNK_LEN;
    kernel->compress_run(cvs, data, run, state->first_chunk + state->chunks_done, state->key,
                         state->flags);
    push_values(state, kernel, cvs, MLP_BLAKE3_RUN_CVS, run / MLP_BLAKE3_RUN_CVS);
    return run * MLP_BLAKE3_CHUNK_LEN;
}

void mlp_blake3_add_subtrees(struct mlp_blake3_state *state, const uint8_t *cvs, size_t count,
                             uint64_t chunks_each)
{
    uint8_t batch[BATCH_CHUNKS * MLP_BLAKE3_OUT_LEN];
    while (count > 0) {
        size_t room = BATCH_CHUNKS - (size_t)(state->chunks_done / chunks_each % BATCH_CHUNKS);
        size_t taken = smaller(count, room);
        memcpy(batch, cvs, taken * MLP_BLAKE3_OUT_LEN);
        push_values(state, mlp_blake3_kernel(), batch, taken, chunks_each);
        cvs += taken * MLP_BLAKE3_OUT_LEN;
        count -= taken;
    }
}

/* The topmost node, uncompressed: the last chunk or the last two subtrees, joined leftwards. */
static void top_node(const struct mlp_blake3_state *state, struct node *node)
{
    size_t left_count = state->stack_count;
    const uint8_t *left = state->stack + left_count * MLP_BLAKE3_OUT_LEN;
    if (state->chunk_len > 0 || left_count == 0) {
        chunk_node(state, node);
    } else {
        /* At least two: update leaves a lone whole chunk in the state and not on the stack. */
        parent_node(node, left - 64, left - 32, state->key, state->flags);
        left -= 64;
        left_count -= 2;
    }
    for (; left_count > 0; left_count--) {
        uint8_t right32[32];
        node_chaining_value(node, right32);
        left -= 32;
        parent_node(node, left, right32, state->key, state->flags);
    }
}

/* ---- the face ---- */

uint32_t mlp_blake3_load_key(uint32_t key[8], const uint8_t *key32)
{
    if (key32 == NULL) {
        memcpy(key, mlp_blake3_iv, sizeof mlp_blake3_iv);
        return 0;
    }
    memcpy(key, key32, MLP_BLAKE3_KEY_LEN);
    return MLP_BLAKE3_KEYED_HASH;
}

void mlp_blake3_init(struct mlp_blake3_state *state, const uint32_t key[8], uint32_t flags,
                     uint64_t first_chunk)
{
    memcpy(state->key, key, sizeof state->key);
    state->flags = flags;
    state->first_chunk = first_chunk;
    state->chunks_done = 0;
    state->stack_count = 0;
    state->chunk_len = 0;
}

void mlp_blake3_init_derive_key(struct mlp_blake3_state *state, const void *context,
                                size_t context_len)
{
    mlp_blake3_init(state, mlp_blake3_iv, MLP_BLAKE3_DERIVE_KEY_CONTEXT, 0);
    mlp_blake3_update(state, context, context_len);
    uint8_t bytes[MLP_BLAKE3_KEY_LEN];
    uint32_t key[8];
    mlp_blake3_output(state, 0, bytes, sizeof bytes);
    memcpy(key, bytes, sizeof key);
    mlp_blake3_init(state, key, MLP_BLAKE3_DERIVE_KEY_MATERIAL, 0);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(key, sizeof key);
}

void mlp_blake3_end_chunk(struct mlp_blake3_state *state)
{
    struct node node;
    uint8_t cv32[32];
    if (state->chunk_len == 0)
        return;
    chunk_node(state, &node);
    node_chaining_value(&node, cv32);
    mlp_blake3_push_subtree(state, cv32, 1);
    state->chunk_len = 0;
}

/* Returns: bytes taken, as many as the chunk has room for. */
static size_t fill_chunk(struct mlp_blake3_state *state, const uint8_t *data, size_t data_len)
{
    size_t taken = smaller(data_len, MLP_BLAKE3_CHUNK_LEN - state->chunk_len);
    memcpy(state->chunk + state->chunk_len, data, taken);
    state->chunk_len += taken;
    return taken;
}

size_t mlp_blake3_finish_chunk(struct mlp_blake3_state *state, const uint8_t *data, size_t data_len)
{
    if (state->chunk_len == 0)
        return 0;
    size_t taken = fill_chunk(state, data, data_len);
    if (taken < data_len) /* else the chunk, even if full, may be the root */
        mlp_blake3_end_chunk(state);
    return taken;
}

/* The chunk being filled, and whole chunks after it beside it in the lanes. Returns: bytes taken; all, or the
 * chunk has ended. */
static size_t finish_among_others(struct mlp_blake3_state *state, const uint8_t *data,
                                  size_t data_len)
{
    size_t taken = fill_chunk(state, data, data_len);
    if (taken == data_len) /* the chunk, even if full, may be the root */
        return taken;
    size_t others = (data_len - taken) / MLP_BLAKE3_CHUNK_LEN;
    state->chunk_len = 0;
    others = add_by_lanes(state, mlp_blake3_kernel(), state->chunk, data + taken, 1 + others) - 1;
    return taken + others * MLP_BLAKE3_CHUNK_LEN;
}

void mlp_blake3_update(struct mlp_blake3_state *state, const void *data, size_t data_len)
{
    const uint8_t *next = data;
    if (data_len > 0 && state->chunk_len > 0) {
        size_t taken = finish_among_others(state, next, data_len);
        next += taken;
        data_len -= taken;
    }
    while (data_len > MLP_BLAKE3_CHUNK_LEN) {
        size_t taken = mlp_blake3_add_chunks(state, next, data_len);
        next += taken;
        data_len -= taken;
    }
    if (data_len > 0) {
        merge_stack(state);
        (void)fill_chunk(state, next, data_len);
    }
}

void mlp_blake3_output(const struct mlp_blake3_state *state, uint64_t offset, uint8_t *out,
                       size_t out_len)
{
    struct node node;
    top_node(state, &node);
    /* Section 2.6: the root's compression is repeated with the counter of each 64 bytes of output.
     */
    uint64_t counter = offset / MLP_BLAKE3_BLOCK_LEN;
    size_t skipped = (size_t)(offset % MLP_BLAKE3_BLOCK_LEN);
    while (out_len > 0) {
        uint32_t words[16];
        compress_node(&node, counter, MLP_BLAKE3_ROOT, words);
        size_t taken = smaller(out_len, sizeof words - skipped);
        memcpy(out, (const uint8_t *)words + skipped, taken);
        out += taken;
        out_len -= taken;
        skipped = 0;
        counter++;
    }
}

void mlp_blake3_chaining_value(const struct mlp_blake3_state *state, uint8_t cv32[32])
{
    struct node node;
    top_node(state, &node);
    node_chaining_value(&node, cv32);
}

void mlp_blake3_subtree_value(uint8_t cv32[32], const void *data, size_t data_len,
                              uint64_t first_chunk, const uint32_t key[8], uint32_t flags)
{
    struct mlp_blake3_state state;
    mlp_blake3_init(&state, key, flags, first_chunk);
    mlp_blake3_update(&state, data, data_len);
    mlp_blake3_chaining_value(&state, cv32);
    explicit_bzero(&state, sizeof state);
}

void mlp_blake3_join(uint8_t out32[32], const uint8_t left32[32], const uint8_t right32[32],
                     const uint32_t key[8], uint32_t flags)
{
    struct node node;
    parent_node(&node, left32, right32, key, flags);
    node_chaining_value(&node, out32);
    explicit_bzero(&node, sizeof node);
}

void mlp_blake3_one_chunk_root(uint8_t digest32[32], const void *data, size_t data_len)
{
    const struct mlp_blake3_kernel *kernel = mlp_blake3_kernel();
    const uint8_t *next = data;
    uint32_t words[16];
    uint32_t flags = MLP_BLAKE3_CHUNK_START;
    memcpy(words, mlp_blake3_iv, sizeof mlp_blake3_iv);
    for (; data_len > MLP_BLAKE3_BLOCK_LEN; data_len -= MLP_BLAKE3_BLOCK_LEN) {
        kernel->compress(words, words, next, 0, MLP_BLAKE3_BLOCK_LEN, flags);
        next += MLP_BLAKE3_BLOCK_LEN;
        flags = 0;
    }
    uint8_t last[MLP_BLAKE3_BLOCK_LEN] = {0};
    if (data_len > 0)
        memcpy(last, next, data_len);
    flags |= MLP_BLAKE3_CHUNK_END | MLP_BLAKE3_ROOT;
    kernel->compress(words, words, last, 0, (uint32_t)data_len, flags);
    memcpy(digest32, words, MLP_BLAKE3_OUT_LEN);
}
