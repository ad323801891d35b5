/* car_extract.c - the file that a CID names, out of the blocks of a CAR. */
#include "base/file.h"
#include "files/car.h"

#include <stdlib.h>
#include <string.h>

struct extraction {
    const struct mlp_car *car;
    int fd;
    const char *out_path;
    uint8_t *bytes; /* of one block */
    struct mlp_files_watch watch;
};

static int refuse(const struct extraction *extraction, const uint8_t *cid36, const char *reason,
                  struct mlp_error *error)
{
    char text[MLP_CID_TEXT_MAX];
    mlp_cid_encode(text, cid36);
    return mlp_fail(error, MLP_E_MALFORMED, "cannot take a file out of %s: the block %s %s",
                    extraction->car->reader.path, text, reason);
}

/* Reads a block into the extraction's bytes. */
static int read_block(const struct extraction *extraction, const uint8_t *cid36, size_t *len,
                      struct mlp_error *error)
{
    uint8_t computed[MLP_CID_LEN];
    char text[MLP_CID_TEXT_MAX];
    const struct mlp_car_block *block = mlp_car_find(extraction->car, cid36);
    mlp_cid_encode(text, cid36);
    if (block == NULL)
        return mlp_fail(error, MLP_E_NOT_FOUND,
                        "cannot take a file out of %s: the block %s is not in it; it was exported "
                        "in part, or the file is in another CAR",
                        extraction->car->reader.path, text);
    *len = block->len;
    int status =
        mlp_reader_at(&extraction->car->reader, block->offset, extraction->bytes, *len, error);
    if (status == 0)
        status = mlp_cid_of_block(computed, (enum mlp_cid_codec)cid36[1], extraction->bytes, *len,
                                  error);
    if (status == 0 && memcmp(computed, cid36, MLP_CID_LEN) != 0)
        status = mlp_fail(error, MLP_E_CHANGED, "%s changed while it was read",
                          extraction->car->reader.path);
    return status;
}

static int write_data(struct extraction *extraction, const uint8_t *data, size_t len,
                      struct mlp_error *error)
{
    mlp_files_watch_add(&extraction->watch, 0, len);
    int status = mlp_file_write_all(extraction->fd, data, len, extraction->out_path, error);
    return status != 0 ? status : mlp_files_watch_check(&extraction->watch);
}

static int extract(struct extraction *extraction, const uint8_t *cid36, uint64_t expected,
                   unsigned depth, struct mlp_error *error);

static int extract_links(struct extraction *extraction, const uint8_t *cid36,
                         const struct mlp_unixfs_node *node, unsigned depth,
                         struct mlp_error *error)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < node->links_count; i++) {
        /* Nothing is ever cut into parts of no bytes; there could be any number of them. */
        if (node->links[i].file_len == 0)
            return refuse(extraction, cid36, "names a part of no bytes", error);
        status =
            extract(extraction, node->links[i].cid36, node->links[i].file_len, depth - 1, error);
    }
    return status;
}

/* expected: how long the part has to be, as the node above it says. */
static int extract(struct extraction *extraction, const uint8_t *cid36, uint64_t expected,
                   unsigned depth, struct mlp_error *error)
{
    size_t len = 0;
    if (depth == 0)
        return refuse(extraction, cid36, "is too deep", error);
    int status = read_block(extraction, cid36, &len, error);
    if (status != 0)
        return status;
    if (cid36[1] == MLP_CID_RAW && len == expected)
        return write_data(extraction, extraction->bytes, len, error);
    if (cid36[1] != MLP_CID_DAG_PB)
        return refuse(extraction, cid36, "is not a part of a file of the length that is said",
                      error);
    struct mlp_unixfs_node node = {0};
    status = mlp_unixfs_node_read(&node, extraction->bytes, len, error);
    if (status != 0)
        return mlp_fail_in(error, status, "cannot take a file out of %s",
                           extraction->car->reader.path);
    if (node.file_len != expected)
        status = refuse(extraction, cid36, "has another length than is said of it", error);
    else if (node.links_count == 0)
        status = write_data(extraction, node.data, node.data_len, error);
    else
        status = extract_links(extraction, cid36, &node, depth, error);
    mlp_unixfs_node_clear(&node);
    return status;
}

/* How long the file is, as its first block says. */
static int length_of(const struct extraction *extraction, const uint8_t *cid36, uint64_t *len,
                     struct mlp_error *error)
{
    struct mlp_unixfs_node node = {0};
    size_t block_len = 0;
    int status = read_block(extraction, cid36, &block_len, error);
    *len = block_len;
    if (status != 0 || cid36[1] == MLP_CID_RAW)
        return status;
    if (cid36[1] != MLP_CID_DAG_PB)
        return refuse(extraction, cid36, "is no file: its codec is neither raw nor dag-pb", error);
    status = mlp_unixfs_node_read(&node, extraction->bytes, block_len, error);
    *len = node.file_len;
    mlp_unixfs_node_clear(&node);
    return status;
}

static int extract_bounded(struct extraction *extraction, uint64_t *file_len, const uint8_t *cid36,
                           uint64_t len_max, struct mlp_error *error)
{
    uint64_t len = 0;
    int status = length_of(extraction, cid36, &len, error);
    if (status == 0 && len > len_max)
        status = mlp_fail(error, MLP_E_RANGE,
                          "the file in %s has %llu bytes, and at most %llu are taken; allow more "
                          "if that is what you expect",
                          extraction->car->reader.path, (unsigned long long)len,
                          (unsigned long long)len_max);
    if (status == 0)
        status = extract(extraction, cid36, len, MLP_CAR_DEPTH_MAX, error);
    if (status == 0)
        status = mlp_reader_check(&extraction->car->reader, error);
    if (status == 0)
        *file_len = len;
    return status;
}

int mlp_car_extract(struct mlp_car *car, uint64_t *file_len, int fd, const char *out_path,
                    const uint8_t cid36[MLP_CID_LEN], uint64_t len_max,
                    const struct mlp_files_look *look, struct mlp_error *error)
{
    struct extraction extraction = {
        .car = car, .fd = fd, .out_path = out_path, .bytes = malloc(car->block_len_max + 1)};
    if (extraction.bytes == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read %s: out of memory", car->reader.path);
    mlp_files_watch_init(&extraction.watch, look);
    int status = extract_bounded(&extraction, file_len, cid36, len_max, error);
    free(extraction.bytes);
    return status;
}
