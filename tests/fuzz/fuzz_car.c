/* libFuzzer target: any bytes as a CAR, as DAG-CBOR and as a node of a file. Whatever is taken is true: of
 * a CAR every root is among its blocks and every file that can be taken out has the CID that it was asked
 * for, cut as its own nodes say; a value is refused with a byte more behind it; a node's lengths add up.
 *
 * The CAR lies in a file in memory, which the reader opens by its path.
 */
#define _GNU_SOURCE /* memfd_create */
#include "codec/cbor.h"
#include "files/car.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_MAX (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    (void)fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

/* A temporary file that has no name but that of its descriptor. */
static int make_file(char path[32], const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file can be made");
    (void)snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static void take_out(struct mlp_car *car, const struct mlp_car_block *block)
{
    char path[32];
    uint64_t len = 0;
    int fd = make_file(path, NULL, 0);
    if (mlp_car_extract(car, &len, fd, path, block->cid36, FILE_MAX, NULL, NULL) == 0) {
        off_t written = lseek(fd, 0, SEEK_END);
        require(written >= 0 && (uint64_t)written == len && len <= FILE_MAX, "the length is said");
    }
    (void)close(fd);
}

static void try_car(const uint8_t *data, size_t size)
{
    char path[32];
    struct mlp_car car;
    int fd = make_file(path, data, size);
    if (mlp_car_open(&car, path, NULL, NULL) == 0) {
        for (size_t i = 0; i < car.roots_count; i++)
            require(mlp_car_find(&car, car.roots[i]) != NULL, "every root is there");
        for (size_t i = 0; i < car.blocks_count && i < 8; i++)
            take_out(&car, &car.blocks[i]);
        mlp_car_close(&car);
    }
    (void)close(fd);
}

/* With an allocation of their own, so that AddressSanitizer sees a read past the end. */
static void try_value_and_node(const uint8_t *data, size_t size)
{
    struct mlp_unixfs_node node = {0};
    uint8_t *bytes = malloc(size + 1);
    require(bytes != NULL, "there is memory");
    memcpy(bytes, data, size);
    if (mlp_cbor_check(bytes, size, NULL) == 0) {
        bytes[size] = 0;
        require(mlp_cbor_check(bytes, size + 1, NULL) != 0, "nothing stands behind a value");
    }
    uint8_t *exact = malloc(size > 0 ? size : 1);
    require(exact != NULL, "there is memory");
    memcpy(exact, data, size);
    if (mlp_unixfs_node_read(&node, exact, size, NULL) == 0) {
        uint64_t sum = node.data_len;
        for (size_t i = 0; i < node.links_count; i++)
            sum += node.links[i].file_len;
        require(sum == node.file_len, "lengths add up");
    }
    mlp_unixfs_node_clear(&node);
    free(exact);
    free(bytes);
}

/* A case's blocks would never have the hash that their CIDs say: they are given it here. */
static uint8_t *mend_hashes(const uint8_t *data, size_t size)
{
    uint8_t *mended = malloc(size > 0 ? size : 1);
    size_t at = 0, used = 0, len = 0;
    require(mended != NULL, "there is memory");
    memcpy(mended, data, size);
    for (bool header = true;; header = false) {
        uint8_t cid36[MLP_CID_LEN];
        if (mlp_car_read_length(&used, &len, mended + at, size - at, MLP_CAR_BLOCK_MAX, NULL) !=
                0 ||
            len > size - at - used)
            return mended;
        at += used;
        if (!header && mlp_cid_read(cid36, &used, mended + at, len, NULL) == 0) {
            uint8_t *digest = mended + at + used - 32;
            (void)mlp_cid_of_block(cid36, MLP_CID_RAW, mended + at + used, len - used, NULL);
            memcpy(digest, cid36 + 4, 32);
        }
        at += len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *mended = mend_hashes(data, size);
    try_car(data, size);
    try_car(mended, size);
    try_value_and_node(data, size);
    free(mended);
    return 0;
}
