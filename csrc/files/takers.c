#include "files/takers.h"

#include "hash/pieces.h"
#include "hash/pool.h"
#include "hash/task_size.h"

/* For one taker, what is read fastest. For several in turn, what stays in the second-level cache until
 * the last has taken it. For several at once, long enough that waking their threads does not show. */
#define PIECE_FOR_ONE ((size_t)1 << 20)
#define PIECE_IN_TURN ((size_t)256 << 10)
#define PIECE_AT_ONCE ((size_t)4 << 20)

struct reading {
    const struct mlp_taker *takers;
    size_t takers_count;
    struct mlp_reader *reader;
    struct mlp_files_watch *watch;
    size_t threads;
    size_t room;   /* of a piece */
    uint8_t *next; /* where the next piece is read to */
    size_t next_len;

    /* Of takers at once. */
    const uint8_t *piece;
    size_t piece_len;
    atomic_int status;
    struct mlp_error error; /* of the task that set status */
};

static int read_next(struct reading *reading, struct mlp_error *error)
{
    const struct mlp_reader_ask ask = mlp_files_watch_ask(reading->watch);
    return mlp_reader_next(reading->reader, &reading->next_len, reading->next, reading->room, &ask,
                           error);
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
    int expected = MLP_OK;
    int status = index < reading->takers_count
                     ? give(&reading->takers[index], reading->piece, reading->piece_len, 1, &error)
                     : read_next(reading, &error);
    if (status != MLP_OK && atomic_compare_exchange_strong(&reading->status, &expected, status))
        reading->error = error; /* the first alone; read when all have ended */
}

/* Returns: 0, the piece having been taken and the next been read. */
static int take_one(struct reading *reading, struct mlp_error *error)
{
    const struct mlp_reader *reader = reading->reader;
    bool reads_ahead = reader->at < mlp_reader_len(reader);
    mlp_pool_run(run_task, reading, reading->takers_count + (reads_ahead ? 1 : 0),
                 reading->threads);
    int status = atomic_load(&reading->status);
    if (status != MLP_OK && error != NULL)
        *error = reading->error;
    return status != MLP_OK || reads_ahead ? status : read_next(reading, error);
}

static int take_at_once(struct reading *reading, uint8_t *pieces, struct mlp_error *error)
{
    int status = read_next(reading, error);
    for (size_t turn = 1; status == MLP_OK && reading->next_len > 0; turn = 1 - turn) {
        reading->piece = reading->next;
        reading->piece_len = reading->next_len;
        reading->next = pieces + turn * reading->room;
        status = take_one(reading, error);
        if (status == MLP_OK)
            status = count_piece(reading, reading->piece_len);
    }
    return status;
}

/* ---- the face ---- */

/* A file that says how long it is needs no more room than that. */
static size_t room_for(size_t piece_len, uint64_t file_len)
{
    if (file_len == 0 || file_len >= piece_len)
        return piece_len;
    return ((size_t)file_len + MLP_PIECE_ALIGN - 1) / MLP_PIECE_ALIGN * MLP_PIECE_ALIGN;
}

/* A pipe may be long; a regular file that does not say how long it is is not (/proc), but for one
 * that is all holes. */
static bool is_worth_threads(const struct mlp_reader *reader, size_t threads)
{
    uint64_t len = reader->is_regular ? reader->facts.len : SIZE_MAX;
    return mlp_task_threads(len < SIZE_MAX ? (size_t)len : SIZE_MAX, threads) > 1;
}

int mlp_takers_run(const struct mlp_taker *takers, size_t takers_count, struct mlp_reader *reader,
                   size_t threads, struct mlp_files_watch *watch, struct mlp_error *error)
{
    bool at_once = (takers_count > 1 || reader->is_regular) && is_worth_threads(reader, threads);
    size_t piece_len = takers_count == 1 ? PIECE_FOR_ONE : PIECE_IN_TURN;
    size_t room = room_for(at_once ? PIECE_AT_ONCE : piece_len, mlp_reader_len(reader));
    struct mlp_pieces pieces;
    int status = mlp_pieces_new(&pieces, room, at_once ? 2 : 1, error);
    if (status != MLP_OK)
        return status;
    mlp_reader_expect_sequence(reader);
    struct reading reading = {.takers = takers,
                              .takers_count = takers_count,
                              .reader = reader,
                              .watch = watch,
                              .threads = threads,
                              .room = pieces.piece_len,
                              .next = pieces.memory};
    atomic_init(&reading.status, MLP_OK);
    if (pieces.count == 2)
        status = take_at_once(&reading, pieces.memory, error);
    else
        status = take_in_turn(&reading, error);
    mlp_pieces_free(&pieces);
    return status;
}
