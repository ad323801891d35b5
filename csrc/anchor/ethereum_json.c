#include "anchor/ethereum_json.h"

#include "codec/rlp.h"
#include "hash/keccak.h"

#include <stdbool.h>
#include <string.h>

enum kind {
    BYTES,      /* DATA: as it is; null is empty */
    NUMBER,     /* QUANTITY: without leading zeros */
    OPTIONAL_B, /* a field that a fork added: where it is missing the list ends */
    OPTIONAL_N,
    PARITY,     /* "yParity", or "v" where a node leaves it out */
    BYTES_LIST, /* an array of DATA */
    OBJECTS,    /* an array of objects with the members of inner */
    END,
};

struct member {
    const char *key;
    enum kind kind;
    const struct member *inner;
};

static const struct member header_members[] = {
    {"parentHash", BYTES, NULL},
    {"sha3Uncles", BYTES, NULL},
    {"miner", BYTES, NULL},
    {"stateRoot", BYTES, NULL},
    {"transactionsRoot", BYTES, NULL},
    {"receiptsRoot", BYTES, NULL},
    {"logsBloom", BYTES, NULL},
    {"difficulty", NUMBER, NULL},
    {"number", NUMBER, NULL},
    {"gasLimit", NUMBER, NULL},
    {"gasUsed", NUMBER, NULL},
    {"timestamp", NUMBER, NULL},
    {"extraData", BYTES, NULL},
    {"mixHash", BYTES, NULL},
    {"nonce", BYTES, NULL},
    {"baseFeePerGas", OPTIONAL_N, NULL},         /* EIP-1559 */
    {"withdrawalsRoot", OPTIONAL_B, NULL},       /* EIP-4895 */
    {"blobGasUsed", OPTIONAL_N, NULL},           /* EIP-4844 */
    {"excessBlobGas", OPTIONAL_N, NULL},         /* EIP-4844 */
    {"parentBeaconBlockRoot", OPTIONAL_B, NULL}, /* EIP-4788 */
    {"requestsHash", OPTIONAL_B, NULL},          /* EIP-7685 */
    {NULL, END, NULL},
};

static const struct member log_members[] = {
    {"address", BYTES, NULL},
    {"topics", BYTES_LIST, NULL},
    {"data", BYTES, NULL},
    {NULL, END, NULL},
};
static const struct member receipt_members[] = {
    {"status", NUMBER, NULL},   {"cumulativeGasUsed", NUMBER, NULL},
    {"logsBloom", BYTES, NULL}, {"logs", OBJECTS, log_members},
    {NULL, END, NULL},
};

static const struct member access_members[] = {
    {"address", BYTES, NULL},
    {"storageKeys", BYTES_LIST, NULL},
    {NULL, END, NULL},
};
static const struct member authorization_members[] = {
    {"chainId", NUMBER, NULL}, {"address", BYTES, NULL}, {"nonce", NUMBER, NULL},
    {"yParity", PARITY, NULL}, {"r", NUMBER, NULL},      {"s", NUMBER, NULL},
    {NULL, END, NULL},
};

#define CALL_MEMBERS                                                                               \
    {"gas", NUMBER, NULL}, {"to", BYTES, NULL}, {"value", NUMBER, NULL},                           \
    {                                                                                              \
        "input", BYTES, NULL                                                                       \
    }
#define MARKET_MEMBERS                                                                             \
    {"chainId", NUMBER, NULL}, {"nonce", NUMBER, NULL}, {"maxPriorityFeePerGas", NUMBER, NULL},    \
        {"maxFeePerGas", NUMBER, NULL}, CALL_MEMBERS,                                              \
    {                                                                                              \
        "accessList", OBJECTS, access_members                                                      \
    }
#define SIGNATURE_MEMBERS                                                                          \
    {"yParity", PARITY, NULL}, {"r", NUMBER, NULL}, {"s", NUMBER, NULL},                           \
    {                                                                                              \
        NULL, END, NULL                                                                            \
    }

