#include "anchor/trie.h"

#include "hash/keccak.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NIBBLES_MAX   (2 * MLP_TRIE_KEY_MAX)
#define BRANCH_ITEMS  17
#define EMBEDDED_MAX  31 /* a child of 32 bytes or more is named by its hash */
#define INDEX_KEY_MAX 9  /* rlp of an uint64 */

/* Hex-prefix flags: Yellow Paper, appendix C. */
#define FLAG_LEAF 0x20
#define FLAG_ODD  0x10

static unsigned nibble_of(const uint8_t *key, size_t at)
{
    return at % 2 == 0 ? key[at / 2] >> 4 : key[at / 2] & 15U;
}

/* ---- building ---- */

struct builder {
    const struct mlp_trie_entry *entries;
    size_t target;
    struct mlp_buffer path[NIBBLES_MAX + 1]; /* nodes on the target's way, innermost first */
    size_t path_count;
    bool failed; /* no memory */
};

/* Entries [begin, end) share their first depth nibbles. */
struct range {
    size_t begin, end, depth;
};

static void append_node(struct builder *builder, struct mlp_buffer *node, struct range range);

static size_t nibbles_count(const struct builder *builder, size_t entry)
{
    return 2 * builder->entries[entry].key.len;
}

static unsigned nibble_at(const struct builder *builder, size_t entry, size_t depth)
{
    return nibble_of(builder->entries[entry].key.data, depth);
}

/* Hex-prefix of nibbles [begin, end) of a key, as an RLP string. */
static void append_hex_prefix(struct mlp_buffer *items, const uint8_t *key, size_t begin,
                              size_t end, unsigned flag)
{
    uint8_t encoded[1 + MLP_TRIE_KEY_MAX];
    size_t encoded_len = 0;
    bool odd = (end - begin) % 2 != 0;
    encoded[encoded_len++] = (uint8_t)(odd ? flag | FLAG_ODD | nibble_of(key, begin) : flag);
    for (size_t at = begin + odd; at < end; at += 2)
        encoded[encoded_len++] = (uint8_t)(nibble_of(key, at) << 4 | nibble_of(key, at + 1));
    mlp_rlp_append_string(items, encoded, encoded_len);
}

/* Keeps a node that the proof has to show. */
static void keep_node(struct builder *builder, struct range range, const struct mlp_buffer *node)
{
    if (builder->target < range.begin || builder->target >= range.end)
        return;
    struct mlp_buffer *kept = &builder->path[builder->path_count++];
    mlp_buffer_append(kept, node->data, node->len);
    builder->failed = builder->failed || mlp_buffer_status(kept) != 0;
}

/* Appends what a parent says of the child that holds range: itself, or its hash. */
static void append_child(struct builder *builder, struct mlp_buffer *items, struct range range)
{
    struct mlp_buffer node = {0};
    append_node(builder, &node, range);
    if (node.len <= EMBEDDED_MAX) {
        mlp_buffer_append(items, node.data, node.len);
    } else {
        uint8_t hash[MLP_KECCAK256_LEN];
        mlp_keccak256(hash, node.data, node.len);
        mlp_rlp_append_string(items, hash, sizeof hash);
        keep_node(builder, range, &node);
    }
    builder->failed = builder->failed || mlp_buffer_status(&node) != 0;
    mlp_buffer_clear(&node);
}

static void append_branch(struct builder *builder, struct mlp_buffer *items, struct range range)
{
    struct mlp_trie_bytes value = {0};
    size_t next = range.begin;
    if (nibbles_count(builder, next) == range.depth) /* its key ends here; sorted, it is first */
        value = builder->entries[next++].value;
    for (unsigned nibble = 0; nibble < 16; nibble++) {
        struct range child = {next, next, range.depth + 1};
        while (child.end < range.end && nibble_at(builder, child.end, range.depth) == nibble)
            child.end++;
        if (child.end > child.begin)
            append_child(builder, items, child);
        else
            mlp_rlp_append_string(items, NULL, 0);
        next = child.end;
    }
    mlp_rlp_append_string(items, value.data, value.len);
}

