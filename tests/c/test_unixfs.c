/* Nodes of files, DAG-CBOR's and CARs' bytes: what the readers refuse. Equality with other programs is
 * tests/python/test_ipfs.py's. */
#include "check.h"
#include "codec/multibase.h"
#include "codec/unixfs.h"
#include "codec/varint.h"

#include <stdlib.h>
#include <string.h>

/* ---- varints, bases ---- */

static void a_varint_has_one_form_of_at_most_nine_bytes(void)
{
    uint8_t bytes[10];
    uint64_t read = 0;
    for (unsigned bit = 0; bit < 63; bit++) {
        for (uint64_t value = (UINT64_C(1) << bit) - 1; value <= UINT64_C(1) << bit; value++) {
            size_t len = mlp_varint_write(bytes, value);
            CHECK(mlp_varint_read(&read, bytes, sizeof bytes) == len && read == value);
            CHECK(mlp_varint_read(&read, bytes, len - 1) == 0);
        }
    }
    CHECK(mlp_varint_write(bytes, MLP_VARINT_MAX) == 9 && mlp_varint_read(&read, bytes, 9) == 9);
    CHECK(mlp_varint_read(&read, (const uint8_t *)"\x80\x00", 2) == 0);
    memset(bytes, 0x80, sizeof bytes);
    CHECK(mlp_varint_read(&read, bytes, sizeof bytes) == 0);
}

static void the_longest_bytes_have_a_text_in_every_base(void)
{
    uint8_t bytes[MLP_MULTIBASE_BYTES_MAX], read[MLP_MULTIBASE_BYTES_MAX];
    char text[MLP_MULTIBASE_TEXT_MAX];
    for (int first = 0; first < 256; first += 51) {
        memset(bytes, first, sizeof bytes);
        for (const char *base = "bfkz"; *base != '\0'; base++) {
            mlp_multibase_encode(text, *base, bytes, sizeof bytes);
            CHECK(mlp_multibase_decode(read, *base, text, strlen(text)) == sizeof bytes &&
                  memcmp(read, bytes, sizeof bytes) == 0);
        }
    }
    memset(text, 'z', sizeof text);
    CHECK(mlp_multibase_decode(read, 'z', text, sizeof text) == 0);
    CHECK(mlp_multibase_decode(read, 'k', text, sizeof text) == 0);
}

/* ---- nodes ---- */

struct kept {
    struct mlp_buffer block; /* the last node */
    size_t count;
};

static int keep(void *context, const uint8_t cid36[MLP_CID_LEN], const void *block,
                size_t block_len, struct mlp_error *error)
{
    struct kept *kept = context;
    uint8_t computed[MLP_CID_LEN];
    CHECK(mlp_cid_of_block(computed, MLP_CID_DAG_PB, block, block_len, error) == 0 &&
          memcmp(computed, cid36, MLP_CID_LEN) == 0);
    mlp_buffer_clear(&kept->block);
    mlp_buffer_append(&kept->block, block, block_len);
    kept->count++;
    return 0;
}

static struct mlp_unixfs_link leaf_of(unsigned number)
{
    struct mlp_unixfs_link leaf = {.blocks_len = 1000 + number, .file_len = 1000 + number};
    (void)mlp_cid_of_block(leaf.cid36, MLP_CID_RAW, &number, sizeof number, NULL);
    return leaf;
}

static void make_node(struct kept *kept, unsigned leaves, size_t width, unsigned version)
{
    const struct mlp_unixfs unixfs = {.chunk_len = 1, .width = width, .version = version};
    const struct mlp_unixfs_sink sink = {keep, kept};
    struct mlp_unixfs_tree *tree = NULL;
    struct mlp_unixfs_link root = {0};
    CHECK(mlp_unixfs_tree_new(&tree, &unixfs, &sink, NULL) == 0);
    for (unsigned i = 0; i < leaves; i++) {
        const struct mlp_unixfs_link leaf = leaf_of(i);
        CHECK(mlp_unixfs_tree_add(tree, &leaf, NULL) == 0);
    }
    CHECK(mlp_unixfs_tree_finish(tree, &root, NULL) == 0);
    mlp_unixfs_tree_free(tree);
}

