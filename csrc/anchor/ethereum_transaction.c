#include "anchor/ethereum_transaction.h"

#include "codec/rlp.h"
#include "hash/keccak.h"

#include <inttypes.h>
#include <string.h>

#define TYPE_EIP1559 0x02

/* The places of a signed transaction's list: EIP-1559, "Specification". */
enum field {
    CHAIN_ID,
    NONCE,
    MAX_PRIORITY_FEE,
    MAX_FEE,
    GAS,
    TO,
    VALUE,
    DATA,
    ACCESS_LIST,
    Y_PARITY,
    SIGNATURE_R,
    SIGNATURE_S,
    FIELDS_COUNT,
};

/* ---- writing ---- */

static void append_intent(struct mlp_buffer *items, const struct mlp_ethereum_intent *intent)
{
    static const struct mlp_buffer no_access;
    mlp_rlp_append_uint64(items, intent->chain_id);
    mlp_rlp_append_uint64(items, intent->nonce);
    mlp_rlp_append_uint64(items, intent->max_priority_fee);
    mlp_rlp_append_uint64(items, intent->max_fee);
    mlp_rlp_append_uint64(items, intent->gas);
    mlp_rlp_append_string(items, intent->to20, intent->creates_contract ? 0 : sizeof intent->to20);
    mlp_rlp_append_number(items, intent->value32, sizeof intent->value32);
    mlp_rlp_append_string(items, intent->data, intent->data_len);
    mlp_rlp_append_list(items, &no_access);
}

/* Appends 0x02 and the list of items. */
static void append_envelope(struct mlp_buffer *raw, const struct mlp_buffer *items)
{
    static const uint8_t type = TYPE_EIP1559;
    mlp_buffer_append(raw, &type, 1);
    mlp_rlp_append_list(raw, items);
}

/* Takes items in any case. */
static int hash_of_items(uint8_t hash32[32], struct mlp_buffer *items, struct mlp_error *error)
{
    struct mlp_buffer envelope = {0};
    append_envelope(&envelope, items);
    int status = mlp_buffer_status(&envelope);
    if (status == 0)
        mlp_keccak256(hash32, envelope.data, envelope.len);
    mlp_buffer_clear(&envelope);
    mlp_buffer_clear(items);
    return status == 0 ? 0 : mlp_fail(error, status, "cannot hash a transaction: out of memory");
}

int mlp_ethereum_signing_hash(uint8_t hash32[32], const struct mlp_ethereum_intent *intent,
                              struct mlp_error *error)
{
    struct mlp_buffer items = {0};
    append_intent(&items, intent);
    return hash_of_items(hash32, &items, error);
}

int mlp_ethereum_transaction_sign(struct mlp_buffer *raw, uint8_t hash32[32],
                                  const struct mlp_ethereum_intent *intent,
                                  const struct mlp_ethereum_key *key, struct mlp_error *error)
{
    uint8_t signing_hash[32];
    struct mlp_secp256k1_signature signature;
    int status = mlp_ethereum_signing_hash(signing_hash, intent, error);
    if (status == 0)
        status = mlp_ethereum_key_sign(key, &signature, signing_hash, error);
    if (status == 0)
        status = mlp_ethereum_transaction_write(raw, hash32, intent, &signature, error);
    return status;
}

int mlp_ethereum_transaction_write(struct mlp_buffer *raw, uint8_t hash32[32],
                                   const struct mlp_ethereum_intent *intent,
                                   const struct mlp_secp256k1_signature *signature,
                                   struct mlp_error *error)
{
    struct mlp_buffer items = {0};
    size_t begin = raw->len;
    append_intent(&items, intent);
    mlp_rlp_append_uint64(&items, signature->y_parity);
    mlp_rlp_append_number(&items, signature->rs64, 32);
    mlp_rlp_append_number(&items, signature->rs64 + 32, 32);
    append_envelope(raw, &items);
    mlp_buffer_clear(&items);
    if (mlp_buffer_status(raw) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot write a transaction: out of memory");
    mlp_keccak256(hash32, raw->data + begin, raw->len - begin);
    return 0;
}

/* ---- reading ---- */

static int read_fields(struct mlp_ethereum_transaction *read, const struct mlp_rlp_item *items,
                       struct mlp_error *error)
{
    struct mlp_ethereum_intent *fields = &read->fields;
    const struct {
        uint64_t *value;
        enum field field;
    } numbers[] = {
        {&fields->chain_id, CHAIN_ID},
        {&fields->nonce, NONCE},
        {&fields->max_priority_fee, MAX_PRIORITY_FEE},
        {&fields->max_fee, MAX_FEE},
        {&fields->gas, GAS},
    };
    int status = 0;
    for (size_t i = 0; status == 0 && i < sizeof numbers / sizeof numbers[0]; i++)
        status = mlp_rlp_uint64(numbers[i].value, &items[numbers[i].field], error);
    fields->creates_contract = !items[TO].is_list && items[TO].payload_len == 0;
    if (status == 0 && !fields->creates_contract)
        status = mlp_rlp_exact(fields->to20, sizeof fields->to20, &items[TO], error);
    if (status == 0)
        status = mlp_rlp_uint256(fields->value32, &items[VALUE], error);
    if (status == 0 && items[DATA].is_list)
        status = mlp_fail(error, MLP_E_MALFORMED, "malformed transaction: its data is a list");
    if (status == 0 && !items[ACCESS_LIST].is_list)
        status =
            mlp_fail(error, MLP_E_MALFORMED, "malformed transaction: its access list is a string");
    if (status == 0 && items[ACCESS_LIST].payload_len > 0)
        status = mlp_rlp_check(items[ACCESS_LIST].encoded, items[ACCESS_LIST].encoded_len, error);
    fields->data = items[DATA].payload;
    fields->data_len = items[DATA].payload_len;
    read->has_access_list = items[ACCESS_LIST].payload_len > 0;
    return status;
}

/* What was signed are the first nine items as they stand. */
static int recover_sender(struct mlp_ethereum_transaction *read, const struct mlp_rlp_item *items,
                          struct mlp_error *error)
{
    struct mlp_secp256k1_signature signature;
    uint64_t y_parity;
    int status = mlp_rlp_uint64(&y_parity, &items[Y_PARITY], error);
    if (status == 0)
        status = mlp_rlp_uint256(signature.rs64, &items[SIGNATURE_R], error);
    if (status == 0)
        status = mlp_rlp_uint256(signature.rs64 + 32, &items[SIGNATURE_S], error);
    if (status != 0)
        return status;
    if (y_parity > 1)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed transaction: its y parity is %" PRIu64 ", 0 or 1 is expected",
                        y_parity);
    signature.y_parity = (uint8_t)y_parity;

