/* blake3_many.c - lanes filled from many inputs.
 *
 * A lone input of 256 bytes or 4 KiB leaves most lanes of a vector kernel idle. Here chunks wait in
 * a bucket for others with the same number of blocks, whichever input they belong to; a full bucket
 * is compressed. Inputs of several chunks gather in a group, whose parents are then computed level
 * by level, all inputs together. Inputs that fill the lanes by themselves go straight to the tree.
 */
#include "hash/blake3_many.h"
#include "hash/blake3_kernel.h"

/* At the end of a group every bucket is compressed however few lanes it fills. With 1,024 chunks that
 * costs inputs of unequal lengths a fourteenth against equal ones, with 128 a quarter [measured: AVX2,
 * log-uniform 32 B to 64 KiB]. */
#define GROUP_CHUNKS  1024
#define MEMBERS_MAX   (GROUP_CHUNKS / 2) /* a member has at least two chunks */
#define LONGEST_INPUT (64 * MLP_BLAKE3_CHUNK_LEN)

struct bucket {
    struct mlp_blake3_work work;
    uint8_t last[MLP_BLAKE3_LANES_MAX]
                [MLP_BLAKE3_BLOCK_LEN]; /* padded copies of short last blocks */
};

struct member {
    uint8_t *cvs; /* inside the group's */
    size_t cvs_count;
    uint8_t *digest32;
};

struct queue {
    const struct mlp_blake3_kernel *kernel;
    struct bucket buckets[MLP_BLAKE3_CHUNK_BLOCKS]; /* [i]: chunks of i + 1 blocks */
    size_t group_chunks;
    size_t members_count;
    struct member members[MEMBERS_MAX];
    uint8_t cvs[GROUP_CHUNKS * MLP_BLAKE3_OUT_LEN];
};

static void init_queue(struct queue *queue)
{
    queue->kernel = mlp_blake3_kernel();
    queue->group_chunks = 0;
    queue->members_count = 0;
    for (size_t i = 0; i < MLP_BLAKE3_CHUNK_BLOCKS; i++) {
        struct mlp_blake3_work *work = &queue->buckets[i].work;
        work->count = 0;
        work->blocks_count = i + 1;
        work->key = mlp_blake3_iv;
        work->flags = 0;
        work->flags_start = MLP_BLAKE3_CHUNK_START;
    }
}

static void compress_bucket(const struct queue *queue, struct mlp_blake3_work *work)
{
    if (work->count > 0)
        queue->kernel->compress_lanes(work);
    work->count = 0;
}

/* len: 0 to a chunk. cv32 is written when the bucket fills, or by finish_group. */
static void add_chunk(struct queue *queue, const uint8_t *data, size_t len, size_t counter,
                      uint32_t root_flag, uint8_t *cv32)
{
    size_t before_last = len > 0 ? (len - 1) / MLP_BLAKE3_BLOCK_LEN : 0;
    struct bucket *bucket = &queue->buckets[before_last];
    struct mlp_blake3_work *work = &bucket->work;
    size_t lane = work->count++;
    size_t last_len = len - before_last * MLP_BLAKE3_BLOCK_LEN;
    work->blocks[lane] = data;
    if (last_len == MLP_BLAKE3_BLOCK_LEN) {
        work->last_block[lane] = data + before_last * MLP_BLAKE3_BLOCK_LEN;
    } else {
        memset(bucket->last[lane], 0, MLP_BLAKE3_BLOCK_LEN);
        if (last_len > 0)
            memcpy(bucket->last[lane], data + before_last * MLP_BLAKE3_BLOCK_LEN, last_len);
        work->last_block[lane] = bucket->last[lane];
    }
    work->cvs[lane] = cv32;
    work->counter_low[lane] = (uint32_t)counter;
    work->counter_high[lane] = 0; /* no input here has 2^32 chunks */
    work->last_len[lane] = (uint32_t)last_len;
    work->flags_end[lane] = MLP_BLAKE3_CHUNK_END | root_flag;
    if (work->count == MLP_BLAKE3_LANES_MAX)
        compress_bucket(queue, work);
}

/* ---- parents ---- */

static void add_parent(const struct queue *queue, struct mlp_blake3_work *work,
                       const uint8_t *children64, uint32_t root_flag, uint8_t *cv32)
{
    size_t lane = work->count++;
    work->blocks[lane] = children64;
    work->last_block[lane] = children64;
    work->cvs[lane] = cv32;
    work->flags_end[lane] = root_flag;
    if (work->count == MLP_BLAKE3_LANES_MAX)
        compress_bucket(queue, work);
}