/* The number of nibbles that all keys of a range share. Sorted: first and last tell. */
static size_t shared_nibbles(const struct builder *builder, struct range range)
{
    size_t depth = range.depth;
    size_t last = range.end - 1;
    while (depth < nibbles_count(builder, range.begin) && depth < nibbles_count(builder, last) &&
           nibble_at(builder, range.begin, depth) == nibble_at(builder, last, depth))
        depth++;
    return depth;
}

/* Recurses at most once for each nibble of a key. */
static void append_node(struct builder *builder, struct mlp_buffer *node, struct range range)
{
    struct mlp_buffer items = {0};
    const struct mlp_trie_entry *first = &builder->entries[range.begin];
    size_t shared = shared_nibbles(builder, range);
    if (range.end - range.begin == 1) {
        append_hex_prefix(&items, first->key.data, range.depth, 2 * first->key.len, FLAG_LEAF);
        mlp_rlp_append_string(&items, first->value.data, first->value.len);
    } else if (shared > range.depth) {
        struct range child = {range.begin, range.end, shared};
        append_hex_prefix(&items, first->key.data, range.depth, shared, 0);
        append_child(builder, &items, child);
    } else {
        append_branch(builder, &items, range);
    }
    mlp_rlp_append_list(node, &items);
    mlp_buffer_clear(&items);
}

static int check_entries(const struct mlp_trie_entry *entries, size_t entries_count,
                         struct mlp_error *error)
{
    for (size_t i = 0; i < entries_count; i++) {
        const struct mlp_trie_bytes *key = &entries[i].key;
        if (key->len > MLP_TRIE_KEY_MAX || entries[i].value.len == 0)
            return mlp_fail(error, MLP_E_ARGUMENT,
                            "cannot build a trie: entry %zu has a key of more than %d bytes or an "
                            "empty value",
                            i, MLP_TRIE_KEY_MAX);
        if (i == 0)
            continue;
        const struct mlp_trie_bytes *before = &entries[i - 1].key;
        size_t common = before->len < key->len ? before->len : key->len;
        int order = common > 0 ? memcmp(before->data, key->data, common) : 0;
        if (order > 0 || (order == 0 && before->len >= key->len))
            return mlp_fail(error, MLP_E_ARGUMENT,
                            "cannot build a trie: the key of entry %zu does not follow the one "
                            "before it",
                            i);
    }
    return 0;
}

int mlp_trie_build(uint8_t root32[32], struct mlp_buffer *proof,
                   const struct mlp_trie_entry *entries, size_t entries_count, size_t target,
                   struct mlp_error *error)
{
    int status = check_entries(entries, entries_count, error);
    if (status != 0)
        return status;
    if (proof != NULL && target >= entries_count)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot prove entry %zu of a trie of %zu", target,
                        entries_count);
    struct builder *builder = calloc(1, sizeof *builder);
    if (builder == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot build a trie: out of memory");
    builder->entries = entries;
    builder->target = proof != NULL ? target : SIZE_MAX;

    struct mlp_buffer root = {0};
    struct range all = {0, entries_count, 0};
    if (entries_count == 0)
        mlp_rlp_append_string(&root, NULL, 0); /* the empty trie: Yellow Paper, equation 206 */
    else
        append_node(builder, &root, all);
    keep_node(builder, all, &root);
    if (mlp_buffer_status(&root) == 0)
        mlp_keccak256(root32, root.data, root.len);
    builder->failed = builder->failed || mlp_buffer_status(&root) != 0;
    mlp_buffer_clear(&root);
    for (size_t i = builder->path_count; i-- > 0;) {
        mlp_rlp_append_string(proof, builder->path[i].data, builder->path[i].len);
        mlp_buffer_clear(&builder->path[i]);
    }
    bool failed = builder->failed || (proof != NULL && mlp_buffer_status(proof) != 0);
    free(builder);
    return failed ? mlp_fail(error, MLP_E_MEMORY, "cannot build a trie: out of memory") : 0;
}