static void a_node_reads_back_as_it_was_made(void)
{
    struct kept kept = {0};
    struct mlp_unixfs_node node = {0};
    make_node(&kept, 5, 8, 1);
    CHECK(kept.count == 1);
    CHECK(mlp_unixfs_node_read(&node, kept.block.data, kept.block.len, NULL) == 0);
    CHECK(node.links_count == 5 && node.file_len == 5010);
    for (unsigned i = 0; i < node.links_count; i++) {
        const struct mlp_unixfs_link leaf = leaf_of(i);
        CHECK(memcmp(&node.links[i], &leaf, sizeof leaf) == 0);
    }
    mlp_unixfs_node_clear(&node);
    mlp_buffer_clear(&kept.block);
}

/* What is read says all that a node has: written again it is the same, or it was refused. */
static void check_changed(uint8_t *block, size_t block_len)
{
    struct mlp_unixfs_node node = {0};
    uint8_t *exact = malloc(block_len + 1);
    if (exact == NULL)
        return;
    memcpy(exact, block, block_len);
    if (mlp_unixfs_node_read(&node, exact, block_len, NULL) == 0) {
        uint64_t sum = node.data_len;
        for (size_t i = 0; i < node.links_count; i++)
            sum += node.links[i].file_len;
        CHECK(sum == node.file_len);
    }
    mlp_unixfs_node_clear(&node);
    free(exact);
}

static void a_node_with_any_byte_changed_adds_up_or_is_refused(void)
{
    struct kept kept = {0};
    make_node(&kept, 9, 3, 0);
    CHECK(kept.count == 4);
    for (size_t at = 0; at < kept.block.len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            kept.block.data[at] ^= (uint8_t)(1U << bit);
            check_changed(kept.block.data, kept.block.len);
            kept.block.data[at] ^= (uint8_t)(1U << bit);
        }
        check_changed(kept.block.data, at);
        struct mlp_unixfs_node node = {0};
        CHECK(mlp_unixfs_node_read(&node, kept.block.data, at, NULL) == MLP_E_MALFORMED);
    }
    mlp_buffer_clear(&kept.block);
}

static void what_is_no_file_is_refused(void)
{
    static const struct {
        const char *why;
        const char *block;
        size_t len;
    } wrong[] = {
        {"a directory", "\x0a\x02\x08\x01", 4},
        {"no data", "", 0},
        {"no type", "\x0a\x02\x18\x00", 4},
        {"no length", "\x0a\x02\x08\x02", 4},
        {"a length that is not that of the data", "\x0a\x07\x08\x02\x12\x01\x61\x18\x02", 9},
        {"a surplus length", "\x0a\x06\x08\x02\x18\x00\x20\x00", 8},
        {"data twice", "\x0a\x04\x08\x02\x18\x00\x0a\x04\x08\x02\x18\x00", 12},
        {"a length that is not the shortest", "\x0a\x84\x00\x08\x02\x18\x00", 7},
        {"a link of nothing", "\x12\x00\x0a\x06\x08\x02\x18\x00\x20\x00", 10},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct mlp_unixfs_node node = {0};
        CHECK(mlp_unixfs_node_read(&node, wrong[i].block, wrong[i].len, NULL) == MLP_E_MALFORMED);
    }
    struct mlp_unixfs_node empty = {0};
    CHECK(mlp_unixfs_node_read(&empty, "\x0a\x04\x08\x02\x18\x00", 6, NULL) == 0);
    CHECK(empty.file_len == 0 && empty.links_count == 0);
}

static void a_tree_of_no_leaves_has_no_root(void)
{
    struct mlp_unixfs_tree *tree = NULL;
    struct mlp_unixfs_link root;
    CHECK(mlp_unixfs_tree_new(&tree, &MLP_UNIXFS_V1_2025, NULL, NULL) == 0);
    CHECK(mlp_unixfs_tree_finish(tree, &root, NULL) == MLP_E_ARGUMENT);
    mlp_unixfs_tree_free(tree);
}

int main(void)
{
    RUN(a_varint_has_one_form_of_at_most_nine_bytes);
    RUN(the_longest_bytes_have_a_text_in_every_base);
    RUN(a_node_reads_back_as_it_was_made);
    RUN(a_node_with_any_byte_changed_adds_up_or_is_refused);
    RUN(what_is_no_file_is_refused);
    RUN(a_tree_of_no_leaves_has_no_root);
    return check_finish();
}
