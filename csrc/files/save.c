#include "files/save.h"

#include "base/file.h"
#include "files/hashing.h"
#include "tensor/canonical.h"

#include <stdlib.h>

#define GRAIN 64 /* mlp_canonical_read: lengths are multiples of this, but for the last one */

/* ---- the bytes of the file, from first to last ---- */

struct image_reading {
    const struct mlp_file_image *image;
    size_t head_at;
    size_t index;  /* in the order, of the tensor that is read */
    uint64_t at;   /* bytes of it that have been read */
    bool has_view; /* view and reader are those of that tensor */
    struct mlp_view view;
    struct mlp_canonical_reader reader; /* where the view has no stage */
};

static size_t read_head(struct image_reading *reading, uint8_t *out, size_t out_len)
{
    size_t left = reading->image->head_len - reading->head_at;
    size_t len = left < out_len ? left : out_len;
    if (len > 0)
        memcpy(out, (const uint8_t *)reading->image->head + reading->head_at, len);
    reading->head_at += len;
    return len;
}

static void take_view(struct image_reading *reading)
{
    const struct mlp_file_image *image = reading->image;
    mlp_view_set_get(&reading->view, image->views, image->order[reading->index]);
    if (reading->view.stage == NULL)
        mlp_canonical_reader_init(&reading->reader, &reading->view);
    reading->at = 0;
    reading->has_view = true;
}

/* Returns: how many bytes of a tensor that has left more are read at once into out_len bytes. */
static size_t fitting(const struct image_reading *reading, uint64_t left, size_t out_len)
{
    size_t grain = reading->view.stage != NULL ? reading->view.item_len : GRAIN;
    return left <= out_len ? (size_t)left : out_len - out_len % grain;
}

static int read_tensor(struct image_reading *reading, uint8_t *out, size_t len,
                       struct mlp_error *error)
{
    const struct mlp_view *view = &reading->view;
    if (view->stage != NULL)
        return mlp_canonical_stage_part(view, reading->at / view->item_len, len / view->item_len,
                                        out, error);
    const uint8_t *bytes = mlp_canonical_read(&reading->reader, reading->at, len, out);
    if (bytes != out)
        memcpy(out, bytes, len);
    return 0;
}

/* Reads what fits of the tensors from the one at index on. Returns: status, and *got. */
static int read_tensors(struct image_reading *reading, size_t *got, uint8_t *out, size_t out_len,
                        struct mlp_error *error)
{
    const struct mlp_file_image *image = reading->image;
    *got = 0;
    while (reading->index < image->views->count) {
        if (!reading->has_view)
            take_view(reading);
        uint64_t left = image->views->lens[image->order[reading->index]] - reading->at;
        size_t len = fitting(reading, left, out_len - *got);
        if (len == 0 && left > 0)
            break;
        int status = len > 0 ? read_tensor(reading, out + *got, len, error) : 0;
        if (status != 0)
            return status;
        *got += len;
        reading->at += len;
        reading->has_view = len < left;
        reading->index += len == left;
    }
    return 0;
}

static int read_image(void *context, size_t *got, void *out, size_t out_len,
                      struct mlp_error *error)
{
    struct image_reading *reading = context;
    uint8_t *bytes = out;
    size_t head_len = read_head(reading, bytes, out_len), len = 0;
    int status = read_tensors(reading, &len, bytes + head_len, out_len - head_len, error);
    *got = head_len + len;
    return status;
}

/* ---- where they go ---- */

struct output {
    int fd;
    const char *what;
    uint64_t len;
};

static int write_piece(void *context, const void *piece, size_t piece_len, size_t threads,
                       struct mlp_error *error)
{
    struct output *output = context;
    (void)threads;
    output->len += piece_len;
    return mlp_file_write_all(output->fd, piece, piece_len, output->what, error);
}

/* ---- the face ---- */

static bool any_thread_may_read(const struct mlp_view_set *views)
{
    struct mlp_view view;
    for (size_t i = 0; i < views->count; i++) {
        mlp_view_set_get(&view, views, i);
        if (view.stage != NULL)
            return false;
    }
    return true;
}

/* Where the tensors lie in the file. Returns: its length. */
static uint64_t list_ranges(struct mlp_file_range *items, const struct mlp_file_image *image)
{
    uint64_t at = image->head_len;
    for (size_t i = 0; i < image->views->count; i++) {
        items[i].begin = at;
        at += image->views->lens[image->order[i]];
        items[i].end = at;
    }
    return at;
}

static int save_ranges(const struct mlp_hash_request *requests, size_t requests_count,
                       const struct mlp_file_ranges *ranges, struct output *output,
                       const struct mlp_piece_source *source, size_t threads,
                       struct mlp_files_watch *watch, struct mlp_error *error)
{
    struct mlp_taker takers[MLP_HASHING_TAKERS_MAX + 1];
    struct mlp_hashing hashing;
    int status = mlp_hashing_init(&hashing, requests, requests_count, ranges, error);
    if (status == MLP_OK) {
        size_t count = mlp_hashing_takers(&hashing, takers);
        takers[count++] = (struct mlp_taker){write_piece, output};
        status = mlp_takers_run(takers, count, source, threads, watch, error);
    }
    if (status == MLP_OK)
        status = mlp_hashing_finish(&hashing, error);
    mlp_hashing_clear(&hashing);
    return status;
}

int mlp_file_save(const struct mlp_hash_request *requests, size_t requests_count,
                  const struct mlp_hash_request *tensors, uint64_t *len, int fd,
                  const struct mlp_file_image *image, const char *what, size_t threads,
                  const struct mlp_files_look *look, struct mlp_error *error)
{
    struct mlp_file_range *items = calloc(image->views->count + 1, sizeof *items);
    if (items == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", image->views->count);
    struct image_reading reading = {.image = image};
    struct output output = {.fd = fd, .what = what};
    const struct mlp_piece_source source = {read_image, &reading, list_ranges(items, image),
                                            any_thread_may_read(image->views)};
    const struct mlp_file_ranges ranges = {tensors->algorithm, items, image->views->count,
                                           tensors->digests};
    struct mlp_files_watch watch;
    mlp_files_watch_init(&watch, look);
    int status =
        save_ranges(requests, requests_count, &ranges, &output, &source, threads, &watch, error);
    free(items);
    if (status == MLP_OK)
        *len = output.len;
    return status;
}
