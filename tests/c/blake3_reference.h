/* blake3_reference.h - BLAKE3 once more, as the specification words it: slow, recursive, one block at
 * a time. The kernels, the tree and the scheduler are held to it; it shares no line with them.
 *
 * Source: BLAKE3 (2021), sections 2.1 to 2.6, tables 1 to 3.
 */
#ifndef MLP_TESTS_BLAKE3_REFERENCE_H
#define MLP_TESTS_BLAKE3_REFERENCE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    REFERENCE_CHUNK_START = 1,
    REFERENCE_CHUNK_END = 2,
    REFERENCE_PARENT = 4,
    REFERENCE_ROOT = 8,
    REFERENCE_KEYED_HASH = 16,
    REFERENCE_DERIVE_KEY_CONTEXT = 32,
    REFERENCE_DERIVE_KEY_MATERIAL = 64,
};

/* Table 1: SHA-256's initial value. */
static const uint32_t reference_iv[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                         0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

/* A key and the flags of its mode (section 2.3). */
struct reference_mode {
    uint32_t key[8];
    uint32_t flags;
};

/* The inputs of a node's last compression: what differs between a chaining value and a root. */
struct reference_node {
    uint32_t cv[8];
    uint8_t block[64];
    uint32_t block_len;
    uint64_t counter;
    uint32_t flags;
};

static inline void reference_g(uint32_t v[16], size_t a, size_t b, size_t c, size_t d, uint32_t x,
                               uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = (v[d] ^ v[a]) >> 16 | (v[d] ^ v[a]) << 16;
    v[c] += v[d];
    v[b] = (v[b] ^ v[c]) >> 12 | (v[b] ^ v[c]) << 20;
    v[a] += v[b] + y;
    v[d] = (v[d] ^ v[a]) >> 8 | (v[d] ^ v[a]) << 24;
    v[c] += v[d];
    v[b] = (v[b] ^ v[c]) >> 7 | (v[b] ^ v[c]) << 25;
}

/* Section 2.2. */
static inline void reference_compress(uint32_t out[16], const struct reference_node *node)
{
    static const size_t permutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
    uint32_t m[16];
    for (size_t i = 0; i < 16; i++)
        m[i] = (uint32_t)node->block[4 * i] | (uint32_t)node->block[4 * i + 1] << 8 |
               (uint32_t)node->block[4 * i + 2] << 16 | (uint32_t)node->block[4 * i + 3] << 24;
    uint32_t v[16];
    memcpy(v, node->cv, 32);
    memcpy(v + 8, reference_iv, 16);
    v[12] = (uint32_t)node->counter;
    v[13] = (uint32_t)(node->counter >> 32);
    v[14] = node->block_len;
    v[15] = node->flags;
    for (int round = 0; round < 7; round++) {
        for (size_t i = 0; i < 4; i++)
            reference_g(v, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1]);
        for (size_t i = 0; i < 4; i++)
            reference_g(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i],
                        m[9 + 2 * i]);
        uint32_t permuted[16];
        for (size_t i = 0; i < 16; i++)
            permuted[i] = m[permutation[i]];
        memcpy(m, permuted, sizeof m);
    }
    for (size_t i = 0; i < 8; i++) {
        out[i] = v[i] ^ v[8 + i];
        out[8 + i] = v[8 + i] ^ node->cv[i];
    }
}

static inline void reference_store(uint8_t *bytes, const uint32_t *words, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(words[i / 4] >> 8 * (i % 4));
}

static inline void reference_chaining_value(uint8_t cv32[32], const struct reference_node *node)
{
    uint32_t words[16];
    reference_compress(words, node);
    reference_store(cv32, words, 32);
}

/* Section 2.4. */
static inline struct reference_node reference_chunk(const uint8_t *data, size_t len, uint64_t chunk,
                                                    const struct reference_mode *mode)
{
    struct reference_node node = {.counter = chunk, .flags = mode->flags | REFERENCE_CHUNK_START};
    memcpy(node.cv, mode->key, 32);
    for (; len > 64; data += 64, len -= 64) {
        uint32_t words[16];
        memcpy(node.block, data, 64);
        node.block_len = 64;
        reference_compress(words, &node);
        memcpy(node.cv, words, 32);
        node.flags = mode->flags;
    }
    memset(node.block, 0, 64);
    if (len > 0)
        memcpy(node.block, data, len);
    node.block_len = (uint32_t)len;
    node.flags |= REFERENCE_CHUNK_END;
    return node;
}

/* Sections 2.1 and 2.5: the left subtree is the largest power of two of chunks that leaves a byte. */
static inline struct reference_node reference_tree(const uint8_t *data, size_t len, uint64_t chunk,
                                                   const struct reference_mode *mode)
{
    if (len <= 1024)
        return reference_chunk(data, len, chunk, mode);
    size_t left_len = 1024;
    while (left_len * 2 < len)
        left_len *= 2;
    struct reference_node left = reference_tree(data, left_len, chunk, mode);
    struct reference_node right =
        reference_tree(data + left_len, len - left_len, chunk + left_len / 1024, mode);
    struct reference_node node = {.block_len = 64, .flags = mode->flags | REFERENCE_PARENT};
    memcpy(node.cv, mode->key, 32);
    reference_chaining_value(node.block, &left);
    reference_chaining_value(node.block + 32, &right);
    return node;
}

/* Section 2.6. */
static inline void reference_hash(uint8_t *out, size_t out_len, const uint8_t *data, size_t len,
                                  const struct reference_mode *mode)
{
    struct reference_node root = reference_tree(data, len, 0, mode);
    root.flags |= REFERENCE_ROOT;
    for (uint64_t block = 0; block * 64 < out_len; block++) {
        uint32_t words[16];
        root.counter = block;
        reference_compress(words, &root);
        size_t left = out_len - (size_t)block * 64;
        reference_store(out + block * 64, words, left < 64 ? left : 64);
    }
}

static inline struct reference_mode reference_plain(void)
{
    struct reference_mode mode = {.flags = 0};
    memcpy(mode.key, reference_iv, 32);
    return mode;
}

static inline struct reference_mode reference_with_key(const uint8_t key32[32], uint32_t flags)
{
    struct reference_mode mode = {.flags = flags};
    for (size_t i = 0; i < 32; i++)
        mode.key[i / 4] |= (uint32_t)key32[i] << 8 * (i % 4);
    return mode;
}

static inline struct reference_mode reference_derived(const char *context)
{
    struct reference_mode mode = reference_plain();
    mode.flags = REFERENCE_DERIVE_KEY_CONTEXT;
    uint8_t key32[32];
    reference_hash(key32, 32, (const uint8_t *)context, strlen(context), &mode);
    return reference_with_key(key32, REFERENCE_DERIVE_KEY_MATERIAL);
}

#endif