/* ---- lists ---- */

static size_t index_key(uint8_t key[INDEX_KEY_MAX], uint64_t index)
{
    uint8_t bytes[8];
    size_t len = 0;
    for (size_t i = 0; i < sizeof bytes; i++) {
        uint8_t byte = (uint8_t)(index >> (56 - 8 * i));
        if (byte != 0 || len > 0)
            bytes[len++] = byte;
    }
    if (len == 1 && bytes[0] < 0x80) {
        key[0] = bytes[0];
        return 1;
    }
    key[0] = (uint8_t)(0x80 + len);
    memcpy(key + 1, bytes, len);
    return 1 + len;
}

/* Which index stands at a place when keys are sorted: 1 to 127 are their own encoding, 0 is 0x80, and
 * longer ones follow in order. */
static size_t index_at_place(size_t place, size_t count)
{
    size_t singles = count < 128 ? count - 1 : 127;
    if (place < singles)
        return place + 1;
    return place == singles ? 0 : place;
}

int mlp_trie_build_list(uint8_t root32[32], struct mlp_buffer *proof,
                        const struct mlp_trie_bytes *values, size_t values_count, size_t index,
                        struct mlp_error *error)
{
    struct mlp_trie_entry *entries = calloc(values_count + 1, sizeof *entries);
    uint8_t(*keys)[INDEX_KEY_MAX] = calloc(values_count + 1, sizeof *keys);
    int status;
    if (entries == NULL || keys == NULL) {
        status = mlp_fail(error, MLP_E_MEMORY, "cannot build a trie: out of memory");
    } else {
        size_t target = values_count;
        for (size_t place = 0; place < values_count; place++) {
            size_t at = index_at_place(place, values_count);
            entries[place].key.data = keys[place];
            entries[place].key.len = index_key(keys[place], at);
            entries[place].value = values[at];
            if (at == index)
                target = place;
        }
        status = mlp_trie_build(root32, proof, entries, values_count, target, error);
    }
    free(keys);
    free(entries);
    return status;
}

/* ---- verifying ---- */

struct walk {
    const uint8_t *key;
    size_t nibbles_count;
    size_t depth;
    struct mlp_rlp_rest proof;
    struct mlp_error *error;
};

static int fail_node(struct walk *walk, const char *problem)
{
    return mlp_fail(walk->error, MLP_E_MALFORMED, "malformed trie proof: %s", problem);
}

static int fail_absent(struct walk *walk)
{
    return mlp_fail(walk->error, MLP_E_MISMATCH,
                    "the trie proof shows that there is no value under this key");
}

/* Takes the next node of the proof, which must hash to hash32. */
static int take_node(struct mlp_trie_bytes *node, struct walk *walk, const uint8_t hash32[32],
                     bool is_root)
{
    struct mlp_rlp_item item;
    uint8_t hash[MLP_KECCAK256_LEN];
    if (walk->proof.len == 0)
        return fail_node(walk, "it ends before the value");
    int status = mlp_rlp_next(&item, &walk->proof, walk->error);
    if (status != 0)
        return status;
    if (item.is_list)
        return fail_node(walk, "a node is a list where a string is expected");
    mlp_keccak256(hash, item.payload, item.payload_len);
    if (memcmp(hash, hash32, sizeof hash) != 0)
        return mlp_fail(walk->error, MLP_E_MISMATCH,
                        "a node of the trie proof is not the one that its %s names",
                        is_root ? "root" : "parent");
    if (!is_root && item.payload_len <= EMBEDDED_MAX)
        return fail_node(walk, "a node that fits its parent does not stand in it");
    node->data = item.payload;
    node->len = item.payload_len;
    return 0;
}

