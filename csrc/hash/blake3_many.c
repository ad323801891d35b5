/* blake3_many.c - lanes filled from many inputs.
 *
 * A lone input of 256 bytes or 4 KiB leaves most lanes of a vector kernel idle. Here chunks wait in a
 * bucket for others with the same number of blocks, whichever input they belong to; a full bucket is
 * compressed. What is left in the buckets at the end of a batch goes through lanes that are refilled:
 * all advance together until the shortest ends, and an empty lane takes the longest chunk that waits.
 * Parents share lanes too (blake3_members.h). Inputs that fill the lanes by themselves go straight to the
 * tree.
 */
#include "hash/blake3_many.h"
#include "hash/blake3_input.h"
#include "hash/blake3_members.h"
#include "hash/input_bytes.h"

#include <stdlib.h>

#define LANES MLP_BLAKE3_LANES_MAX

/* Figures: docs/hashing.md, "Bounds". A longer input fills the lanes by itself: half as much costs 0.87 of
 * the rate at 60,000 bytes, twice as much 0.97 at 100,000 [measured]. */
#define LONGEST_INPUT (64 * MLP_BLAKE3_CHUNK_LEN)

/* What is gathered stays in the second-level cache until it is hashed. A quarter costs 0.94 of the rate,
 * more gains 1 % [measured]. */
#define GATHERED_MAX (4 * LONGEST_INPUT)

/* How many chunks on lies what is fetched from memory while a chunk is compressed: two rounds of sixteen
 * lanes. Half a round comes too late: 0.68 of the rate; four rounds are no better [measured]. */
#define AHEAD_CHUNKS 32

struct bucket {
    struct mlp_blake3_work work;
    uint8_t last[LANES][MLP_BLAKE3_BLOCK_LEN]; /* padded copies of short last blocks */
};

struct queue {
    const struct mlp_blake3_kernel *kernel;
    struct bucket buckets[MLP_BLAKE3_CHUNK_BLOCKS]; /* [i]: chunks of i + 1 blocks */

    /* The next chunk to be fetched, of an input below fetch_end; offset: of the chunk. */
    const struct mlp_hash_input *fetch, *fetch_end;
    size_t fetch_offset;

    /* What this batch has gathered from sources; NULL: none yet. */
    uint8_t *gathered;
    size_t gathered_len;

    struct mlp_blake3_members members; /* those of this batch that have several chunks */
};

static void init_queue(struct queue *queue)
{
    queue->kernel = mlp_blake3_kernel();
    for (size_t i = 0; i < MLP_BLAKE3_CHUNK_BLOCKS; i++) {
        struct mlp_blake3_work *work = &queue->buckets[i].work;
        work->count = 0;
        work->blocks_count = i + 1;
        work->key = mlp_blake3_iv;
        work->flags = 0;
        work->flags_start = MLP_BLAKE3_CHUNK_START;
        work->resumed = 0;
        memset(work->counter_high, 0, sizeof work->counter_high); /* below 2^32 chunks */
    }
    queue->gathered = NULL;
    queue->gathered_len = 0;
    mlp_blake3_members_init(&queue->members, queue->kernel);
}

/* ---- what is fetched ---- */

static bool goes_to_the_tree(const struct mlp_hash_input *input)
{
    return input->len > LONGEST_INPUT;
}

static void skip_unfetched(struct queue *queue)
{
    while (queue->fetch < queue->fetch_end && goes_to_the_tree(queue->fetch))
        queue->fetch++;
}

/* Returns: where the next chunk lies; where that is not known, what the cache has. */
static uintptr_t next_to_fetch(struct queue *queue)
{
    const struct mlp_hash_input *input = queue->fetch;
    if (input == queue->fetch_end)
        return (uintptr_t)queue;
    uintptr_t address = (uintptr_t)input->data + queue->fetch_offset;
    queue->fetch_offset += MLP_BLAKE3_CHUNK_LEN;
    if (queue->fetch_offset >= input->len) {
        queue->fetch_offset = 0;
        queue->fetch++;
        skip_unfetched(queue);
    }
    return input->source == NULL ? address : (uintptr_t)queue;
}

static void start_fetching(struct queue *queue, const struct mlp_hash_input *inputs,
                           size_t inputs_count)
{
    queue->fetch = inputs;
    queue->fetch_end = inputs + inputs_count;
    queue->fetch_offset = 0;
    skip_unfetched(queue);
    for (size_t i = 0; i < AHEAD_CHUNKS; i++)
        (void)next_to_fetch(queue);
}

