#include "files/load.h"

#include <stdlib.h>

/* A thread reads and hashes so much at a time: it stays in the second-level cache between the two, and
 * a call of pread costs little beside it. */
#define PIECE_LEN ((size_t)256 << 10)

struct loading {
    const struct mlp_reader *reader;
    struct mlp_files_watch watch;
    atomic_uint_least64_t done; /* bytes read */
    atomic_int status;
    struct mlp_error error; /* of the read that set status */
};

struct part_source {
    struct mlp_hash_source source;
    struct loading *loading;
    const struct mlp_file_part *part;
};

static int read_piece(struct loading *loading, const struct mlp_file_part *part, uint64_t offset,
                      size_t len, struct mlp_error *error)
{
    int status = mlp_files_watch_check(&loading->watch);
    if (status == MLP_OK)
        status = mlp_reader_at(loading->reader, part->offset + offset,
                               (uint8_t *)part->out + offset, len, error);
    return status;
}

/* A hash source cannot fail: what went wrong is kept, and nothing is read any more. */
static const uint8_t *read_source(const void *context, uint64_t offset, size_t len, uint8_t *buffer)
{
    const struct part_source *from = context;
    struct loading *loading = from->loading;
    (void)buffer;
    if (atomic_load_explicit(&loading->status, memory_order_relaxed) == MLP_OK) {
        struct mlp_error error = {0};
        int expected = MLP_OK;
        int status = read_piece(loading, from->part, offset, len, &error);
        if (status != MLP_OK && atomic_compare_exchange_strong(&loading->status, &expected, status))
            loading->error = error; /* the first alone; read when all have ended */
        atomic_fetch_add_explicit(&loading->done, len, memory_order_relaxed);
    }
    return (const uint8_t *)from->part->out + offset;
}

static uint64_t list_inputs(struct mlp_hash_input *inputs, struct part_source *sources,
                            const struct mlp_file_part *parts, size_t parts_count,
                            struct loading *loading)
{
    uint64_t total = 0;
    for (size_t i = 0; i < parts_count; i++) {
        struct part_source *from = &sources[i];
        *from = (struct part_source){{read_source, from, PIECE_LEN}, loading, &parts[i]};
        inputs[i] = (struct mlp_hash_input){NULL, parts[i].len, NULL};
        if (parts[i].len > 0)
            inputs[i].source = &from->source;
        total += parts[i].len;
    }
    return total;
}

/* Every byte was read, and none a second time after it had been hashed. */
static int check_loading(const struct loading *loading, uint64_t total, struct mlp_error *error)
{
    int status = atomic_load(&loading->status);
    if (status != MLP_OK && error != NULL)
        *error = loading->error;
    if (status == MLP_OK && atomic_load(&loading->done) != total)
        status = mlp_fail(error, MLP_E_ARGUMENT, "%s: %llu of %llu bytes were read",
                          loading->reader->path, (unsigned long long)atomic_load(&loading->done),
                          (unsigned long long)total);
    return status;
}

int mlp_file_load(const struct mlp_hash_request *request, const struct mlp_file_part *parts,
                  size_t parts_count, const struct mlp_reader *reader, size_t threads,
                  const struct mlp_files_look *look, struct mlp_error *error)
{
    struct loading loading = {.reader = reader};
    struct mlp_hash_input *inputs = calloc(parts_count + 1, sizeof *inputs);
    struct part_source *sources = calloc(parts_count + 1, sizeof *sources);
    int status = MLP_OK;
    if (inputs == NULL || sources == NULL)
        status = mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu parts of %s", parts_count,
                          reader->path);
    if (status == MLP_OK) {
        mlp_files_watch_init(&loading.watch, look);
        mlp_reader_expect_sequence(reader);
        uint64_t total = list_inputs(inputs, sources, parts, parts_count, &loading);
        status = mlp_hash_many_by(request, 1, inputs, parts_count, threads, error);
        if (status == MLP_OK)
            status = check_loading(&loading, total, error);
    }
    free(inputs);
    free(sources);
    return status;
}

int mlp_file_parts_digest(const struct mlp_hash_request *request, const void *head, size_t head_len,
                          const struct mlp_file_part *parts, size_t parts_count, size_t threads,
                          struct mlp_error *error)
{
    struct mlp_hasher *hasher;
    int status = mlp_hasher_new(&hasher, request->algorithm, NULL, error);
    if (status != MLP_OK)
        return status;
    status = mlp_hasher_update_by(hasher, head, head_len, threads, error);
    for (size_t i = 0; i < parts_count && status == MLP_OK; i++)
        status = mlp_hasher_update_by(hasher, parts[i].out, parts[i].len, threads, error);
    if (status == MLP_OK)
        status = mlp_hasher_digest(hasher, request->digests, error);
    mlp_hasher_free(hasher);
    return status;
}
