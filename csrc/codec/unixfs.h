/* unixfs.h - a file as IPFS cuts it: chunks as leaves, dag-pb nodes over them, one CID for the whole.
 *
 * Sources: specs.ipfs.tech/unixfs (Data: type 2 is a file; filesize, blocksizes); ipld.io/specs/codecs/
 * dag-pb (links before data, every field once and in order); the "balanced" layout: nodes of at most
 * `width` links, filled from the left, all leaves at one depth. Which chunks and which width is no part
 * of a CID: whoever compares two has to know that they were made alike. IPIP-499 names a profile for it.
 *
 * Threads: a tree belongs to one thread at a time; the other functions are pure.
 * Memory: a tree keeps at most `width` links for each of its levels, however long the file is.
 */
#ifndef MLP_CODEC_UNIXFS_H
#define MLP_CODEC_UNIXFS_H

#include "codec/cid.h"

#define MLP_UNIXFS_CHUNK_MAX                                                                       \
    1048576 /* what every node takes: blocks of more than 2 MiB are refused */
#define MLP_UNIXFS_WIDTH_MAX  8192
#define MLP_UNIXFS_LEVELS_MAX 64 /* of 2^63 chunks with the least width */
/* A block is a leaf with what is written around its chunk, or a node: 57 bytes a link at most. */
#define MLP_UNIXFS_BLOCK_MAX 1048640

struct mlp_unixfs {
    size_t chunk_len; /* 1 to MLP_UNIXFS_CHUNK_MAX; the last one may be shorter */
    size_t width;     /* links of a node: 2 to MLP_UNIXFS_WIDTH_MAX */
    bool raw_leaves;  /* false: chunks are nodes too */
    unsigned
        version; /* of the CIDs by which nodes name nodes: 0 or 1; the root's own is always 1 */
};

/* IPIP-499 "unixfs-v1-2025". */
#define MLP_UNIXFS_V1_2025                                                                         \
    (struct mlp_unixfs)                                                                            \
    {                                                                                              \
        .chunk_len = 1048576, .width = 1024, .raw_leaves = true, .version = 1                      \
    }

/* Returns: 0 or MLP_E_ARGUMENT. */
int mlp_unixfs_check(const struct mlp_unixfs *unixfs, struct mlp_error *error);

/* ---- leaves ---- */

#define MLP_UNIXFS_HEAD_MAX 24
#define MLP_UNIXFS_TAIL_MAX 10

/* What is written before and after a chunk that is no raw leaf. */
struct mlp_unixfs_wrapping {
    uint8_t head[MLP_UNIXFS_HEAD_MAX];
    size_t head_len;
    uint8_t tail[MLP_UNIXFS_TAIL_MAX];
    size_t tail_len;
};
void mlp_unixfs_wrap(struct mlp_unixfs_wrapping *wrapping, size_t chunk_len);

/* ---- the tree over them ---- */

struct mlp_unixfs_link {
    uint8_t cid36[MLP_CID_LEN];
    uint64_t blocks_len; /* of the block and of all that are under it */
    uint64_t file_len;   /* of what it stands for */
};

/* Where blocks go as they are made; those of nodes after everything that is under them. */
struct mlp_unixfs_sink {
    /* Returns: 0, or a status that ends the making of the tree. */
    int (*put)(void *context, const uint8_t cid36[MLP_CID_LEN], const void *block, size_t block_len,
               struct mlp_error *error);
    void *context;
};

struct mlp_unixfs_tree; /* opaque, heap */

/* In:      sink: of nodes alone; NULL; kept until the tree is freed.
 * Returns: 0 (mlp_unixfs_tree_free), MLP_E_ARGUMENT (mlp_unixfs_check), MLP_E_MEMORY.
 */
int mlp_unixfs_tree_new(struct mlp_unixfs_tree **tree, const struct mlp_unixfs *unixfs,
                        const struct mlp_unixfs_sink *sink, struct mlp_error *error);
void mlp_unixfs_tree_free(struct mlp_unixfs_tree *tree); /* NULL is allowed */

/* The next leaf.
 * Returns: 0; MLP_E_RANGE (longer than 2^63 - 1 bytes); MLP_E_MEMORY; MLP_E_CRYPTO; what the sink
 *          returned.
 */
int mlp_unixfs_tree_add(struct mlp_unixfs_tree *tree, const struct mlp_unixfs_link *leaf,
                        struct mlp_error *error);

/* After the last leaf, of which there is at least one: an empty file is one empty chunk. The only leaf
 * is the root itself.
 * Returns: as mlp_unixfs_tree_add.
 */
int mlp_unixfs_tree_finish(struct mlp_unixfs_tree *tree, struct mlp_unixfs_link *root,
                           struct mlp_error *error);

/* ---- reading ---- */

/* A node of a file. Zero-initialise; mlp_unixfs_node_clear. */
struct mlp_unixfs_node {
    uint64_t file_len;
    struct mlp_unixfs_link *links; /* in order; their file_len add up to that of the node */
    size_t links_count;
    const uint8_t *data; /* of a leaf; lies in the block */
    size_t data_len;
};
void mlp_unixfs_node_clear(struct mlp_unixfs_node *node);

/* Reads a dag-pb block strictly: what does not add up is refused, and so is every other form of what a
 * writer may write in one.
 * Returns: 0; MLP_E_MALFORMED (also a directory, a link, a file with data beside links); MLP_E_MEMORY.
 */
int mlp_unixfs_node_read(struct mlp_unixfs_node *node, const void *block, size_t block_len,
                         struct mlp_error *error);

#endif
