/* libFuzzer target: the readers of Ethereum's bytes and of evidence. The first byte says which; what
 * follows is read. Whatever is accepted must be what our writer makes of it again, where there is one. */
#include "anchor/ethereum_block.h"
#include "anchor/ethereum_evidence.h"
#include "anchor/ethereum_prove.h"
#include "anchor/ethereum_transaction.h"
#include "anchor/trie.h"
#include "hash/keccak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    abort();
}

/* Writes an item that was checked whole; its depth is bounded by that check. */
static void append_item(struct mlp_buffer *rlp, const struct mlp_rlp_item *item)
{
    if (!item->is_list) {
        mlp_rlp_append_string(rlp, item->payload, item->payload_len);
        return;
    }
    struct mlp_buffer items = {0};
    struct mlp_rlp_rest rest = mlp_rlp_items(item);
    struct mlp_rlp_item inner;
    while (rest.len > 0 && mlp_rlp_next(&inner, &rest, NULL) == 0)
        append_item(&items, &inner);
    mlp_rlp_append_list(rlp, &items);
    mlp_buffer_clear(&items);
}

static void read_rlp(const uint8_t *data, size_t size)
{
    struct mlp_rlp_item item;
    struct mlp_buffer again = {0};
    if (mlp_rlp_check(data, size, NULL) != 0)
        return;
    if (mlp_rlp_read(&item, data, size, NULL) != 0)
        fail("checked RLP cannot be read");
    append_item(&again, &item);
    if (again.len != size || memcmp(again.data, data, size) != 0)
        fail("RLP has two encodings");
    mlp_buffer_clear(&again);
}

static void read_transaction(const uint8_t *data, size_t size)
{
    struct mlp_ethereum_transaction transaction;
    if (mlp_ethereum_transaction_decode(&transaction, data, size, NULL) == 0 &&
        mlp_ethereum_transaction_compare(&transaction, &transaction.fields, transaction.sender20,
                                         NULL) != 0 &&
        !transaction.has_access_list)
        fail("a transaction is not itself");
}

static void read_block(const uint8_t *data, size_t size)
{
    struct mlp_ethereum_header header;
    struct mlp_ethereum_receipt receipt;
    struct mlp_ethereum_log log;
    (void)mlp_ethereum_header_decode(&header, data, size, NULL);
    if (mlp_ethereum_receipt_decode(&receipt, data, size, NULL) == 0) {
        for (uint64_t place = 0; mlp_ethereum_receipt_log(&log, &receipt, place, NULL) == 0;)
            place++;
    }
}

/* The root is the hash of the first node, so that the walk goes on to what is in it. */
static void walk_trie(const uint8_t *data, size_t size)
{
    struct mlp_rlp_rest proof = {data, size}, rest = proof;
    struct mlp_rlp_item node;
    struct mlp_trie_bytes value;
    uint8_t root[MLP_KECCAK256_LEN];
    if (mlp_rlp_next(&node, &rest, NULL) != 0)
        return;
    mlp_keccak256(root, node.payload, node.payload_len);
    for (uint64_t index = 0; index < 300; index += 7) {
        if (mlp_trie_verify_index(&value, root, index, proof, NULL) == 0 &&
            (value.data < data || value.data + value.len > data + size))
            fail("a value lies outside of its proof");
    }
}

static void read_evidence(const uint8_t *data, size_t size)
{
    static const uint8_t digest[32];
    struct mlp_ethereum_anchor anchor;
    (void)mlp_ethereum_evidence_verify(&anchor, data, size, digest, NULL);
}

/* {"block": ..., "receipts": ...} as nodes answer them. */
static void read_answers(const uint8_t *data, size_t size)
{
    static const uint8_t hash[32];
    static const struct mlp_trie_bytes no_header;
    struct mlp_json_document *document;
    struct mlp_ethereum_anchor anchor;
    struct mlp_buffer json = {0};
    const struct mlp_json_value *each[16];
    if (mlp_json_read(&document, data, size, 1U << 20, 0, NULL) != 0)
        return;
    const struct mlp_json_value *block = mlp_json_get(mlp_json_root(document), "block");
    const struct mlp_json_value *receipts = mlp_json_get(mlp_json_root(document), "receipts");
    size_t count = mlp_json_count(receipts) < 16 ? mlp_json_count(receipts) : 16;
    for (size_t i = 0; i < count; i++)
        each[i] = mlp_json_at(receipts, i);
    if (block != NULL &&
        mlp_ethereum_prove(&json, &anchor, block, each, count, no_header, hash, hash, NULL) == 0)
        fail("a transaction hashes to zero");
    mlp_buffer_clear(&json);
    mlp_json_free(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(const uint8_t *data, size_t size) = {
        read_rlp, read_transaction, read_block, walk_trie, read_evidence, read_answers};
    if (size > 0)
        readers[data[0] % (sizeof readers / sizeof readers[0])](data + 1, size - 1);
    return 0;
}
