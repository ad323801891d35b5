#include "files/digest.h"

#include "files/hashing.h"
#include "hash/blake3_reading.h"

/* ---- BLAKE3 alone: by parts ---- */

struct file_reading {
    const struct mlp_reader *reader;
    struct mlp_files_watch *watch;
};

static int read_part(void *context, void *out, size_t out_len, uint64_t offset,
                     struct mlp_error *error)
{
    const struct file_reading *file = context;
    int status = mlp_reader_at(file->reader, offset, out, out_len, error);
    if (status == MLP_OK)
        mlp_files_watch_add(file->watch, 0, out_len);
    return status;
}

static int check_watch(void *context)
{
    const struct file_reading *file = context;
    return mlp_files_watch_check(file->watch);
}

static int hash_by_parts(uint8_t digest32[32], const struct mlp_reader *reader, size_t threads,
                         struct mlp_files_watch *watch, struct mlp_error *error)
{
    struct file_reading file = {reader, watch};
    const struct mlp_blake3_reading reading = {read_part, check_watch, &file};
    mlp_reader_expect_sequence(reader);
    return mlp_blake3_of_reading(digest32, &reading, mlp_reader_len(reader), threads, error);
}

/* ---- everything else: one piece after another ---- */

struct reading {
    struct mlp_reader *reader;
    struct mlp_files_watch *watch;
};

static int read_next(void *context, size_t *got, void *out, size_t out_len, struct mlp_error *error)
{
    const struct reading *reading = context;
    const struct mlp_reader_ask ask = mlp_files_watch_ask(reading->watch);
    return mlp_reader_next(reading->reader, got, out, out_len, &ask, error);
}

static int hash_by_pieces(const struct mlp_hash_request *requests, size_t requests_count,
                          const struct mlp_file_ranges *ranges, struct mlp_reader *reader,
                          size_t threads, struct mlp_files_watch *watch, struct mlp_error *error)
{
    struct mlp_hashing hashing;
    struct mlp_taker takers[MLP_HASHING_TAKERS_MAX];
    struct reading reading = {reader, watch};
    /* A pipe may be long; a regular file that does not say how long it is is not (/proc), but for one
     * that is all holes. */
    const struct mlp_piece_source source = {
        read_next, &reading, reader->is_regular ? reader->facts.len : UINT64_MAX, reader->has_len};
    int status = mlp_hashing_init(&hashing, requests, requests_count, ranges, error);
    if (status == MLP_OK) {
        mlp_reader_expect_sequence(reader);
        size_t count = mlp_hashing_takers(&hashing, takers);
        status = mlp_takers_run(takers, count, &source, threads, watch, error);
    }
    if (status == MLP_OK)
        status = mlp_hashing_finish(&hashing, error);
    mlp_hashing_clear(&hashing);
    return status;
}

/* ---- the face ---- */

static int check_ranges_inside(const struct mlp_file_ranges *ranges, const char *path, uint64_t len,
                               struct mlp_error *error)
{
    if (ranges == NULL || ranges->count == 0 || ranges->items[ranges->count - 1].end <= len)
        return MLP_OK;
    return mlp_fail(error, MLP_E_RANGE, "the last range ends at byte %llu, %s has %llu bytes",
                    (unsigned long long)ranges->items[ranges->count - 1].end, path,
                    (unsigned long long)len);
}

static bool can_be_cut(const struct mlp_hash_request *requests, size_t requests_count,
                       const struct mlp_file_ranges *ranges, const struct mlp_reader *reader)
{
    return reader->has_len && requests_count == 1 && requests[0].algorithm == MLP_BLAKE3 &&
           (ranges == NULL || ranges->count == 0);
}

static int hash_opened(const struct mlp_hash_request *requests, size_t requests_count,
                       const struct mlp_file_ranges *ranges, struct mlp_reader *reader,
                       size_t threads, struct mlp_files_watch *watch, struct mlp_error *error)
{
    int status = check_ranges_inside(ranges, reader->path, reader->facts.len, error);
    if (status != MLP_OK)
        return status;
    if (can_be_cut(requests, requests_count, ranges, reader))
        return hash_by_parts(requests[0].digests, reader, threads, watch, error);
    status = hash_by_pieces(requests, requests_count, ranges, reader, threads, watch, error);
    return status != MLP_OK ? status : check_ranges_inside(ranges, reader->path, reader->at, error);
}

int mlp_file_digest(const struct mlp_hash_request *requests, size_t requests_count,
                    const struct mlp_file_ranges *ranges, uint64_t *len, const char *path,
                    size_t threads, const struct mlp_files_look *look, struct mlp_error *error)
{
    if (requests_count < (ranges == NULL ? 1 : 0) || requests_count > MLP_HASH_REQUESTS_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "%zu algorithms: 1 to %d are needed", requests_count,
                        MLP_HASH_REQUESTS_MAX);
    struct mlp_files_watch watch;
    mlp_files_watch_init(&watch, look);
    const struct mlp_reader_ask ask = mlp_files_watch_ask(&watch);
    struct mlp_reader reader = {.fd = -1};
    int status = mlp_reader_open(&reader, path, ranges != NULL, &ask, error);
    if (status != MLP_OK)
        return status;
    status = hash_opened(requests, requests_count, ranges, &reader, threads, &watch, error);
    if (status == MLP_OK)
        status = mlp_reader_check(&reader, error);
    if (status == MLP_OK)
        *len = reader.has_len ? reader.facts.len : reader.at;
    mlp_reader_close(&reader);
    return status;
}