/* ---- chunks ---- */

/* len: 0 to a chunk. data: where it lies until the batch ends. cv32 is written when the bucket is full, or
 * by finish_batch. Always inlined: a call is a twentieth of what an input of one block costs. */
__attribute__((always_inline)) static inline void add_chunk(struct queue *queue,
                                                            const uint8_t *data, size_t len,
                                                            size_t counter, uint32_t root_flag,
                                                            uint8_t *cv32)
{
    size_t before_last = len > 0 ? (len - 1) / MLP_BLAKE3_BLOCK_LEN : 0;
    struct bucket *bucket = &queue->buckets[before_last];
    struct mlp_blake3_work *work = &bucket->work;
    size_t lane = work->count++;
    size_t last_len = len - before_last * MLP_BLAKE3_BLOCK_LEN;
    work->blocks[lane] = len > 0 ? data : bucket->last[lane]; /* of which nothing is read */
    if (last_len == MLP_BLAKE3_BLOCK_LEN) {
        work->last_block[lane] = data + before_last * MLP_BLAKE3_BLOCK_LEN;
    } else {
        memset(bucket->last[lane], 0, MLP_BLAKE3_BLOCK_LEN);
        if (last_len > 0)
            memcpy(bucket->last[lane], data + before_last * MLP_BLAKE3_BLOCK_LEN, last_len);
        work->last_block[lane] = bucket->last[lane];
    }
    work->cvs[lane] = cv32;
    work->ahead[lane] = next_to_fetch(queue);
    work->counter_low[lane] = (uint32_t)counter;
    work->last_len[lane] = (uint32_t)last_len;
    work->flags_end[lane] = MLP_BLAKE3_CHUNK_END | root_flag;
    if (work->count == queue->kernel->lanes) {
        queue->kernel->compress_lanes(work);
        work->count = 0;
    }
}

/* ---- lanes that are refilled ---- */

/* A chunk that was left in a bucket. */
struct lane {
    const struct mlp_blake3_work *from;
    size_t index; /* in from */
    size_t done;  /* blocks */
};

struct lanes {
    struct lane lanes[LANES];
    size_t count;
    size_t longest; /* no chunk that waits has more blocks */
};

static size_t blocks_left(const struct lane *lane)
{
    return lane->from->blocks_count - lane->done;
}

/* The longest first, so that all lanes end at about the same time. */
static void fill_lanes(struct queue *queue, struct lanes *lanes)
{
    while (lanes->longest > 0 && lanes->count < queue->kernel->lanes) {
        struct mlp_blake3_work *from = &queue->buckets[lanes->longest - 1].work;
        if (from->count > 0)
            lanes->lanes[lanes->count++] = (struct lane){from, --from->count, 0};
        else
            lanes->longest--;
    }
}

/* As many blocks of a lane as step says. */
static void set_lane(struct mlp_blake3_work *work, size_t i, const struct lane *lane, size_t step)
{
    const struct mlp_blake3_work *from = lane->from;
    const uint8_t *blocks = from->blocks[lane->index] + lane->done * MLP_BLAKE3_BLOCK_LEN;
    bool ends = blocks_left(lane) == step;
    work->blocks[i] = blocks;
    work->last_block[i] =
        ends ? from->last_block[lane->index] : blocks + (step - 1) * MLP_BLAKE3_BLOCK_LEN;
    work->cvs[i] = from->cvs[lane->index];
    work->ahead[i] = from->ahead[lane->index] + lane->done * MLP_BLAKE3_BLOCK_LEN;
    work->counter_low[i] = from->counter_low[lane->index];
    work->counter_high[i] = 0;
    work->last_len[i] = ends ? from->last_len[lane->index] : MLP_BLAKE3_BLOCK_LEN;
    work->flags_end[i] = ends ? from->flags_end[lane->index] : 0;
    work->resumed |= (uint32_t)(lane->done > 0) << i;
}

