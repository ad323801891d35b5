#include "files/digest.h"

#include "files/takers.h"
#include "hash/blake3_source.h"

#define TAKERS_MAX (MLP_HASH_REQUESTS_MAX + 1)

/* ---- BLAKE3 alone: by parts ---- */

struct file_source {
    const struct mlp_reader *reader;
    struct mlp_files_watch *watch;
};

static int read_part(void *context, void *out, size_t out_len, uint64_t offset,
                     struct mlp_error *error)
{
    const struct file_source *file = context;
    int status = mlp_reader_at(file->reader, offset, out, out_len, error);
    if (status == MLP_OK)
        mlp_files_watch_add(file->watch, 0, out_len);
    return status;
}

static int check_watch(void *context)
{
    const struct file_source *file = context;
    return mlp_files_watch_check(file->watch);
}

static int hash_by_parts(uint8_t digest32[32], const struct mlp_reader *reader, size_t threads,
                         struct mlp_files_watch *watch, struct mlp_error *error)
{
    struct file_source file = {reader, watch};
    const struct mlp_blake3_source source = {read_part, check_watch, &file};
    mlp_reader_expect_sequence(reader);
    return mlp_blake3_of_source(digest32, &source, mlp_reader_len(reader), threads, error);
}

/* ---- everything else: one piece after another ---- */

/* The hashers of one reading, those of SHA-2 first: they are the slowest. */
struct hashing {
    struct mlp_hasher *hashers[MLP_HASH_REQUESTS_MAX];
    uint8_t *digests[MLP_HASH_REQUESTS_MAX]; /* where theirs go */
    size_t count;
    struct mlp_ranges_hashing ranges;
};

static int take_whole(void *context, const void *piece, size_t piece_len, size_t threads,
                      struct mlp_error *error)
{
    return mlp_hasher_update_by(context, piece, piece_len, threads, error);
}

static int take_ranges(void *context, const void *piece, size_t piece_len, size_t threads,
                       struct mlp_error *error)
{
    (void)threads;
    return mlp_ranges_take(context, piece, piece_len, error);
}

static int add_hashers(struct hashing *hashing, const struct mlp_hash_request *requests,
                       size_t requests_count, bool of_blake3, struct mlp_error *error)
{
    for (size_t i = 0; i < requests_count; i++) {
        if ((requests[i].algorithm == MLP_BLAKE3) != of_blake3)
            continue;
        int status =
            mlp_hasher_new(&hashing->hashers[hashing->count], requests[i].algorithm, NULL, error);
        if (status != MLP_OK)
            return status;
        hashing->digests[hashing->count++] = requests[i].digests;
    }
    return MLP_OK;
}

static int make_hashers(struct hashing *hashing, const struct mlp_hash_request *requests,
                        size_t requests_count, struct mlp_error *error)
{
    int status = add_hashers(hashing, requests, requests_count, false, error);
    return status != MLP_OK ? status : add_hashers(hashing, requests, requests_count, true, error);
}

/* Ranges by SHA-2 are slow too, and come last: the digest of the whole is as slow. */
static size_t list_takers(struct mlp_taker *takers, struct hashing *hashing)
{
    size_t count = 0;
    for (; count < hashing->count; count++)
        takers[count] = (struct mlp_taker){take_whole, hashing->hashers[count]};
    if (hashing->ranges.ranges != NULL && hashing->ranges.ranges->count > 0)
        takers[count++] = (struct mlp_taker){take_ranges, &hashing->ranges};
    return count;
}

static int write_digests(struct hashing *hashing, struct mlp_error *error)
{
    int status = MLP_OK;
    for (size_t i = 0; status == MLP_OK && i < hashing->count; i++)
        status = mlp_hasher_digest(hashing->hashers[i], hashing->digests[i], error);
    if (status == MLP_OK && hashing->ranges.ranges != NULL)
        status = mlp_ranges_finish(&hashing->ranges, error);
    return status;
}

static void clear_hashing(struct hashing *hashing)
{
    for (size_t i = 0; i < hashing->count; i++)
        mlp_hasher_free(hashing->hashers[i]);
    mlp_ranges_clear(&hashing->ranges);
}

static int hash_by_pieces(const struct mlp_hash_request *requests, size_t requests_count,
                          const struct mlp_file_ranges *ranges, struct mlp_reader *reader,
                          size_t threads, struct mlp_files_watch *watch, struct mlp_error *error)
{
    struct hashing hashing = {.ranges.ranges = ranges};
    struct mlp_taker takers[TAKERS_MAX];
    int status = make_hashers(&hashing, requests, requests_count, error);
    if (status == MLP_OK) {
        size_t count = list_takers(takers, &hashing);
        status = mlp_takers_run(takers, count, reader, threads, watch, error);
    }
    if (status == MLP_OK)
        status = write_digests(&hashing, error);
    clear_hashing(&hashing);
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
