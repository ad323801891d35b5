#include "anchor/ethereum_evidence.h"

#include "anchor/ethereum_evidence_internal.h"
#include "anchor/ethereum_transaction.h"
#include "hash/keccak.h"

#include <inttypes.h>
#include <string.h>

#define TYPE_EIP1559 2

/* ---- events: the Solidity ABI specification, "Events" ---- */

/* The first topic is the hash of the signature; indexed arguments are the others. */
static const struct {
    const char *contract;
    const char *signature;
    size_t topics_count;
    size_t sender_topic; /* 0: none */
    size_t digest_topic;
} events[MLP_ETHEREUM_EVENTS_COUNT] = {
    {"AnchorStore", "Anchored(address,bytes32,uint256)", 3, 1, 2},
    {"MLProvenance", "HashStored(bytes32,string,uint256)", 2, 0, 1},
};

const char *mlp_ethereum_event_name(enum mlp_ethereum_event event)
{
    return events[event].contract;
}

void mlp_ethereum_event_topic(uint8_t topic32[32], enum mlp_ethereum_event event)
{
    mlp_keccak256(topic32, events[event].signature, strlen(events[event].signature));
}

static int fail_check(struct mlp_error *error, const char *problem)
{
    return mlp_fail(error, MLP_E_MISMATCH, "the Ethereum anchor does not hold: %s", problem);
}

int mlp_ethereum_check_log(const struct mlp_ethereum_log *log,
                           const struct mlp_ethereum_anchor *anchor, struct mlp_error *error)
{
    const char *signature = events[anchor->event].signature;
    size_t sender_topic = events[anchor->event].sender_topic;
    uint8_t signature_hash[MLP_KECCAK256_LEN], sender_word[32] = {0};
    mlp_ethereum_event_topic(signature_hash, anchor->event);
    memcpy(sender_word + 12, anchor->sender20, sizeof anchor->sender20);
    if (memcmp(log->address20, anchor->contract20, 20) != 0)
        return fail_check(error, "the event was emitted by another contract");
    if (log->topics_count != events[anchor->event].topics_count ||
        memcmp(log->topics32[0], signature_hash, 32) != 0)
        return mlp_fail(error, MLP_E_MISMATCH,
                        "the Ethereum anchor does not hold: the event is not %s", signature);
    if (sender_topic != 0 && memcmp(log->topics32[sender_topic], sender_word, 32) != 0)
        return fail_check(error, "the event names another sender than the transaction");
    if (memcmp(log->topics32[events[anchor->event].digest_topic], anchor->digest32, 32) != 0)
        return fail_check(error, "the event is about another digest");
    return 0;
}

/* ---- verifying ---- */

static int check_header(struct mlp_ethereum_header *header,
                        const struct mlp_ethereum_evidence *evidence, struct mlp_error *error)
{
    int status =
        mlp_ethereum_header_decode(header, evidence->header.data, evidence->header.len, error);
    if (status == 0 && memcmp(header->hash32, evidence->claims.block32, 32) != 0)
        status = fail_check(error, "the header does not have the block's hash");
    return status;
}

/* The transaction at the index: the one named, by the sender named, on the chain named. */
static int check_transaction(const struct mlp_ethereum_evidence *evidence,
                             const struct mlp_ethereum_header *header, struct mlp_error *error)
{
    const struct mlp_ethereum_anchor *claims = &evidence->claims;
    struct mlp_rlp_rest proof = {evidence->transaction_proof.data, evidence->transaction_proof.len};
    struct mlp_trie_bytes raw;
    struct mlp_ethereum_transaction transaction;
    int status =
        mlp_trie_verify_index(&raw, header->transactions_root32, claims->index, proof, error);
    if (status == 0)
        status = mlp_ethereum_transaction_decode(&transaction, raw.data, raw.len, error);
    if (status != 0)
        return status;
    if (memcmp(transaction.hash32, claims->transaction32, 32) != 0)
        return fail_check(error, "another transaction stands at its place in the block");
    if (transaction.fields.chain_id != claims->chain_id)
        return mlp_fail(error, MLP_E_MISMATCH,
                        "the Ethereum anchor does not hold: its transaction is for chain %" PRIu64
                        ", not %" PRIu64,
                        transaction.fields.chain_id, claims->chain_id);
    if (memcmp(transaction.sender20, claims->sender20, 20) != 0)
        return fail_check(error, "another account signed the transaction");
    if (transaction.fields.creates_contract ||
        memcmp(transaction.fields.to20, claims->contract20, 20) != 0)
        return fail_check(error, "the transaction does not call the contract");
    return 0;
}

