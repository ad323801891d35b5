/* unixfs_read.c - the reader of unixfs.h. */
#include "codec/unixfs.h"
#include "codec/unixfs_fields.h"
#include "codec/varint.h"

#include <stdlib.h>
#include <string.h>

struct cursor {
    const uint8_t *at;
    size_t left;
};

static int refuse(struct mlp_error *error, const char *reason)
{
    return mlp_fail(error, MLP_E_MALFORMED, "a block is no node of a file: %s", reason);
}

static bool take_varint(struct cursor *cursor, uint64_t *value)
{
    size_t len = mlp_varint_read(value, cursor->at, cursor->left);
    cursor->at += len;
    cursor->left -= len;
    return len > 0;
}

/* The field with that key, if it is next. Returns: 1; 0: another, or the end; -1: malformed. */
static int take_number(struct cursor *cursor, uint8_t key, uint64_t *value)
{
    if (cursor->left == 0 || cursor->at[0] != key)
        return 0;
    cursor->at++;
    cursor->left--;
    return take_varint(cursor, value) ? 1 : -1;
}

static int take_bytes(struct cursor *cursor, uint8_t key, struct cursor *bytes)
{
    uint64_t len = 0;
    int found = take_number(cursor, key, &len);
    if (found != 1)
        return found;
    if (len > cursor->left)
        return -1;
    *bytes = (struct cursor){cursor->at, (size_t)len};
    cursor->at += len;
    cursor->left -= (size_t)len;
    return 1;
}

/* ---- links ---- */

static int read_link(struct mlp_unixfs_link *link, struct cursor fields, struct mlp_error *error)
{
    struct cursor hash, name;
    size_t used = 0;
    if (take_bytes(&fields, MLP_LINK_HASH, &hash) != 1)
        return refuse(error, "a link without a CID");
    int status = mlp_cid_read(link->cid36, &used, hash.at, hash.left, error);
    if (status != 0)
        return status;
    int named = take_bytes(&fields, MLP_LINK_NAME, &name);
    if (used != hash.left || named < 0 || (named == 1 && name.left > 0))
        return refuse(error, "a link with a name, as in a directory, or with a CID and more");
    if (take_number(&fields, MLP_LINK_TSIZE, &link->blocks_len) != 1 || fields.left != 0)
        return refuse(error, "a link without its length, or with more than that");
    return 0;
}

static int add_link(struct mlp_unixfs_node *node, size_t *room, struct cursor fields,
                    struct mlp_error *error)
{
    if (node->links_count == *room) {
        size_t more = *room > 0 ? 2 * *room : 16;
        struct mlp_unixfs_link *links = realloc(node->links, more * sizeof *links);
        if (links == NULL)
            return mlp_fail(error, MLP_E_MEMORY, "cannot read a node of a file: out of memory");
        node->links = links;
        *room = more;
    }
    struct mlp_unixfs_link *link = &node->links[node->links_count++];
    *link = (struct mlp_unixfs_link){0};
    return read_link(link, fields, error);
}

static int read_links(struct mlp_unixfs_node *node, struct cursor *block, struct mlp_error *error)
{
    size_t room = 0;
    struct cursor fields;
    for (;;) {
        int found = take_bytes(block, MLP_NODE_LINK, &fields);
        if (found != 1)
            return found == 0 ? 0 : refuse(error, "a link is cut off");
        int status = add_link(node, &room, fields, error);
        if (status != 0)
            return status;
    }
}

/* ---- data ---- */

static int read_type(struct cursor *data, struct mlp_error *error)
{
    uint64_t type = 0;
    if (take_number(data, MLP_DATA_TYPE, &type) != 1)
        return refuse(error, "it does not say what it is");
    if (type != MLP_TYPE_FILE && type != MLP_TYPE_RAW)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "a block is a directory or a link (UnixFS type %llu), no file: only files "
                        "can be taken out; name the CID of one",
                        (unsigned long long)type);
    return 0;
}

/* A length for each link; they add up to that of the file. */
static int read_lengths(struct mlp_unixfs_node *node, struct cursor *data, struct mlp_error *error)
{
    uint64_t sum = node->data_len;
    for (size_t i = 0; i < node->links_count; i++) {
        uint64_t len = 0;
        if (take_number(data, MLP_DATA_BLOCKSIZES, &len) != 1 || len > MLP_VARINT_MAX - sum)
            return refuse(error, "a link without the length of what it stands for");
        node->links[i].file_len = len;
        sum += len;
    }
    if (data->left != 0)
        return refuse(error, "there is more behind the lengths");
    return sum == node->file_len ? 0 : refuse(error, "its lengths do not add up");
}

static int read_data(struct mlp_unixfs_node *node, struct cursor data, struct mlp_error *error)
{
    struct cursor bytes = {0};
    int status = read_type(&data, error);
    if (status != 0)
        return status;
    int found = take_bytes(&data, MLP_DATA_DATA, &bytes);
    if (found < 0 || (found == 1 && node->links_count > 0 && bytes.left > 0))
        return refuse(error, "its data is cut off, or stands beside links");
    node->data = bytes.at;
    node->data_len = bytes.left;
    if (take_number(&data, MLP_DATA_FILESIZE, &node->file_len) != 1)
        return refuse(error, "it does not say how long the file is");
    return read_lengths(node, &data, error);
}

/* ---- the face ---- */

void mlp_unixfs_node_clear(struct mlp_unixfs_node *node)
{
    free(node->links);
    *node = (struct mlp_unixfs_node){0};
}

int mlp_unixfs_node_read(struct mlp_unixfs_node *node, const void *block, size_t block_len,
                         struct mlp_error *error)
{
    struct mlp_unixfs_node read = {0};
    struct cursor cursor = {block, block_len}, data = {0};
    int status = read_links(&read, &cursor, error);
    if (status == 0 && (take_bytes(&cursor, MLP_NODE_DATA, &data) != 1 || cursor.left != 0))
        status = refuse(error, "after its links stands something else than its data");
    if (status == 0)
        status = read_data(&read, data, error);
    if (status == 0)
        *node = read;
    else
        mlp_unixfs_node_clear(&read);
    return status;
}
