/* car_read.c - the reader of car.h: every block of a CAR, and the list of them. */
#include "files/car.h"
#include "hash/hash.h"

#include <stdlib.h>
#include <string.h>

/* Blocks are read and hashed in batches. */
#define BATCH_LEN    ((size_t)8 << 20)
#define BATCH_BLOCKS 512

struct scan {
    struct mlp_car *car;
    size_t room; /* for blocks */
    uint64_t at;
    uint64_t end;
    uint8_t *bytes; /* of the batch's blocks: BATCH_LEN, or as many as the file has */
    size_t used;
    size_t first; /* block of the batch */
    struct mlp_files_watch watch;
};

/* Says where. */
static int refuse_at(const struct scan *scan, uint64_t at, int status, struct mlp_error *error)
{
    return mlp_fail_in(error, status, "%s, byte %llu", scan->car->reader.path,
                       (unsigned long long)at);
}

/* The head of a frame: up to len bytes from where the scan stands. */
static int read_some(struct scan *scan, uint8_t *out, size_t *len, struct mlp_error *error)
{
    uint64_t left = scan->end - scan->at;
    *len = left < *len ? (size_t)left : *len;
    return mlp_reader_at(&scan->car->reader, scan->at, out, *len, error);
}

/* The length of the next frame, which is not cut off; the scan stands behind it then. */
static int take_length(struct scan *scan, size_t *len, size_t max, struct mlp_error *error)
{
    uint8_t bytes[9];
    size_t bytes_len = sizeof bytes, used = 0;
    int status = read_some(scan, bytes, &bytes_len, error);
    if (status != 0)
        return status;
    status = mlp_car_read_length(&used, len, bytes, bytes_len, max, error);
    if (status == 0 && *len > scan->end - scan->at - used)
        status =
            mlp_fail(error, MLP_E_MALFORMED, "a header or block of %zu bytes is cut off", *len);
    if (status != 0)
        return refuse_at(scan, scan->at, status, error);
    scan->at += used;
    return 0;
}

static int read_header(struct scan *scan, struct mlp_error *error)
{
    uint8_t bytes[MLP_CAR_HEADER_MAX];
    size_t len = 0;
    int status = take_length(scan, &len, sizeof bytes, error);
    if (status == 0)
        status = mlp_reader_at(&scan->car->reader, scan->at, bytes, len, error);
    if (status != 0)
        return status;
    status = mlp_car_read_header(scan->car->roots, &scan->car->roots_count, bytes, len, error);
    scan->at += len;
    return status == 0 ? 0 : refuse_at(scan, 0, status, error);
}

/* ---- blocks ---- */

static int hash_batch(struct scan *scan, struct mlp_error *error)
{
    struct mlp_hash_input inputs[BATCH_BLOCKS];
    uint8_t digests[BATCH_BLOCKS][32];
    const struct mlp_car *car = scan->car;
    size_t count = car->blocks_count - scan->first, at = 0;
    if (count == 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        inputs[i] = (struct mlp_hash_input){.data = scan->bytes + at,
                                            .len = car->blocks[scan->first + i].len};
        at += inputs[i].len;
    }
    int status = mlp_hash_many(MLP_SHA256, digests[0], inputs, count, error);
    for (size_t i = 0; status == 0 && i < count; i++) {
        const struct mlp_car_block *block = &car->blocks[scan->first + i];
        char text[MLP_CID_TEXT_MAX];
        mlp_cid_encode(text, block->cid36);
        if (memcmp(digests[i], block->cid36 + 4, 32) != 0)
            status = mlp_fail(error, MLP_E_MISMATCH,
                              "%s: the block at byte %llu is not what its CID %s names; get the "
                              "CAR anew",
                              car->reader.path, (unsigned long long)block->offset, text);
    }
    mlp_files_watch_add(&scan->watch, 0, scan->used);
    scan->first = car->blocks_count;
    scan->used = 0;
    return status != 0 ? status : mlp_files_watch_check(&scan->watch);
}