static const struct member legacy_members[] = {
    {"nonce", NUMBER, NULL}, {"gasPrice", NUMBER, NULL}, CALL_MEMBERS,      {"v", NUMBER, NULL},
    {"r", NUMBER, NULL},     {"s", NUMBER, NULL},        {NULL, END, NULL},
};
static const struct member access_list_members[] = {
    {"chainId", NUMBER, NULL},
    {"nonce", NUMBER, NULL},
    {"gasPrice", NUMBER, NULL},
    CALL_MEMBERS,
    {"accessList", OBJECTS, access_members},
    SIGNATURE_MEMBERS,
};
static const struct member market_members[] = {MARKET_MEMBERS, SIGNATURE_MEMBERS};
static const struct member blob_members[] = {MARKET_MEMBERS,
                                             {"maxFeePerBlobGas", NUMBER, NULL},
                                             {"blobVersionedHashes", BYTES_LIST, NULL},
                                             SIGNATURE_MEMBERS};
static const struct member set_code_members[] = {
    MARKET_MEMBERS, {"authorizationList", OBJECTS, authorization_members}, SIGNATURE_MEMBERS};

/* By type: EIP-2718's registry. */
static const struct member *const transaction_members[] = {
    legacy_members, access_list_members, market_members, blob_members, set_code_members};
#define TYPES_COUNT (sizeof transaction_members / sizeof transaction_members[0])

/* ---- hexadecimal text ---- */

static int digit_of(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    return character >= 'A' && character <= 'F' ? character - 'A' + 10 : -1;
}

/* Appends the bytes of "0x..."; an odd number of digits, as quantities have, begins with half a byte.
 * In either case: whatever a node writes, it is the hashes that decide. */
static bool append_hex(struct mlp_buffer *bytes, const char *text, size_t text_len)
{
    if (text_len < 2 || memcmp(text, "0x", 2) != 0)
        return false;
    uint8_t byte = 0;
    for (size_t i = 2; i < text_len; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0)
            return false;
        byte = (uint8_t)(byte << 4 | digit);
        if ((text_len - i) % 2 != 0) {
            mlp_buffer_append(bytes, &byte, 1);
            byte = 0;
        }
    }
    return true;
}

/* ---- members ---- */

static int append_members(struct mlp_buffer *items, const struct mlp_json_value *object,
                          const struct member *members, struct mlp_error *error);

static int fail_member(const char *key, struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_MALFORMED,
                    "cannot rebuild what the node answered: its member \"%s\" is missing or of "
                    "another kind than expected",
                    key);
}

static int append_text(struct mlp_buffer *items, const struct mlp_json_value *value,
                       const char *key, bool number, struct mlp_error *error)
{
    size_t text_len = 0;
    const char *text = mlp_json_string(value, &text_len);
    struct mlp_buffer bytes = {0};
    if (text == NULL || !append_hex(&bytes, text, text_len)) {
        mlp_buffer_clear(&bytes);
        return fail_member(key, error);
    }
    if (number)
        mlp_rlp_append_number(items, bytes.data, bytes.len);
    else
        mlp_rlp_append_string(items, bytes.data, bytes.len);
    items->failed |= mlp_buffer_status(&bytes) != 0;
    mlp_buffer_clear(&bytes);
    return 0;
}

static int append_array(struct mlp_buffer *items, const struct mlp_json_value *value,
                        const struct member *member, struct mlp_error *error)
{
    struct mlp_buffer elements = {0};
    int status = mlp_json_type(value) == MLP_JSON_ARRAY ? 0 : fail_member(member->key, error);
    for (size_t i = 0; status == 0 && i < mlp_json_count(value); i++) {
        const struct mlp_json_value *element = mlp_json_at(value, i);
        if (member->kind == BYTES_LIST) {
            status = append_text(&elements, element, member->key, false, error);
        } else {
            struct mlp_buffer inner = {0};
            status = append_members(&inner, element, member->inner, error);
            mlp_rlp_append_list(&elements, &inner);
            mlp_buffer_clear(&inner);
        }
    }
    mlp_rlp_append_list(items, &elements);
    mlp_buffer_clear(&elements);
    return status;
}

static bool is_absent(const struct mlp_json_value *value)
{
    return value == NULL || mlp_json_type(value) == MLP_JSON_NULL;
}

static int append_member(struct mlp_buffer *items, const struct mlp_json_value *object,
                         const struct member *member, struct mlp_error *error)
{
    const struct mlp_json_value *value = mlp_json_get(object, member->key);
    if (value == NULL && member->kind == PARITY)
        value = mlp_json_get(object, "v");
    if (value == NULL)
        return fail_member(member->key, error);
    if (member->kind == BYTES_LIST || member->kind == OBJECTS)
        return append_array(items, value, member, error);
    if (member->kind == BYTES && is_absent(value)) { /* "to" of a new contract */
        mlp_rlp_append_string(items, NULL, 0);
        return 0;
    }
    bool number = member->kind != BYTES && member->kind != OPTIONAL_B;
    return append_text(items, value, member->key, number, error);
}