/* Goes to a child: what a parent's item says of it. */
static int enter_child(struct mlp_trie_bytes *node, struct walk *walk,
                       const struct mlp_rlp_item *child)
{
    if (child->is_list) {
        if (child->encoded_len > EMBEDDED_MAX)
            return fail_node(walk, "a node of 32 bytes or more stands in its parent");
        node->data = child->encoded;
        node->len = child->encoded_len;
        return 0;
    }
    if (child->payload_len == 0)
        return fail_absent(walk);
    if (child->payload_len != MLP_KECCAK256_LEN)
        return fail_node(walk, "a child is neither a node nor a hash");
    return take_node(node, walk, child->payload, false);
}

/* Follows the path of a leaf or extension.
 * Returns: as mlp_trie_verify; *is_leaf only after 0.
 */
static int follow_path(bool *is_leaf, struct walk *walk, const struct mlp_rlp_item *path)
{
    if (path->is_list || path->payload_len == 0)
        return fail_node(walk, "the path of a node is empty");
    unsigned flags = path->payload[0];
    bool odd = (flags & FLAG_ODD) != 0;
    if (flags > (FLAG_LEAF | FLAG_ODD | 15U) || (!odd && (flags & 15U) != 0))
        return fail_node(walk, "the path of a node has unknown flags");
    size_t begin = odd ? 1 : 2;
    size_t end = 2 * path->payload_len;
    *is_leaf = (flags & FLAG_LEAF) != 0;
    if (!*is_leaf && begin == end)
        return fail_node(walk, "an extension has no path");
    if (walk->nibbles_count - walk->depth < end - begin)
        return fail_absent(walk);
    for (size_t at = begin; at < end; at++, walk->depth++) {
        if (nibble_of(path->payload, at) != nibble_of(walk->key, walk->depth))
            return fail_absent(walk);
    }
    return *is_leaf && walk->depth != walk->nibbles_count ? fail_absent(walk) : 0;
}

static int take_value(struct mlp_trie_bytes *value, struct walk *walk,
                      const struct mlp_rlp_item *item)
{
    if (item->is_list)
        return fail_node(walk, "a value is a list");
    if (item->payload_len == 0)
        return fail_absent(walk);
    if (walk->proof.len != 0)
        return fail_node(walk, "it goes on after the value");
    value->data = item->payload;
    value->len = item->payload_len;
    return 0;
}

/* One step: looks at node and either finds the value (*found) or goes to the child. */
static int step(struct mlp_trie_bytes *value, bool *found, struct mlp_trie_bytes *node,
                struct walk *walk)
{
    struct mlp_rlp_item items[BRANCH_ITEMS];
    if (mlp_rlp_read_list(items, 2, node->data, node->len, NULL) == 0) {
        int status = follow_path(found, walk, &items[0]);
        if (status != 0)
            return status;
        return *found ? take_value(value, walk, &items[1]) : enter_child(node, walk, &items[1]);
    }
    int status = mlp_rlp_read_list(items, BRANCH_ITEMS, node->data, node->len, NULL);
    if (status != 0)
        return fail_node(walk, "a node is no list of 2 or 17 items");
    *found = walk->depth == walk->nibbles_count;
    if (*found)
        return take_value(value, walk, &items[BRANCH_ITEMS - 1]);
    return enter_child(node, walk, &items[nibble_of(walk->key, walk->depth++)]);
}

int mlp_trie_verify(struct mlp_trie_bytes *value, const uint8_t root32[32], const uint8_t *key,
                    size_t key_len, struct mlp_rlp_rest proof, struct mlp_error *error)
{
    struct walk walk = {key, 2 * key_len, 0, proof, error};
    struct mlp_trie_bytes node, read = {0};
    bool found = false;
    int status = take_node(&node, &walk, root32, true);
    /* Each step goes at least one nibble down, so that this ends. */
    while (status == 0 && !found)
        status = step(&read, &found, &node, &walk);
    if (status == 0)
        *value = read;
    return status;
}

int mlp_trie_verify_index(struct mlp_trie_bytes *value, const uint8_t root32[32], uint64_t index,
                          struct mlp_rlp_rest proof, struct mlp_error *error)
{
    uint8_t key[INDEX_KEY_MAX];
    size_t key_len = index_key(key, index);
    return mlp_trie_verify(value, root32, key, key_len, proof, error);
}