/* Parents of every member's neighbouring pairs; a member's last pair is its root. An odd chaining
 * value moves up (section 2.1: the left subtree is the largest complete one), but only when no
 * waiting lane reads where it goes. Returns: whether any member has another level. */
static bool reduce_level(struct queue *queue, struct mlp_blake3_work *work)
{
    for (size_t i = 0; i < queue->members_count; i++) {
        const struct member *member = &queue->members[i];
        if (member->cvs_count == 2) {
            add_parent(queue, work, member->cvs, MLP_BLAKE3_ROOT, member->digest32);
            continue;
        }
        for (size_t pair = 0; pair < member->cvs_count / 2; pair++)
            add_parent(queue, work, member->cvs + pair * MLP_BLAKE3_BLOCK_LEN, 0,
                       member->cvs + pair * MLP_BLAKE3_OUT_LEN);
    }
    compress_bucket(queue, work);
    bool more = false;
    for (size_t i = 0; i < queue->members_count; i++) {
        struct member *member = &queue->members[i];
        size_t pairs_count = member->cvs_count / 2;
        if (member->cvs_count > 2 && member->cvs_count % 2 == 1) {
            memmove(member->cvs + pairs_count * MLP_BLAKE3_OUT_LEN,
                    member->cvs + 2 * pairs_count * MLP_BLAKE3_OUT_LEN, MLP_BLAKE3_OUT_LEN);
            pairs_count++;
        }
        member->cvs_count = pairs_count;
        more = more || pairs_count > 1;
    }
    return more;
}

/* Compresses what waits in the buckets, then the parents up to each member's root. */
static void finish_group(struct queue *queue)
{
    for (size_t i = 0; i < MLP_BLAKE3_CHUNK_BLOCKS; i++)
        compress_bucket(queue, &queue->buckets[i].work);
    if (queue->members_count > 0) {
        struct mlp_blake3_work work = {
            .blocks_count = 1,
            .key = mlp_blake3_iv,
            .flags = MLP_BLAKE3_PARENT,
        };
        for (size_t i = 0; i < MLP_BLAKE3_LANES_MAX; i++)
            work.last_len[i] = MLP_BLAKE3_BLOCK_LEN;
        while (reduce_level(queue, &work))
            ;
    }
    queue->members_count = 0;
    queue->group_chunks = 0;
}

/* ---- inputs ---- */

static void add_member(struct queue *queue, const uint8_t *data, size_t len, uint8_t digest32[32])
{
    size_t chunks_count = (len - 1) / MLP_BLAKE3_CHUNK_LEN + 1;
    if (queue->group_chunks + chunks_count > GROUP_CHUNKS)
        finish_group(queue);
    struct member *member = &queue->members[queue->members_count++];
    member->cvs = queue->cvs + queue->group_chunks * MLP_BLAKE3_OUT_LEN;
    member->cvs_count = chunks_count;
    member->digest32 = digest32;
    queue->group_chunks += chunks_count;
    for (size_t i = 0; i < chunks_count; i++) {
        size_t left = len - i * MLP_BLAKE3_CHUNK_LEN;
        add_chunk(queue, data + i * MLP_BLAKE3_CHUNK_LEN,
                  left < MLP_BLAKE3_CHUNK_LEN ? left : MLP_BLAKE3_CHUNK_LEN, i, 0,
                  member->cvs + i * MLP_BLAKE3_OUT_LEN);
    }
}

void mlp_blake3_many(uint8_t *digests, const struct mlp_hash_input *inputs, size_t inputs_count)
{
    struct queue queue;
    init_queue(&queue);
    for (size_t i = 0; i < inputs_count; i++) {
        uint8_t *digest32 = digests + i * MLP_BLAKE3_OUT_LEN;
        if (inputs[i].len <= MLP_BLAKE3_CHUNK_LEN)
            add_chunk(&queue, inputs[i].data, inputs[i].len, 0, MLP_BLAKE3_ROOT, digest32);
        else if (inputs[i].len <= LONGEST_INPUT)
            add_member(&queue, inputs[i].data, inputs[i].len, digest32);
        else
            mlp_blake3(digest32, inputs[i].data, inputs[i].len);
    }
    finish_group(&queue);
}