static int make_room(struct scan *scan, struct mlp_error *error)
{
    struct mlp_car *car = scan->car;
    if (car->blocks_count < scan->room)
        return 0;
    if (scan->room == MLP_CAR_BLOCKS_MAX)
        return mlp_fail(error, MLP_E_MALFORMED, "%s: more than %zu blocks", car->reader.path,
                        MLP_CAR_BLOCKS_MAX);
    size_t room = scan->room > 0 ? 2 * scan->room : 1024;
    struct mlp_car_block *blocks = realloc(car->blocks, room * sizeof *blocks);
    if (blocks == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read %s: out of memory", car->reader.path);
    car->blocks = blocks;
    scan->room = room;
    return 0;
}

static int add_block(struct scan *scan, const struct mlp_car_block *block, struct mlp_error *error)
{
    struct mlp_car *car = scan->car;
    int status = make_room(scan, error);
    if (status == 0 &&
        (scan->used + block->len > BATCH_LEN || car->blocks_count - scan->first == BATCH_BLOCKS))
        status = hash_batch(scan, error);
    if (status == 0)
        status =
            mlp_reader_at(&car->reader, block->offset, scan->bytes + scan->used, block->len, error);
    if (status != 0)
        return status;
    scan->used += block->len;
    car->blocks_len += block->len;
    if (block->len > car->block_len_max)
        car->block_len_max = block->len;
    car->blocks[car->blocks_count++] = *block;
    return 0;
}

static int read_block(struct scan *scan, struct mlp_error *error)
{
    struct mlp_car_block block = {0};
    uint8_t bytes[MLP_CID_LEN];
    uint64_t start = scan->at;
    size_t len = 0, used = 0;
    int status = take_length(scan, &len, MLP_CAR_BLOCK_MAX + MLP_CID_LEN, error);
    size_t bytes_len = len < sizeof bytes ? len : sizeof bytes;
    if (status == 0)
        status = read_some(scan, bytes, &bytes_len, error);
    if (status != 0)
        return status;
    status = mlp_cid_read(block.cid36, &used, bytes, bytes_len, error);
    if (status == 0 && len - used > MLP_CAR_BLOCK_MAX)
        status = mlp_fail(error, MLP_E_MALFORMED, "a block of more than 2 MiB");
    if (status != 0)
        return refuse_at(scan, start, status, error);
    block.offset = scan->at + used;
    block.len = (uint32_t)(len - used);
    scan->at += len;
    return add_block(scan, &block, error);
}

/* ---- the list ---- */

static int compare(const void *left, const void *right)
{
    const struct mlp_car_block *one = left, *other = right;
    int order = memcmp(one->cid36, other->cid36, MLP_CID_LEN);
    return order != 0 ? order : (one->offset > other->offset) - (one->offset < other->offset);
}

static int check_roots(const struct mlp_car *car, struct mlp_error *error)
{
    for (size_t i = 0; i < car->roots_count; i++) {
        char text[MLP_CID_TEXT_MAX];
        mlp_cid_encode(text, car->roots[i]);
        if (mlp_car_find(car, car->roots[i]) == NULL)
            return mlp_fail(error, MLP_E_MALFORMED, "%s names the root %s and does not have it",
                            car->reader.path, text);
    }
    return 0;
}

const struct mlp_car_block *mlp_car_find(const struct mlp_car *car,
                                         const uint8_t cid36[MLP_CID_LEN])
{
    size_t low = 0, high = car->blocks_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(car->blocks[middle].cid36, cid36, MLP_CID_LEN) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < car->blocks_count && memcmp(car->blocks[low].cid36, cid36, MLP_CID_LEN) == 0;
    return found ? &car->blocks[low] : NULL;
}

static int read_all(struct scan *scan, struct mlp_error *error)
{
    struct mlp_car *car = scan->car;
    int status = read_header(scan, error);
    while (status == 0 && scan->at < scan->end)
        status = read_block(scan, error);
    if (status == 0)
        status = hash_batch(scan, error);
    if (status == 0)
        status = mlp_reader_check(&car->reader, error);
    if (status != 0)
        return status;
    if (car->blocks_count > 0)
        qsort(car->blocks, car->blocks_count, sizeof *car->blocks, compare);
    return check_roots(car, error);
}

static int read_opened(struct scan *scan, struct mlp_error *error)
{
    const struct mlp_reader *reader = &scan->car->reader;
    scan->end = mlp_reader_len(reader);
    scan->bytes = malloc(scan->end < BATCH_LEN ? (size_t)scan->end + 1 : BATCH_LEN);
    if (scan->bytes == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read %s: out of memory", reader->path);
    mlp_reader_expect_sequence(reader);
    int status = read_all(scan, error);
    free(scan->bytes);
    return status;
}

int mlp_car_open(struct mlp_car *car, const char *path, const struct mlp_files_look *look,
                 struct mlp_error *error)
{
    struct scan scan = {.car = car};
    *car = (struct mlp_car){.reader = {.fd = -1}};
    mlp_files_watch_init(&scan.watch, look);
    const struct mlp_reader_ask ask = mlp_files_watch_ask(&scan.watch);
    int status = mlp_reader_open(&car->reader, path, true, &ask, error);
    if (status == 0)
        status = read_opened(&scan, error);
    if (status != 0)
        mlp_car_close(car);
    return status;
}

void mlp_car_close(struct mlp_car *car)
{
    mlp_reader_close(&car->reader);
    free(car->blocks);
    car->blocks = NULL;
    car->blocks_count = 0;
}
