#include "store/leaves.h"

#include "base/file.h"
#include "codec/base64.h"
#include "codec/crc32c.h"
#include "merkle/merkle.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* "trees/" + 64 hex digits + ".leaves" + NUL */
#define LEAVES_PATH_SIZE (6 + 64 + 7 + 1)

static void leaves_path(char path[LEAVES_PATH_SIZE], const uint8_t root32[32])
{
    memcpy(path, "trees/", 6);
    mlp_hex_encode(path + 6, root32, 32);
    memcpy(path + 70, ".leaves", 8);
}

/* ---- encoding ---- */

int mlp_leaves_encode(struct mlp_buffer *bytes, const void *leaf, size_t leaf_len,
                      struct mlp_error *error)
{
    uint8_t number[4];
    if (leaf_len > MLP_LEAF_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "a leaf of %zu bytes is longer than the %d allowed",
                        leaf_len, MLP_LEAF_MAX);
    if (mlp_buffer_reserve(bytes, leaf_len + MLP_LEAF_FRAME_LEN) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot keep a leaf: out of memory");
    mlp_store_be32(number, (uint32_t)leaf_len);
    uint32_t crc = mlp_crc32c(mlp_crc32c(0, number, sizeof number), leaf, leaf_len);
    mlp_buffer_append(bytes, number, sizeof number);
    mlp_buffer_append(bytes, leaf, leaf_len);
    mlp_store_be32(number, crc);
    mlp_buffer_append(bytes, number, sizeof number);
    return 0;
}

/* ---- decoding ---- */

/* One leaf from the front of bytes. Returns: the bytes it takes with its frame, or 0 and why not.
 */
static size_t decode_one(struct mlp_leaf *leaf, const uint8_t *bytes, size_t bytes_len,
                         const char **why)
{
    *why = "is cut short";
    if (bytes_len < MLP_LEAF_FRAME_LEN)
        return 0;
    size_t len = mlp_load_be32(bytes);
    if (len > MLP_LEAF_MAX) {
        *why = "names a length above 16 MiB";
        return 0;
    }
    if (len > bytes_len - MLP_LEAF_FRAME_LEN)
        return 0;
    *why = "has a wrong checksum";
    if (mlp_crc32c(0, bytes, 4 + len) != mlp_load_be32(bytes + 4 + len))
        return 0;
    leaf->bytes = bytes + 4;
    leaf->len = len;
    return len + MLP_LEAF_FRAME_LEN;
}

size_t mlp_leaves_whole_len(uint64_t *count, const void *bytes, size_t bytes_len)
{
    const uint8_t *begin = bytes;
    struct mlp_leaf leaf;
    const char *why;
    size_t offset = 0;
    *count = 0;
    for (size_t len; (len = decode_one(&leaf, begin + offset, bytes_len - offset, &why)) > 0;) {
        offset += len;
        ++*count;
    }
    return offset;
}

int mlp_leaves_decode(struct mlp_leaves *leaves, const void *bytes, size_t bytes_len,
                      struct mlp_error *error)
{
    const uint8_t *begin = bytes;
    struct mlp_leaf *leaf = NULL;
    size_t count = 0;
    size_t capacity = 0;
    for (size_t offset = 0; offset < bytes_len; count++) {
        if (count == capacity) {
            capacity = capacity * 2 + 16;
            struct mlp_leaf *more = realloc(leaf, capacity * sizeof *more);
            if (more == NULL) {
                free(leaf);
                return mlp_fail(error, MLP_E_MEMORY, "cannot read leaves: out of memory");
            }
            leaf = more;
        }
        const char *why;
        size_t len = decode_one(&leaf[count], begin + offset, bytes_len - offset, &why);
        if (len == 0) {
            free(leaf);
            return mlp_fail(error, MLP_E_MALFORMED, "leaf %zu at byte %zu of %zu %s", count, offset,
                            bytes_len, why);
        }
        offset += len;
    }
    memset(leaves, 0, sizeof *leaves);
    leaves->leaf = leaf;
    leaves->count = count;
    return 0;
}

void mlp_leaves_clear(struct mlp_leaves *leaves)
{
    free(leaves->leaf);
    mlp_buffer_clear(&leaves->bytes);
    memset(leaves, 0, sizeof *leaves);
}

int mlp_leaves_root(uint8_t root32[32], const struct mlp_leaf *leaves, size_t leaves_count,
                    struct mlp_error *error)
{
    struct mlp_merkle_frontier frontier;
    uint8_t hash32[32];
    int status = 0;
    mlp_merkle_frontier_init(&frontier);
    for (size_t i = 0; status == 0 && i < leaves_count; i++) {
        status = mlp_merkle_leaf_hash(hash32, leaves[i].bytes, leaves[i].len, error);
        if (status == 0)
            status = mlp_merkle_frontier_append(&frontier, hash32, error);
    }
    return status != 0 ? status : mlp_merkle_frontier_root(root32, &frontier, error);
}

/* ---- in a store ---- */

/* Returns: 0 and whether a regular file of that name is there, of that length unless it is
 * SIZE_MAX. */
static int look_for(int directory_fd, bool *there, const char *path, size_t len,
                    struct mlp_error *error)
{
    struct stat facts;
    *there = false;
    if (fstatat(directory_fd, path, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : mlp_fail_errno(error, errno, "cannot look for %s", path);
    *there = S_ISREG(facts.st_mode) && (len == SIZE_MAX || (uint64_t)facts.st_size == len);
    return 0;
}

static int encode_all(struct mlp_buffer *bytes, const struct mlp_leaf *leaves, size_t leaves_count,
                      struct mlp_error *error)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < leaves_count; i++)
        status = mlp_leaves_encode(bytes, leaves[i].bytes, leaves[i].len, error);
    return status;
}

int mlp_store_put_leaves(struct mlp_store *store, uint8_t root32[32], const struct mlp_leaf *leaves,
                         size_t leaves_count, struct mlp_error *error)
{
    char path[LEAVES_PATH_SIZE];
    uint8_t root[32];
    struct mlp_buffer bytes;
    int directory = -1;
    bool there = false;
    mlp_buffer_init(&bytes);
    int status = mlp_store_open_directory(store, &directory, true, error);
    if (status == 0)
        status = mlp_leaves_root(root, leaves, leaves_count, error);
    if (status == 0)
        status = encode_all(&bytes, leaves, leaves_count, error);
    if (status == 0) {
        leaves_path(path, root);
        status = look_for(directory, &there, path, bytes.len, error);
    }
    if (status == 0) {
        /* One that is there already may be somebody's whose directory sync failed. */
        status = there ? mlp_file_sync_parent(directory, path, error)
                       : mlp_file_replace(directory, path, bytes.data, bytes.len, error);
        status = mlp_store_explain(store, status, error);
    }
    mlp_buffer_clear(&bytes);
    mlp_file_close(&directory);
    if (status == 0)
        memcpy(root32, root, 32);
    return status;
}

static int check_leaves(const struct mlp_leaves *leaves, const char *path, const uint8_t root32[32],
                        struct mlp_error *error)
{
    uint8_t root[32];
    int status = mlp_leaves_root(root, leaves->leaf, leaves->count, error);
    if (status == 0 && memcmp(root, root32, 32) != 0)
        status = mlp_fail(error, MLP_E_CORRUPT,
                          "%s does not hold the leaves that its name says: their root is another, "
                          "so it was changed; restore the file from a copy, or export without it",
                          path);
    return status;
}

int mlp_store_get_leaves(struct mlp_store *store, struct mlp_leaves *leaves,
                         const uint8_t root32[32], struct mlp_error *error)
{
    char path[LEAVES_PATH_SIZE];
    struct mlp_leaves found = {0};
    struct mlp_buffer bytes;
    struct mlp_error detail = {0};
    int directory = -1;
    leaves_path(path, root32);
    mlp_buffer_init(&bytes);
    int status = mlp_store_open_directory(store, &directory, false, error);
    if (status != 0)
        return status;
    status = mlp_file_read_path(&bytes, directory, path, MLP_LEAVES_FILE_MAX, error);
    mlp_file_close(&directory);
    if (status == 0)
        status = mlp_leaves_decode(&found, bytes.data, bytes.len, &detail);
    if (status == MLP_E_MALFORMED)
        status = mlp_fail(error, MLP_E_CORRUPT,
                          "%s is damaged: %.*s; restore the file from a copy, or export without it",
                          path, (int)mlp_error_what_len(&detail), detail.message);
    if (status == 0)
        status = check_leaves(&found, path, root32, error);
    if (status != 0) {
        mlp_leaves_clear(&found);
        mlp_buffer_clear(&bytes);
        return mlp_store_explain(store, status, error);
    }
    found.bytes = bytes;
    *leaves = found;
    return 0;
}

int mlp_store_has_leaves(struct mlp_store *store, bool *there, const uint8_t root32[32],
                         struct mlp_error *error)
{
    char path[LEAVES_PATH_SIZE];
    int directory = -1;
    leaves_path(path, root32);
    int status = mlp_store_open_directory(store, &directory, false, error);
    if (status == 0)
        status = mlp_store_explain(store, look_for(directory, there, path, SIZE_MAX, error), error);
    mlp_file_close(&directory);
    return status;
}