static int read_receipt(struct mlp_ethereum_receipt *receipt, const uint8_t *bytes,
                        size_t bytes_len, struct mlp_error *error)
{
    int status = mlp_ethereum_receipt_decode(receipt, bytes, bytes_len, error);
    if (status != 0)
        return status;
    if (receipt->type != TYPE_EIP1559)
        return fail_check(error, "the receipt is of another type than the transaction");
    if (!receipt->succeeded)
        return fail_check(error, "the transaction failed");
    return 0;
}

/* The receipt at the same index: it succeeded and has the event. */
static int check_receipt(const struct mlp_ethereum_evidence *evidence,
                         const struct mlp_ethereum_header *header, struct mlp_error *error)
{
    const struct mlp_ethereum_anchor *claims = &evidence->claims;
    struct mlp_rlp_rest proof = {evidence->receipt_proof.data, evidence->receipt_proof.len};
    struct mlp_trie_bytes bytes;
    struct mlp_ethereum_receipt receipt;
    struct mlp_ethereum_log log;
    int status =
        mlp_trie_verify_index(&bytes, header->receipts_root32, claims->index, proof, error);
    if (status == 0)
        status = read_receipt(&receipt, bytes.data, bytes.len, error);
    if (status == 0)
        status = mlp_ethereum_receipt_log(&log, &receipt, claims->log, error);
    if (status == 0)
        status = mlp_ethereum_check_log(&log, claims, error);
    return status;
}

static int check_evidence(struct mlp_ethereum_anchor *anchor,
                          const struct mlp_ethereum_evidence *evidence, const uint8_t digest32[32],
                          struct mlp_error *error)
{
    struct mlp_ethereum_header header;
    if (memcmp(evidence->claims.digest32, digest32, 32) != 0)
        return fail_check(error, "it is about another digest than the one asked for");
    int status = check_header(&header, evidence, error);
    if (status == 0)
        status = check_transaction(evidence, &header, error);
    if (status == 0)
        status = check_receipt(evidence, &header, error);
    if (status != 0)
        return status;
    *anchor = evidence->claims;
    anchor->block_number = header.number;
    anchor->block_time = header.timestamp;
    return 0;
}

int mlp_ethereum_evidence_verify(struct mlp_ethereum_anchor *anchor, const void *json,
                                 size_t json_len, const uint8_t digest32[32],
                                 struct mlp_error *error)
{
    struct mlp_ethereum_evidence evidence;
    memset(&evidence, 0, sizeof evidence);
    int status = mlp_ethereum_evidence_decode(&evidence, json, json_len, error);
    if (status == 0)
        status = check_evidence(anchor, &evidence, digest32, error);
    mlp_ethereum_evidence_clear(&evidence);
    return status;
}

/* ---- making ---- */

static int find_transaction(size_t *index, const struct mlp_ethereum_block_parts *block,
                            const uint8_t transaction32[32], struct mlp_error *error)
{
    for (size_t i = 0; i < block->count; i++) {
        uint8_t hash[MLP_KECCAK256_LEN];
        mlp_keccak256(hash, block->transactions[i].data, block->transactions[i].len);
        if (memcmp(hash, transaction32, sizeof hash) == 0) {
            *index = i;
            return 0;
        }
    }
    return mlp_fail(
        error, MLP_E_MISMATCH,
        "cannot prove the Ethereum anchor: the block has %zu transactions, the anchor's "
        "is not among them",
        block->count);
}