    struct mlp_buffer signed_items = {0};
    uint8_t signing_hash[32];
    const uint8_t *end = items[ACCESS_LIST].encoded + items[ACCESS_LIST].encoded_len;
    mlp_buffer_append(&signed_items, items[CHAIN_ID].encoded,
                      (size_t)(end - items[CHAIN_ID].encoded));
    status = hash_of_items(signing_hash, &signed_items, error);
    if (status == 0)
        status = mlp_ethereum_recover(read->sender20, &signature, signing_hash, error);
    return status;
}

int mlp_ethereum_transaction_decode(struct mlp_ethereum_transaction *transaction, const void *raw,
                                    size_t raw_len, struct mlp_error *error)
{
    const uint8_t *bytes = raw;
    struct mlp_rlp_item items[FIELDS_COUNT];
    struct mlp_ethereum_transaction read;
    memset(&read, 0, sizeof read);
    if (raw_len == 0 || bytes[0] != TYPE_EIP1559)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "not a transaction of type 2 (EIP-1559), the only one that mlprov sends: "
                        "%zu bytes that begin with 0x%02x",
                        raw_len, raw_len > 0 ? bytes[0] : 0U);
    int status = mlp_rlp_read_list(items, FIELDS_COUNT, bytes + 1, raw_len - 1, error);
    if (status == 0)
        status = read_fields(&read, items, error);
    if (status == 0)
        status = recover_sender(&read, items, error);
    if (status != 0)
        return status;
    mlp_keccak256(read.hash32, raw, raw_len);
    *transaction = read;
    return 0;
}

/* ---- comparing ---- */

static int differ_number(struct mlp_error *error, const char *what, uint64_t seen,
                         uint64_t expected)
{
    return mlp_fail(error, MLP_E_MISMATCH,
                    "the signed transaction is not the one that was asked for: %s is %" PRIu64
                    ", expected %" PRIu64,
                    what, seen, expected);
}

static int differ_address(struct mlp_error *error, const char *what, const uint8_t seen20[20],
                          const uint8_t expected20[20])
{
    char seen[MLP_ETHEREUM_ADDRESS_TEXT + 1], expected[MLP_ETHEREUM_ADDRESS_TEXT + 1];
    mlp_ethereum_address_encode(seen, seen20);
    mlp_ethereum_address_encode(expected, expected20);
    return mlp_fail(error, MLP_E_MISMATCH,
                    "the signed transaction is not the one that was asked for: %s is %s, expected "
                    "%s",
                    what, seen, expected);
}

static int differ(struct mlp_error *error, const char *problem)
{
    return mlp_fail(error, MLP_E_MISMATCH,
                    "the signed transaction is not the one that was asked for: %s", problem);
}

static int compare_numbers(const struct mlp_ethereum_intent *seen,
                           const struct mlp_ethereum_intent *expected, struct mlp_error *error)
{
    const struct {
        const char *what;
        uint64_t seen, expected;
    } numbers[] = {
        {"its chain id", seen->chain_id, expected->chain_id},
        {"its nonce", seen->nonce, expected->nonce},
        {"its highest priority fee", seen->max_priority_fee, expected->max_priority_fee},
        {"its highest fee", seen->max_fee, expected->max_fee},
        {"its gas limit", seen->gas, expected->gas},
        {"the length of its data", seen->data_len, expected->data_len},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].seen != numbers[i].expected)
            return differ_number(error, numbers[i].what, numbers[i].seen, numbers[i].expected);
    }
    return 0;
}

int mlp_ethereum_transaction_compare(const struct mlp_ethereum_transaction *transaction,
                                     const struct mlp_ethereum_intent *intent,
                                     const uint8_t sender20[20], struct mlp_error *error)
{
    const struct mlp_ethereum_intent *seen = &transaction->fields;
    if (memcmp(transaction->sender20, sender20, 20) != 0)
        return differ_address(error, "its sender", transaction->sender20, sender20);
    int status = compare_numbers(seen, intent, error);
    if (status != 0)
        return status;
    if (seen->creates_contract != intent->creates_contract)
        return differ(error,
                      seen->creates_contract ? "it creates a contract" : "it creates no contract");
    if (!seen->creates_contract && memcmp(seen->to20, intent->to20, 20) != 0)
        return differ_address(error, "its receiver", seen->to20, intent->to20);
    if (memcmp(seen->value32, intent->value32, 32) != 0)
        return differ(error, "it sends another value");
    if (intent->data_len > 0 && memcmp(seen->data, intent->data, intent->data_len) != 0)
        return differ(error, "its data differ");
    if (transaction->has_access_list)
        return differ(error, "it has an access list, none is expected");
    return 0;
}
