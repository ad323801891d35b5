#include "codec/unixfs.h"

#include "codec/unixfs_fields.h"
#include "codec/varint.h"

#include <stdlib.h>
#include <string.h>

#define LINK_FIELDS_MAX 64 /* CID, empty name and Tsize with their keys and lengths */

static int out_of_memory(struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_MEMORY, "cannot make the tree of a file: out of memory");
}

int mlp_unixfs_check(const struct mlp_unixfs *unixfs, struct mlp_error *error)
{
    if (unixfs->chunk_len >= 1 && unixfs->chunk_len <= MLP_UNIXFS_CHUNK_MAX && unixfs->width >= 2 &&
        unixfs->width <= MLP_UNIXFS_WIDTH_MAX && unixfs->version <= 1)
        return 0;
    return mlp_fail(
        error, MLP_E_ARGUMENT,
        "a file cannot be cut into chunks of %zu bytes under nodes of %zu links: chunks "
        "have 1 to %d bytes, nodes 2 to %d links, CIDs version 0 or 1",
        unixfs->chunk_len, unixfs->width, MLP_UNIXFS_CHUNK_MAX, MLP_UNIXFS_WIDTH_MAX);
}

/* ---- leaves ---- */

static size_t write_field(uint8_t *out, uint8_t key, uint64_t value)
{
    out[0] = key;
    return 1 + mlp_varint_write(out + 1, value);
}

void mlp_unixfs_wrap(struct mlp_unixfs_wrapping *wrapping, size_t chunk_len)
{
    uint8_t inner[MLP_UNIXFS_HEAD_MAX];
    size_t inner_len = write_field(inner, MLP_DATA_TYPE, MLP_TYPE_FILE);
    if (chunk_len > 0)
        inner_len += write_field(inner + inner_len, MLP_DATA_DATA, chunk_len);
    wrapping->tail_len = write_field(wrapping->tail, MLP_DATA_FILESIZE, chunk_len);
    wrapping->head_len =
        write_field(wrapping->head, MLP_NODE_DATA, inner_len + chunk_len + wrapping->tail_len);
    memcpy(wrapping->head + wrapping->head_len, inner, inner_len);
    wrapping->head_len += inner_len;
}

/* ---- the tree ---- */

struct level {
    struct mlp_unixfs_link *links; /* width of them; NULL: none has come */
    size_t count;
};

struct mlp_unixfs_tree {
    size_t width;
    bool is_version_0;
    struct mlp_unixfs_sink sink; /* put NULL: none */
    size_t levels_count;
    struct level levels[MLP_UNIXFS_LEVELS_MAX];
};

int mlp_unixfs_tree_new(struct mlp_unixfs_tree **tree, const struct mlp_unixfs *unixfs,
                        const struct mlp_unixfs_sink *sink, struct mlp_error *error)
{
    int status = mlp_unixfs_check(unixfs, error);
    if (status != 0)
        return status;
    struct mlp_unixfs_tree *made = calloc(1, sizeof *made);
    if (made == NULL)
        return out_of_memory(error);
    made->width = unixfs->width;
    made->is_version_0 = unixfs->version == 0;
    if (sink != NULL)
        made->sink = *sink;
    *tree = made;
    return 0;
}

void mlp_unixfs_tree_free(struct mlp_unixfs_tree *tree)
{
    for (size_t i = 0; tree != NULL && i < tree->levels_count; i++)
        free(tree->levels[i].links);
    free(tree);
}

static void append_field(struct mlp_buffer *buffer, uint8_t key, uint64_t value)
{
    uint8_t bytes[1 + MLP_VARINT_MAX_LEN];
    mlp_buffer_append(buffer, bytes, write_field(bytes, key, value));
}

