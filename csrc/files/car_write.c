/* car_write.c - the writer of car.h. */
#include "base/file.h"
#include "files/car.h"

#include <string.h>

#define BUFFER_LEN ((size_t)1 << 20) /* what is written at once, where blocks are small */

struct output {
    int fd;
    const char *path;
    struct mlp_buffer buffer;
    uint64_t len;
};

static int flush(struct output *output, struct mlp_error *error)
{
    if (mlp_buffer_status(&output->buffer) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot write %s: out of memory", output->path);
    int status = mlp_file_write_all(output->fd, output->buffer.data, output->buffer.len,
                                    output->path, error);
    output->len += status == 0 ? output->buffer.len : 0;
    output->buffer.len = 0;
    return status;
}

static int put(void *context, const uint8_t cid36[MLP_CID_LEN], const void *block, size_t block_len,
               struct mlp_error *error)
{
    struct output *output = context;
    uint8_t head[MLP_CAR_HEAD_MAX];
    mlp_buffer_append(&output->buffer, head, mlp_car_frame_head(head, cid36, block_len));
    mlp_buffer_append(&output->buffer, block, block_len);
    return output->buffer.len >= BUFFER_LEN ? flush(output, error) : 0;
}

int mlp_car_write(struct mlp_unixfs_link *root, uint64_t *car_len, int fd, const char *car_path,
                  const char *path, const struct mlp_unixfs *unixfs, size_t threads,
                  const struct mlp_files_look *look, struct mlp_error *error)
{
    struct output output = {.fd = fd, .path = car_path};
    const struct mlp_unixfs_sink sink = {put, &output};
    struct mlp_unixfs_link named, written;
    int status = mlp_file_cid(&named, path, unixfs, threads, look, error);
    if (status != 0)
        return status;
    mlp_car_append_header(&output.buffer, &named.cid36, 1);
    status = mlp_file_blocks(&written, path, unixfs, &sink, look, error);
    if (status == 0)
        status = flush(&output, error);
    if (status == 0 && memcmp(written.cid36, named.cid36, MLP_CID_LEN) != 0)
        status = mlp_fail(error, MLP_E_CHANGED,
                          "%s changed between the two readings of it; try again when nothing "
                          "writes to it",
                          path);
    if (status == 0) {
        *root = named;
        *car_len = output.len;
    }
    mlp_buffer_clear(&output.buffer);
    return status;
}
