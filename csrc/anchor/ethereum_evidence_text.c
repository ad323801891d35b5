/* The text of evidence: docs/format.md section 14. */
#include "anchor/ethereum_evidence_internal.h"

#include "codec/base64.h"
#include "codec/json.h"
#include "codec/rlp.h"
#include "sign/ethereum_key.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT        "mlprov-ethereum-anchor"
#define VERSION       1
#define MEMBERS_COUNT 14
#define DIGEST_PREFIX "sha256:"
#define DEPTH         3

void mlp_ethereum_evidence_clear(struct mlp_ethereum_evidence *evidence)
{
    mlp_buffer_clear(&evidence->header);
    mlp_buffer_clear(&evidence->transaction_proof);
    mlp_buffer_clear(&evidence->receipt_proof);
}

/* ---- writing: members in the order of RFC 8785, so that each begins with its comma ---- */

static void append_text(struct mlp_buffer *json, const char *key, const char *prefix,
                        const char *text)
{
    mlp_buffer_append_text(json, key);
    mlp_buffer_append_text(json, "\"");
    mlp_buffer_append_text(json, prefix);
    mlp_buffer_append_text(json, text);
    mlp_buffer_append_text(json, "\"");
}

static void append_hash(struct mlp_buffer *json, const char *key, const char *prefix,
                        const uint8_t hash32[32])
{
    char digits[65];
    mlp_hex_encode(digits, hash32, 32);
    append_text(json, key, prefix, digits);
}

static void append_address(struct mlp_buffer *json, const char *key, const uint8_t address20[20])
{
    char text[MLP_ETHEREUM_ADDRESS_TEXT + 1];
    mlp_ethereum_address_encode(text, address20);
    append_text(json, key, "", text);
}

static void append_number(struct mlp_buffer *json, const char *key, uint64_t number)
{
    mlp_buffer_append_text(json, key);
    mlp_buffer_append_u64(json, number);
}

static void append_base64(struct mlp_buffer *json, const char *separator, const uint8_t *bytes,
                          size_t bytes_len)
{
    mlp_buffer_append_text(json, separator);
    mlp_buffer_append_text(json, "\"");
    mlp_base64_append(json, bytes, bytes_len);
    mlp_buffer_append_text(json, "\"");
}

static void append_proof(struct mlp_buffer *json, const char *key, const struct mlp_buffer *proof)
{
    struct mlp_rlp_rest rest = {proof->data, proof->len};
    struct mlp_rlp_item node;
    const char *separator = "";
    mlp_buffer_append_text(json, key);
    mlp_buffer_append_text(json, "[");
    while (rest.len > 0 && mlp_rlp_next(&node, &rest, NULL) == 0) {
        append_base64(json, separator, node.payload, node.payload_len);
        separator = ",";
    }
    mlp_buffer_append_text(json, "]");
}