/* Sets contract, event and log of the first event about the digest. */
static int find_event(struct mlp_ethereum_anchor *claims, const struct mlp_trie_bytes *bytes,
                      struct mlp_error *error)
{
    struct mlp_ethereum_receipt receipt;
    struct mlp_ethereum_log log;
    int status = read_receipt(&receipt, bytes->data, bytes->len, error);
    if (status != 0)
        return status;
    for (claims->log = 0; mlp_ethereum_receipt_log(&log, &receipt, claims->log, NULL) == 0;
         claims->log++) {
        memcpy(claims->contract20, log.address20, sizeof claims->contract20);
        for (int event = 0; event < MLP_ETHEREUM_EVENTS_COUNT; event++) {
            claims->event = (enum mlp_ethereum_event)event;
            if (mlp_ethereum_check_log(&log, claims, NULL) == 0)
                return 0;
        }
    }
    return fail_check(error,
                      "the transaction left no event about the digest; a repeat leaves none, "
                      "look for the first transaction");
}

static int build_proof(struct mlp_buffer *proof, const uint8_t root32[32],
                       const struct mlp_trie_bytes *values, size_t count, size_t index,
                       const char *what, struct mlp_error *error)
{
    uint8_t built[32];
    int status = mlp_trie_build_list(built, proof, values, count, index, error);
    if (status == 0 && memcmp(built, root32, 32) != 0)
        status = mlp_fail(error, MLP_E_MISMATCH,
                          "cannot prove the Ethereum anchor: the %s that the node answered do not "
                          "make the root in the block's header; ask another node",
                          what);
    return status;
}

static int fill_evidence(struct mlp_ethereum_evidence *evidence,
                         const struct mlp_ethereum_block_parts *block,
                         const uint8_t transaction32[32], struct mlp_error *error)
{
    struct mlp_ethereum_anchor *claims = &evidence->claims;
    struct mlp_ethereum_header header;
    struct mlp_ethereum_transaction transaction;
    size_t index = 0;
    int status = mlp_ethereum_header_decode(&header, block->header.data, block->header.len, error);
    if (status == 0)
        status = find_transaction(&index, block, transaction32, error);
    if (status == 0)
        status = mlp_ethereum_transaction_decode(&transaction, block->transactions[index].data,
                                                 block->transactions[index].len, error);
    if (status != 0)
        return status;
    memcpy(claims->block32, header.hash32, 32);
    memcpy(claims->transaction32, transaction32, 32);
    memcpy(claims->sender20, transaction.sender20, 20);
    claims->chain_id = transaction.fields.chain_id;
    claims->index = index;
    mlp_buffer_append(&evidence->header, block->header.data, block->header.len);
    status = find_event(claims, &block->receipts[index], error);
    if (status == 0)
        status = build_proof(&evidence->transaction_proof, header.transactions_root32,
                             block->transactions, block->count, index, "transactions", error);
    if (status == 0)
        status = build_proof(&evidence->receipt_proof, header.receipts_root32, block->receipts,
                             block->count, index, "receipts", error);
    return status;
}

int mlp_ethereum_evidence_make(struct mlp_buffer *json, struct mlp_ethereum_anchor *anchor,
                               const struct mlp_ethereum_block_parts *block,
                               const uint8_t transaction32[32], const uint8_t digest32[32],
                               struct mlp_error *error)
{
    struct mlp_ethereum_evidence evidence;
    size_t begin = json->len;
    memset(&evidence, 0, sizeof evidence);
    memcpy(evidence.claims.digest32, digest32, 32);
    int status = fill_evidence(&evidence, block, transaction32, error);
    if (status == 0)
        status = mlp_ethereum_evidence_encode(json, &evidence, error);
    mlp_ethereum_evidence_clear(&evidence);
    if (status == 0)
        status = mlp_ethereum_evidence_verify(anchor, json->data + begin, json->len - begin,
                                              digest32, error);
    if (status != 0)
        json->len = begin;
    return status;
}