/* Compresses as many blocks of every lane as the shortest still has. Returns: how many. */
static size_t advance_lanes(const struct queue *queue, const struct lanes *lanes)
{
    struct mlp_blake3_work work;
    size_t step = MLP_BLAKE3_CHUNK_BLOCKS;
    for (size_t i = 0; i < lanes->count; i++)
        step = blocks_left(&lanes->lanes[i]) < step ? blocks_left(&lanes->lanes[i]) : step;
    work.count = lanes->count;
    work.blocks_count = step;
    work.key = mlp_blake3_iv;
    work.flags = 0;
    work.flags_start = MLP_BLAKE3_CHUNK_START;
    work.resumed = 0;
    for (size_t i = 0; i < lanes->count; i++)
        set_lane(&work, i, &lanes->lanes[i], step);
    queue->kernel->compress_lanes(&work);
    return step;
}

/* The last lane takes the place of one that has ended. */
static void drop_ended(struct lanes *lanes, size_t step)
{
    for (size_t i = lanes->count; i-- > 0;) {
        struct lane *lane = &lanes->lanes[i];
        lane->done += step;
        if (blocks_left(lane) == 0)
            *lane = lanes->lanes[--lanes->count];
    }
}

static void empty_buckets(struct queue *queue)
{
    struct lanes lanes;
    lanes.count = 0;
    lanes.longest = MLP_BLAKE3_CHUNK_BLOCKS;
    for (fill_lanes(queue, &lanes); lanes.count > 0; fill_lanes(queue, &lanes))
        drop_ended(&lanes, advance_lanes(queue, &lanes));
}

/* ---- batches ---- */

/* Compresses what waits in the buckets, then the parents up to each member's root. */
static void finish_batch(struct queue *queue)
{
    empty_buckets(queue);
    mlp_blake3_finish_members(&queue->members);
    queue->gathered_len = 0;
}

/* ---- inputs ---- */

static void make_room(struct queue *queue, size_t chunks_count, size_t gathered_len)
{
    if (!mlp_blake3_members_have_room(&queue->members, chunks_count) ||
        queue->gathered_len + gathered_len > GATHERED_MAX)
        finish_batch(queue);
}

static void add_member(struct queue *queue, const uint8_t *data, size_t len, uint8_t digest32[32])
{
    size_t chunks_count = (len - 1) / MLP_BLAKE3_CHUNK_LEN + 1;
    make_room(queue, chunks_count, 0);
    uint8_t *cvs = mlp_blake3_add_member(&queue->members, chunks_count, digest32);
    for (size_t i = 0; i < chunks_count; i++) {
        size_t left = len - i * MLP_BLAKE3_CHUNK_LEN;
        add_chunk(queue, data + i * MLP_BLAKE3_CHUNK_LEN,
                  left < MLP_BLAKE3_CHUNK_LEN ? left : MLP_BLAKE3_CHUNK_LEN, i, 0,
                  cvs + i * MLP_BLAKE3_OUT_LEN);
    }
}

static void add_bytes(struct queue *queue, const uint8_t *data, size_t len, uint8_t digest32[32])
{
    if (len <= MLP_BLAKE3_CHUNK_LEN)
        add_chunk(queue, data, len, 0, MLP_BLAKE3_ROOT, digest32);
    else
        add_member(queue, data, len, digest32);
}

/* Returns: false where there is no memory. */
static bool add_source(struct queue *queue, const struct mlp_hash_input *input,
                       uint8_t digest32[32])
{
    if (queue->gathered == NULL)
        queue->gathered = malloc(GATHERED_MAX);
    if (queue->gathered == NULL)
        return false;
    make_room(queue, input->len / MLP_BLAKE3_CHUNK_LEN + 1, input->len);
    uint8_t *buffer = queue->gathered + queue->gathered_len;
    queue->gathered_len += input->len;
    const uint8_t *data = buffer;
    if (input->len > 0)
        data = input->source->read(input->source->context, 0, input->len, buffer);
    add_bytes(queue, data, input->len, digest32);
    return true;
}

void mlp_blake3_many(uint8_t *digests, const struct mlp_hash_input *inputs, size_t inputs_count)
{
    struct queue queue;
    init_queue(&queue);
    start_fetching(&queue, inputs, inputs_count);
    for (size_t i = 0; i < inputs_count; i++) {
        const struct mlp_hash_input *input = &inputs[i];
        uint8_t *digest32 = digests + i * MLP_BLAKE3_OUT_LEN;
        bool waits = !goes_to_the_tree(input);
        if (waits && input->source != NULL)
            waits = add_source(&queue, input, digest32);
        else if (waits)
            add_bytes(&queue, input->data, input->len, digest32);
        if (!waits)
            mlp_blake3_input(digest32, input);
    }
    finish_batch(&queue);
    free(queue.gathered);
}