static void append_link(struct mlp_buffer *node, const struct mlp_unixfs_link *link,
                        bool is_version_0)
{
    uint8_t fields[LINK_FIELDS_MAX];
    /* Version 0 is the multihash alone, and can only name dag-pb. */
    size_t skip = is_version_0 && link->cid36[1] == MLP_CID_DAG_PB ? 2 : 0;
    size_t len = write_field(fields, MLP_LINK_HASH, MLP_CID_LEN - skip);
    memcpy(fields + len, link->cid36 + skip, MLP_CID_LEN - skip);
    len += MLP_CID_LEN - skip;
    len += write_field(fields + len, MLP_LINK_NAME, 0);
    len += write_field(fields + len, MLP_LINK_TSIZE, link->blocks_len);
    append_field(node, MLP_NODE_LINK, len);
    mlp_buffer_append(node, fields, len);
}

/* Appends the node over a level's links; adds up what they stand for. */
static void append_node(struct mlp_buffer *node, struct mlp_unixfs_link *over,
                        const struct level *level, bool is_version_0)
{
    struct mlp_buffer data = {0};
    for (size_t i = 0; i < level->count; i++) {
        over->blocks_len += level->links[i].blocks_len;
        over->file_len += level->links[i].file_len;
        append_link(node, &level->links[i], is_version_0);
    }
    append_field(&data, MLP_DATA_TYPE, MLP_TYPE_FILE);
    append_field(&data, MLP_DATA_FILESIZE, over->file_len);
    for (size_t i = 0; i < level->count; i++)
        append_field(&data, MLP_DATA_BLOCKSIZES, level->links[i].file_len);
    append_field(node, MLP_NODE_DATA, data.len);
    mlp_buffer_append(node, data.data, data.len);
    node->failed |= mlp_buffer_status(&data) != 0;
    mlp_buffer_clear(&data);
    over->blocks_len += node->len;
}

static int push(struct mlp_unixfs_tree *tree, size_t at, const struct mlp_unixfs_link *link,
                struct mlp_error *error)
{
    struct level *level = &tree->levels[at];
    if (level->links == NULL) {
        level->links = calloc(tree->width, sizeof *level->links);
        if (level->links == NULL)
            return out_of_memory(error);
        tree->levels_count = at + 1;
    }
    level->links[level->count++] = *link;
    return 0;
}

/* Puts a level's links under a node of the level above. */
static int close_level(struct mlp_unixfs_tree *tree, size_t at, struct mlp_error *error)
{
    struct mlp_buffer node = {0};
    struct mlp_unixfs_link over = {0};
    append_node(&node, &over, &tree->levels[at], tree->is_version_0);
    tree->levels[at].count = 0;
    int status = mlp_buffer_status(&node) == 0 ? 0 : out_of_memory(error);
    if (status == 0)
        status = mlp_cid_of_block(over.cid36, MLP_CID_DAG_PB, node.data, node.len, error);
    if (status == 0 && tree->sink.put != NULL)
        status = tree->sink.put(tree->sink.context, over.cid36, node.data, node.len, error);
    if (status == 0)
        status = push(tree, at + 1, &over, error);
    mlp_buffer_clear(&node);
    return status;
}

int mlp_unixfs_tree_add(struct mlp_unixfs_tree *tree, const struct mlp_unixfs_link *leaf,
                        struct mlp_error *error)
{
    int status = push(tree, 0, leaf, error);
    for (size_t at = 0; status == 0 && tree->levels[at].count == tree->width; at++) {
        if (at + 1 == MLP_UNIXFS_LEVELS_MAX)
            return mlp_fail(error, MLP_E_RANGE, "a file cannot have a tree of more than %d levels",
                            MLP_UNIXFS_LEVELS_MAX);
        status = close_level(tree, at, error);
    }
    return status;
}

int mlp_unixfs_tree_finish(struct mlp_unixfs_tree *tree, struct mlp_unixfs_link *root,
                           struct mlp_error *error)
{
    int status = 0;
    for (size_t at = 0; status == 0 && at < tree->levels_count; at++) {
        const struct level *level = &tree->levels[at];
        if (at + 1 == tree->levels_count && level->count == 1) {
            *root = level->links[0];
            return 0;
        }
        if (level->count > 0)
            status = close_level(tree, at, error);
    }
    return status != 0 ? status
                       : mlp_fail(error, MLP_E_ARGUMENT, "a tree of no leaves has no root");
}
