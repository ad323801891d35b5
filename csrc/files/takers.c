#include "files/takers.h"

#include "base/first_failure.h"
#include "hash/pool.h"
#include "hash/read_buffers.h"
#include "hash/task_size.h"

/* For one taker, what is read fastest [measured, a pipe: 64 KiB 0.72 of that, 256 KiB 0.80, 4 MiB 0.80]. For
 * several in turn, what stays in the second-level cache until the last has taken it [64 KiB 0.97, 1 MiB
 * and 4 MiB alike]. For several at once, long enough that waking their threads does not show [256 KiB
 * 0.75, 1 MiB 0.95, 16 MiB 0.92; of a file of three pieces 8 MiB 0.81, 1 MiB 1.15]. Figures:
 * docs/hashing.md, "Bounds". */
#define PIECE_FOR_ONE ((size_t)1 << 20)
#define PIECE_IN_TURN ((size_t)256 << 10)
#define PIECE_AT_ONCE ((size_t)4 << 20)

struct reading {
    const struct mlp_taker *takers;
    size_t takers_count;
    const struct mlp_piece_source *source;
    uint64_t done; /* bytes read */
    struct mlp_files_watch *watch;
    size_t threads;
    size_t room;   /* of a piece */
    uint8_t *next; /* where the next piece is read to */
    size_t next_len;

    /* Of takers at once. */
    const uint8_t *piece;
    size_t piece_len;
    struct mlp_first_failure failure;
};

static int read_next(struct reading *reading, struct mlp_error *error)
{
    const struct mlp_piece_source *source = reading->source;
    int status =
        source->next(source->context, &reading->next_len, reading->next, reading->room, error);
    reading->done += status == MLP_OK ? reading->next_len : 0;
    return status;
}

static int give(const struct mlp_taker *taker, const uint8_t *piece, size_t piece_len,
                size_t threads, struct mlp_error *error)
{
    return taker->take(taker->context, piece, piece_len, threads, error);
}

static int count_piece(struct reading *reading, size_t piece_len)
{
    mlp_files_watch_add(reading->watch, 0, piece_len);
    return mlp_files_watch_check(reading->watch);
}

/* ---- in turn ---- */

static int take_in_turn(struct reading *reading, struct mlp_error *error)
{
    size_t threads = reading->takers_count == 1 ? reading->threads : 1;
    for (;;) {
        int status = read_next(reading, error);
        if (status != MLP_OK || reading->next_len == 0)
            return status;
        for (size_t i = 0; status == MLP_OK && i < reading->takers_count; i++)
            status = give(&reading->takers[i], reading->next, reading->next_len, threads, error);
        if (status == MLP_OK)
            status = count_piece(reading, reading->next_len);
        if (status != MLP_OK)
            return status;
    }
}

/* ---- at once ---- */

static void run_task(void *context, size_t index)
{
    struct reading *reading = context;
    struct mlp_error error = {0};
    int status = index < reading->takers_count
                     ? give(&reading->takers[index], reading->piece, reading->piece_len, 1, &error)
                     : read_next(reading, &error);
    mlp_first_failure_note(&reading->failure, status, &error);
}

/* Returns: 0, the piece having been taken and the next been read. */
static int take_one(struct reading *reading, struct mlp_error *error)
{
    const struct mlp_piece_source *source = reading->source;
    bool reads_ahead = source->any_thread && reading->done < source->len;
    mlp_pool_run(run_task, reading, reading->takers_count + (reads_ahead ? 1 : 0),
                 reading->threads);
    int status = mlp_first_failure_take(&reading->failure, error);
    return status != MLP_OK || reads_ahead ? status : read_next(reading, error);
}

static int take_at_once(struct reading *reading, uint8_t *memory, struct mlp_error *error)
{
    int status = read_next(reading, error);
    for (size_t turn = 1; status == MLP_OK && reading->next_len > 0; turn = 1 - turn) {
        reading->piece = reading->next;
        reading->piece_len = reading->next_len;
        reading->next = memory + turn * reading->room;
        status = take_one(reading, error);
        if (status == MLP_OK)
            status = count_piece(reading, reading->piece_len);
    }
    return status;
}

/* ---- the face ---- */

/* A source that says how long it is needs no more room than that. */
static size_t room_for(size_t piece_len, uint64_t source_len)
{
    if (source_len == 0 || source_len >= piece_len)
        return piece_len;
    return ((size_t)source_len + MLP_READ_BUFFER_ALIGN - 1) / MLP_READ_BUFFER_ALIGN *
           MLP_READ_BUFFER_ALIGN;
}

static bool is_worth_threads(uint64_t source_len, size_t threads)
{
    return mlp_task_threads(source_len < SIZE_MAX ? (size_t)source_len : SIZE_MAX, threads) > 1;
}

int mlp_takers_run(const struct mlp_taker *takers, size_t takers_count,
                   const struct mlp_piece_source *source, size_t threads,
                   struct mlp_files_watch *watch, struct mlp_error *error)
{
    bool at_once =
        (takers_count > 1 || source->any_thread) && is_worth_threads(source->len, threads);
    size_t piece_len = takers_count == 1 ? PIECE_FOR_ONE : PIECE_IN_TURN;
    size_t room = room_for(at_once ? PIECE_AT_ONCE : piece_len, source->len);
    struct mlp_read_buffers buffers;
    int status = mlp_read_buffers_new(&buffers, room, at_once ? 2 : 1, error);
    if (status != MLP_OK)
        return status;
    struct reading reading = {.takers = takers,
                              .takers_count = takers_count,
                              .source = source,
                              .watch = watch,
                              .threads = threads,
                              .room = buffers.buffer_len,
                              .next = buffers.memory};
    mlp_first_failure_init(&reading.failure);
    if (buffers.count == 2)
        status = take_at_once(&reading, buffers.memory, error);
    else
        status = take_in_turn(&reading, error);
    mlp_read_buffers_free(&buffers);
    return status;
}