int mlp_ethereum_evidence_encode(struct mlp_buffer *json,
                                 const struct mlp_ethereum_evidence *evidence,
                                 struct mlp_error *error)
{
    const struct mlp_ethereum_anchor *claims = &evidence->claims;
    append_hash(json, "{\"block\":", "0x", claims->block32);
    append_number(json, ",\"chain_id\":\"", claims->chain_id);
    append_address(json, "\",\"contract\":", claims->contract20);
    append_hash(json, ",\"digest\":", DIGEST_PREFIX, claims->digest32);
    append_text(json, ",\"event\":", "", mlp_ethereum_event_name(claims->event));
    append_text(json, ",\"format\":", "", FORMAT);
    append_base64(json, ",\"header\":", evidence->header.data, evidence->header.len);
    append_number(json, ",\"index\":", claims->index);
    append_number(json, ",\"log\":", claims->log);
    append_proof(json, ",\"receipt_proof\":", &evidence->receipt_proof);
    append_address(json, ",\"sender\":", claims->sender20);
    append_hash(json, ",\"transaction\":", "0x", claims->transaction32);
    append_proof(json, ",\"transaction_proof\":", &evidence->transaction_proof);
    append_number(json, ",\"version\":", VERSION);
    mlp_buffer_append_text(json, "}");
    if (mlp_buffer_status(json) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot write Ethereum evidence: out of memory");
    return 0;
}

/* ---- reading ---- */

#define WHAT "Ethereum evidence"

static int fail_text(struct mlp_error *error, const char *key, const char *expected)
{
    return mlp_fail(error, MLP_E_MALFORMED, "malformed " WHAT ": \"%s\" is not %s", key, expected);
}

static int read_hash(uint8_t hash32[32], const struct mlp_json_value *object, const char *key,
                     const char *prefix, struct mlp_error *error)
{
    const char *text;
    size_t text_len, prefix_len = strlen(prefix);
    int status = mlp_json_require_string(&text, &text_len, object, key, WHAT, error);
    if (status != 0)
        return status;
    if (text_len != prefix_len + 64 || memcmp(text, prefix, prefix_len) != 0 ||
        mlp_hex_decode(hash32, 32, text + prefix_len, 64, NULL) != 0)
        return fail_text(error, key, "a hash of 32 bytes in hexadecimal");
    return 0;
}

static int read_address(uint8_t address20[20], const struct mlp_json_value *object, const char *key,
                        struct mlp_error *error)
{
    const char *text;
    size_t text_len;
    int status = mlp_json_require_string(&text, &text_len, object, key, WHAT, error);
    if (status == 0)
        status = mlp_ethereum_address_decode(address20, text, text_len, error);
    return status;
}

static int read_place(uint64_t *place, const struct mlp_json_value *object, const char *key,
                      struct mlp_error *error)
{
    const struct mlp_json_value *value;
    int status = mlp_json_require(&value, object, key, MLP_JSON_INTEGER, WHAT, error);
    if (status != 0)
        return status;
    if (mlp_json_integer(value) < 0)
        return fail_text(error, key, "a place counted from 0");
    *place = (uint64_t)mlp_json_integer(value);
    return 0;
}

/* Appends the bytes of base64, as they are or as an RLP string. */
static int read_base64(struct mlp_buffer *bytes, bool as_rlp, const struct mlp_json_value *value,
                       const char *key, struct mlp_error *error)
{
    size_t text_len = 0, decoded_len = 0;
    const char *text = mlp_json_string(value, &text_len);
    if (text == NULL || mlp_base64_check(&decoded_len, text, text_len, NULL) != 0)
        return fail_text(error, key, "base64");
    uint8_t *decoded = malloc(decoded_len + 1);
    if (decoded == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read " WHAT ": out of memory");
    int status = mlp_base64_decode(decoded, &decoded_len, decoded_len, text, text_len, error);
    if (status == 0 && as_rlp)
        mlp_rlp_append_string(bytes, decoded, decoded_len);
    else if (status == 0)
        mlp_buffer_append(bytes, decoded, decoded_len);
    free(decoded);
    return status;
}

static int read_proof(struct mlp_buffer *proof, const struct mlp_json_value *object,
                      const char *key, struct mlp_error *error)
{
    const struct mlp_json_value *nodes;
    int status = mlp_json_require(&nodes, object, key, MLP_JSON_ARRAY, WHAT, error);
    for (size_t i = 0; status == 0 && i < mlp_json_count(nodes); i++)
        status = read_base64(proof, true, mlp_json_at(nodes, i), key, error);
    return status;
}

static int read_header(struct mlp_buffer *header, const struct mlp_json_value *object,
                       struct mlp_error *error)
{
    const struct mlp_json_value *value;
    int status = mlp_json_require(&value, object, "header", MLP_JSON_STRING, WHAT, error);
    return status != 0 ? status : read_base64(header, false, value, "header", error);
}

static int read_format(const struct mlp_json_value *object, struct mlp_error *error)
{
    const char *format;
    size_t format_len;
    uint64_t version = 0;
    int status = mlp_json_require_string(&format, &format_len, object, "format", WHAT, error);
    if (status == 0 && (format_len != strlen(FORMAT) || memcmp(format, FORMAT, format_len) != 0))
        status = fail_text(error, "format", FORMAT);
    if (status == 0)
        status = read_place(&version, object, "version", error);
    if (status == 0 && version != VERSION)
        status =
            mlp_fail(error, MLP_E_MALFORMED,
                     "cannot read " WHAT " of version %llu, only of version %d; a newer mlprov "
                     "may read it",
                     (unsigned long long)version, VERSION);
    return status;
}

static int read_event(enum mlp_ethereum_event *event, const struct mlp_json_value *object,
                      struct mlp_error *error)
{
    const char *text;
    size_t text_len;
    int status = mlp_json_require_string(&text, &text_len, object, "event", WHAT, error);
    if (status != 0)
        return status;
    for (int i = 0; i < MLP_ETHEREUM_EVENTS_COUNT; i++) {
        const char *name = mlp_ethereum_event_name((enum mlp_ethereum_event)i);
        if (strlen(name) == text_len && memcmp(name, text, text_len) == 0) {
            *event = (enum mlp_ethereum_event)i;
            return 0;
        }
    }
    return fail_text(error, "event", "the name of a contract that mlprov knows");
}

/* Digits only; what is not canonical differs when it is written again. */
static int read_chain(uint64_t *chain_id, const struct mlp_json_value *object,
                      struct mlp_error *error)
{
    const char *text;
    size_t text_len;
    int status = mlp_json_require_string(&text, &text_len, object, "chain_id", WHAT, error);
    if (status != 0)
        return status;
    *chain_id = 0;
    for (size_t i = 0; i < text_len; i++) {
        uint64_t digit = (uint64_t)text[i] - '0';
        if (text[i] < '0' || text[i] > '9' || *chain_id > (UINT64_MAX - digit) / 10)
            return fail_text(error, "chain_id", "a decimal number below 2^64");
        *chain_id = *chain_id * 10 + digit;
    }
    return 0;
}

static int read_claims(struct mlp_ethereum_anchor *claims, const struct mlp_json_value *object,
                       struct mlp_error *error)
{
    int status = read_hash(claims->block32, object, "block", "0x", error);
    if (status == 0)
        status = read_chain(&claims->chain_id, object, error);
    if (status == 0)
        status = read_address(claims->contract20, object, "contract", error);
    if (status == 0)
        status = read_hash(claims->digest32, object, "digest", DIGEST_PREFIX, error);
    if (status == 0)
        status = read_event(&claims->event, object, error);
    if (status == 0)
        status = read_place(&claims->index, object, "index", error);
    if (status == 0)
        status = read_place(&claims->log, object, "log", error);
    if (status == 0)
        status = read_address(claims->sender20, object, "sender", error);
    if (status == 0)
        status = read_hash(claims->transaction32, object, "transaction", "0x", error);
    return status;
}

static int read_object(struct mlp_ethereum_evidence *evidence, const struct mlp_json_value *object,
                       struct mlp_error *error)
{
    if (mlp_json_type(object) != MLP_JSON_OBJECT)
        return mlp_fail(error, MLP_E_MALFORMED, "malformed " WHAT ": it is %s, not an object",
                        mlp_json_type_name(mlp_json_type(object)));
    int status = read_format(object, error);
    if (status == 0)
        status = read_claims(&evidence->claims, object, error);
    if (status == 0)
        status = read_header(&evidence->header, object, error);
    if (status == 0)
        status = read_proof(&evidence->receipt_proof, object, "receipt_proof", error);
    if (status == 0)
        status = read_proof(&evidence->transaction_proof, object, "transaction_proof", error);
    if (status == 0 && mlp_json_count(object) != MEMBERS_COUNT)
        status = mlp_fail(error, MLP_E_MALFORMED, "malformed " WHAT ": it has %zu members, not %d",
                          mlp_json_count(object), MEMBERS_COUNT);
    return status;
}

/* The text must be the one that the encoder writes: no byte of it is without meaning. */
static int check_canonical(const struct mlp_ethereum_evidence *evidence, const void *json,
                           size_t json_len, struct mlp_error *error)
{
    struct mlp_buffer again = {0};
    int status = mlp_ethereum_evidence_encode(&again, evidence, error);
    if (status == 0 && (again.len != json_len || memcmp(again.data, json, json_len) != 0))
        status = mlp_fail(error, MLP_E_MALFORMED,
                          "malformed " WHAT ": it is not written in the one form of RFC 8785");
    mlp_buffer_clear(&again);
    return status;
}

int mlp_ethereum_evidence_decode(struct mlp_ethereum_evidence *evidence, const void *json,
                                 size_t json_len, struct mlp_error *error)
{
    struct mlp_json_document *document;
    int status = mlp_json_read(&document, json, json_len, MLP_ETHEREUM_EVIDENCE_MAX, DEPTH, error);
    if (status != 0)
        return status;
    status = read_object(evidence, mlp_json_root(document), error);
    mlp_json_free(document);
    return status != 0 ? status : check_canonical(evidence, json, json_len, error);
}
