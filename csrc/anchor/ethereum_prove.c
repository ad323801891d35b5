#include "anchor/ethereum_prove.h"

#include "anchor/ethereum_json.h"

#include <stdlib.h>
#include <string.h>

/* Many byte strings in one buffer, which moves while it grows: bounds first, pointers at the end. */
struct strings {
    struct mlp_buffer bytes;
    struct mlp_trie_bytes *each;
    size_t *ends;
};

static void clear_strings(struct strings *strings)
{
    mlp_buffer_clear(&strings->bytes);
    free(strings->each);
    free(strings->ends);
}

typedef int (*rebuild)(struct mlp_buffer *bytes, const struct mlp_json_value *value,
                       struct mlp_error *error);

/* Rebuilds values[i], in that order. */
static int rebuild_all(struct strings *strings, const struct mlp_json_value *const *values,
                       size_t count, rebuild one, struct mlp_error *error)
{
    strings->each = calloc(count + 1, sizeof *strings->each);
    strings->ends = calloc(count + 1, sizeof *strings->ends);
    if (strings->each == NULL || strings->ends == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot rebuild a block: out of memory");
    for (size_t i = 0; i < count; i++) {
        int status = one(&strings->bytes, values[i], error);
        if (status != 0)
            return status;
        strings->ends[i] = strings->bytes.len;
    }
    for (size_t i = 0, begin = 0; i < count; begin = strings->ends[i++]) {
        strings->each[i].data = strings->bytes.data + begin;
        strings->each[i].len = strings->ends[i] - begin;
    }
    return 0;
}

/* The receipt of each transaction, found by its transactionHash: some nodes answer in another order. */
static int match_receipts(const struct mlp_json_value **matched,
                          const struct mlp_json_value *const *transactions, size_t count,
                          const struct mlp_json_value *const *receipts, struct mlp_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const char *hash, *of;
        size_t hash_len, of_len;
        int status = mlp_json_require_string(&hash, &hash_len, transactions[i], "hash",
                                             "transaction", error);
        matched[i] = NULL;
        /* Mostly in order: begins where the transaction stands, so that this takes one look. */
        for (size_t j = 0; status == 0 && matched[i] == NULL && j < count; j++) {
            const struct mlp_json_value *receipt = receipts[(i + j) % count];
            status =
                mlp_json_require_string(&of, &of_len, receipt, "transactionHash", "receipt", error);
            if (status == 0 && of_len == hash_len && memcmp(of, hash, hash_len) == 0)
                matched[i] = receipt;
        }
        if (status != 0)
            return status;
        if (matched[i] == NULL)
            return mlp_fail(error, MLP_E_MALFORMED,
                            "cannot prove the Ethereum anchor: the node answered no receipt of "
                            "transaction %zu of the block",
                            i);
    }
    return 0;
}

static int take_header(struct mlp_buffer *header, const struct mlp_json_value *block,
                       struct mlp_trie_bytes raw_header, struct mlp_error *error)
{
    if (raw_header.data == NULL)
        return mlp_ethereum_json_header(header, block, error);
    mlp_buffer_append(header, raw_header.data, raw_header.len);
    return mlp_buffer_status(header) == 0
               ? 0
               : mlp_fail(error, MLP_E_MEMORY, "cannot rebuild a block: out of memory");
}

/* Lists every transaction of the block, then the receipt of each.
 * Returns: 0 (free *values); values has 2 x count pointers.
 */
static int list_values(const struct mlp_json_value ***values, size_t *count,
                       const struct mlp_json_value *block,
                       const struct mlp_json_value *const *receipts, size_t receipts_count,
                       struct mlp_error *error)
{
    const struct mlp_json_value *transactions;
    int status =
        mlp_json_require(&transactions, block, "transactions", MLP_JSON_ARRAY, "block", error);
    if (status != 0)
        return status;
    *count = mlp_json_count(transactions);
    if (receipts_count != *count)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "cannot prove the Ethereum anchor: the block has %zu transactions and the "
                        "node answered %zu receipts",
                        *count, receipts_count);
    const struct mlp_json_value **listed = calloc(2 * *count + 1, sizeof *listed);
    if (listed == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot rebuild a block: out of memory");
    for (size_t i = 0; i < *count; i++)
        listed[i] = mlp_json_at(transactions, i);
    status = match_receipts(listed + *count, listed, *count, receipts, error);
    if (status != 0) {
        free(listed);
        return status;
    }
    *values = listed;
    return 0;
}

int mlp_ethereum_prove(struct mlp_buffer *json, struct mlp_ethereum_anchor *anchor,
                       const struct mlp_json_value *block,
                       const struct mlp_json_value *const *receipts, size_t receipts_count,
                       struct mlp_trie_bytes raw_header, const uint8_t transaction32[32],
                       const uint8_t digest32[32], struct mlp_error *error)
{
    struct strings transactions = {0}, answers = {0};
    struct mlp_buffer header = {0};
    const struct mlp_json_value **values = NULL;
    size_t count = 0;
    int status = list_values(&values, &count, block, receipts, receipts_count, error);
    if (status == 0)
        status = take_header(&header, block, raw_header, error);
    if (status == 0)
        status = rebuild_all(&transactions, values, count, mlp_ethereum_json_transaction, error);
    if (status == 0)
        status = rebuild_all(&answers, values + count, count, mlp_ethereum_json_receipt, error);
    if (status == 0) {
        struct mlp_ethereum_block_parts parts = {
            {header.data, header.len}, transactions.each, answers.each, count};
        status = mlp_ethereum_evidence_make(json, anchor, &parts, transaction32, digest32, error);
    }
    free(values);
    clear_strings(&transactions);
    clear_strings(&answers);
    mlp_buffer_clear(&header);
    return status;
}