static int append_members(struct mlp_buffer *items, const struct mlp_json_value *object,
                          const struct member *members, struct mlp_error *error)
{
    int status = 0;
    for (; status == 0 && members->kind != END; members++) {
        bool optional = members->kind == OPTIONAL_B || members->kind == OPTIONAL_N;
        if (optional && is_absent(mlp_json_get(object, members->key)))
            break;
        status = append_member(items, object, members, error);
    }
    return status;
}

/* ---- the three ---- */

/* Appends prefix (where not 0) and the list of an object's members. */
static int append_object(struct mlp_buffer *bytes, uint8_t type,
                         const struct mlp_json_value *object, const struct member *members,
                         struct mlp_error *error)
{
    struct mlp_buffer items = {0};
    int status = append_members(&items, object, members, error);
    if (status == 0) {
        if (type != 0)
            mlp_buffer_append(bytes, &type, 1);
        mlp_rlp_append_list(bytes, &items);
        if (mlp_buffer_status(bytes) != 0)
            status = mlp_fail(error, MLP_E_MEMORY,
                              "cannot rebuild what the node answered: out of memory");
    }
    mlp_buffer_clear(&items);
    return status;
}

/* The type of a transaction or of its receipt; a node that gives none is older than EIP-2718. */
static int read_type(uint8_t *type, const struct mlp_json_value *object, struct mlp_error *error)
{
    const struct mlp_json_value *value = mlp_json_get(object, "type");
    struct mlp_buffer bytes = {0};
    size_t text_len = 0;
    *type = 0;
    if (value == NULL)
        return 0;
    const char *text = mlp_json_string(value, &text_len);
    bool known = text != NULL && append_hex(&bytes, text, text_len) && bytes.len == 1 &&
                 bytes.data[0] < TYPES_COUNT;
    if (known)
        *type = bytes.data[0];
    mlp_buffer_clear(&bytes);
    if (!known)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "cannot rebuild the block: it has a transaction of type %.*s, and mlprov "
                        "knows 0x0 to 0x%zx",
                        text != NULL && text_len < 20 ? (int)text_len : 1,
                        text != NULL ? text : "?", TYPES_COUNT - 1);
    return 0;
}

int mlp_ethereum_json_transaction(struct mlp_buffer *raw, const struct mlp_json_value *transaction,
                                  struct mlp_error *error)
{
    uint8_t type;
    int status = read_type(&type, transaction, error);
    if (status != 0)
        return status;
    return append_object(raw, type, transaction, transaction_members[type], error);
}

int mlp_ethereum_json_receipt(struct mlp_buffer *bytes, const struct mlp_json_value *receipt,
                              struct mlp_error *error)
{
    uint8_t type;
    int status = read_type(&type, receipt, error);
    if (status != 0)
        return status;
    return append_object(bytes, type, receipt, receipt_members, error);
}

int mlp_ethereum_json_header(struct mlp_buffer *rlp, const struct mlp_json_value *block,
                             struct mlp_error *error)
{
    size_t begin = rlp->len, text_len;
    struct mlp_buffer claimed = {0};
    const char *text;
    int status = mlp_json_require_string(&text, &text_len, block, "hash", "block", error);
    if (status == 0 && !append_hex(&claimed, text, text_len))
        status = fail_member("hash", error);
    if (status == 0)
        status = append_object(rlp, 0, block, header_members, error);
    if (status == 0) {
        uint8_t hash[MLP_KECCAK256_LEN];
        mlp_keccak256(hash, rlp->data + begin, rlp->len - begin);
        if (claimed.len != sizeof hash || memcmp(claimed.data, hash, sizeof hash) != 0)
            status =
                mlp_fail(error, MLP_E_MISMATCH,
                         "the block's header does not make its hash %.*s: a later fork may have "
                         "added fields; ask the node's debug_getRawHeader for its bytes",
                         text_len < 80 ? (int)text_len : 80, text);
    }
    mlp_buffer_clear(&claimed);
    return status;
}
