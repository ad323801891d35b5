#include "codec/cbor.h"

#include "codec/utf8.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* RFC 8949 section 3: what the low five bits of a head say. */
#define INFO_DIRECT_MAX 23
#define INFO_ONE_BYTE   24
#define INFO_FLOAT      27 /* and eight bytes, of every other major type */
#define TAG_CID         42

/* ---- writing ---- */

void mlp_cbor_append_head(struct mlp_buffer *buffer, enum mlp_cbor_major major, uint64_t value)
{
    uint8_t head[9];
    size_t bytes = value <= INFO_DIRECT_MAX ? 0
                   : value <= UINT8_MAX     ? 1
                   : value <= UINT16_MAX    ? 2
                   : value <= UINT32_MAX    ? 4
                                            : 8;
    unsigned info = bytes == 0   ? (unsigned)value
                    : bytes == 1 ? INFO_ONE_BYTE
                    : bytes == 2 ? INFO_ONE_BYTE + 1
                    : bytes == 4 ? INFO_ONE_BYTE + 2
                                 : INFO_ONE_BYTE + 3;
    head[0] = (uint8_t)((unsigned)major << 5 | info);
    for (size_t i = 0; i < bytes; i++)
        head[1 + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    mlp_buffer_append(buffer, head, 1 + bytes);
}

void mlp_cbor_append_text(struct mlp_buffer *buffer, const char *text, size_t text_len)
{
    mlp_cbor_append_head(buffer, MLP_CBOR_TEXT, text_len);
    mlp_buffer_append(buffer, text, text_len);
}

void mlp_cbor_append_bytes(struct mlp_buffer *buffer, const uint8_t *bytes, size_t bytes_len)
{
    mlp_cbor_append_head(buffer, MLP_CBOR_BYTES, bytes_len);
    mlp_buffer_append(buffer, bytes, bytes_len);
}

void mlp_cbor_append_cid(struct mlp_buffer *buffer, const uint8_t cid36[MLP_CID_LEN])
{
    mlp_cbor_append_head(buffer, MLP_CBOR_TAG, TAG_CID);
    mlp_cbor_append_head(buffer, MLP_CBOR_BYTES, MLP_CID_LEN + 1);
    mlp_buffer_append(buffer, "", 1); /* multibase's identity */
    mlp_buffer_append(buffer, cid36, MLP_CID_LEN);
}

int mlp_cbor_append_float(struct mlp_buffer *buffer, double value, struct mlp_error *error)
{
    uint64_t bits;
    uint8_t bytes[9] = {MLP_CBOR_SIMPLE << 5 | INFO_FLOAT};
    if (!isfinite(value))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "DAG-CBOR has no number that is infinite or none; write a text");
    memcpy(&bits, &value, sizeof bits);
    for (size_t i = 0; i < 8; i++)
        bytes[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
    mlp_buffer_append(buffer, bytes, sizeof bytes);
    return 0;
}

int mlp_cbor_compare_keys(const void *left, size_t left_len, const void *right, size_t right_len)
{
    if (left_len != right_len)
        return left_len < right_len ? -1 : 1;
    return left_len > 0 ? memcmp(left, right, left_len) : 0;
}

/* ---- reading ---- */

static int refuse(struct mlp_error *error, const char *reason)
{
    return mlp_fail(error, MLP_E_MALFORMED, "these bytes are no DAG-CBOR: %s", reason);
}

static void skip(struct mlp_cbor_cursor *cursor, size_t len)
{
    cursor->at += len;
    cursor->left -= len;
}

static uint64_t big_endian(const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | bytes[i];
    return value;
}

static int take_simple(unsigned info, uint64_t *value, struct mlp_error *error)
{
    *value = info;
    if ((info >= MLP_CBOR_FALSE && info <= MLP_CBOR_NULL) || info == INFO_FLOAT)
        return 0;
    return refuse(error, "a simple value, or a float of fewer than 64 bits");
}

int mlp_cbor_take_head(struct mlp_cbor_cursor *cursor, enum mlp_cbor_major *major, uint64_t *value,
                       struct mlp_error *error)
{
    static const uint64_t least[] = {INFO_DIRECT_MAX + 1, UINT8_MAX + 1, UINT16_MAX + 1,
                                     (uint64_t)UINT32_MAX + 1};
    if (cursor->left == 0)
        return refuse(error, "they end within a value");
    unsigned info = cursor->at[0] & 31U;
    *major = (enum mlp_cbor_major)(cursor->at[0] >> 5);
    skip(cursor, 1);
    if (*major == MLP_CBOR_SIMPLE)
        return take_simple(info, value, error);
    if (info > INFO_ONE_BYTE + 3)
        return refuse(error, "an indefinite length");
    *value = info;
    if (info < INFO_ONE_BYTE)
        return 0;
    size_t len = (size_t)1 << (info - INFO_ONE_BYTE);
    if (cursor->left < len)
        return refuse(error, "they end within a value");
    *value = big_endian(cursor->at, len);
    skip(cursor, len);
    return *value >= least[info - INFO_ONE_BYTE] ? 0 : refuse(error, "a number has a shorter form");
}

/* A string of the length that its head says. */
static int take_string(struct mlp_cbor_cursor *cursor, uint64_t len, const uint8_t **string,
                       struct mlp_error *error)
{
    if (len > cursor->left)
        return refuse(error, "a string is cut off");
    *string = cursor->at;
    skip(cursor, (size_t)len);
    return 0;
}

static int take_cid_bytes(struct mlp_cbor_cursor *cursor, uint8_t *cid36, struct mlp_error *error)
{
    enum mlp_cbor_major major;
    const uint8_t *bytes = NULL;
    uint64_t len = 0;
    size_t used = 0;
    int status = mlp_cbor_take_head(cursor, &major, &len, error);
    if (status == 0 && (major != MLP_CBOR_BYTES || len < 1))
        status = refuse(error, "tag 42 is on no bytes");
    if (status == 0)
        status = take_string(cursor, len, &bytes, error);
    if (status == 0 && bytes[0] != 0)
        status = refuse(error, "a CID does not begin with a zero byte");
    if (status == 0)
        status = mlp_cid_read(cid36, &used, bytes + 1, (size_t)len - 1, error);
    return status != 0 || used == len - 1 ? status : refuse(error, "a CID has more behind it");
}

int mlp_cbor_take_cid(struct mlp_cbor_cursor *cursor, uint8_t cid36[MLP_CID_LEN],
                      struct mlp_error *error)
{
    enum mlp_cbor_major major;
    uint64_t tag = 0;
    int status = mlp_cbor_take_head(cursor, &major, &tag, error);
    if (status == 0 && (major != MLP_CBOR_TAG || tag != TAG_CID))
        status = refuse(error, "no CID where one has to be");
    return status != 0 ? status : take_cid_bytes(cursor, cid36, error);
}

static int check_value(struct mlp_cbor_cursor *cursor, unsigned depth, struct mlp_error *error);

static int check_float(struct mlp_cbor_cursor *cursor, struct mlp_error *error)
{
    double number;
    if (cursor->left < 8)
        return refuse(error, "they end within a value");
    uint64_t bits = big_endian(cursor->at, 8);
    memcpy(&number, &bits, sizeof number);
    skip(cursor, 8);
    return isfinite(number) ? 0 : refuse(error, "a float is infinite or no number");
}

static int check_text(struct mlp_cbor_cursor *cursor, uint64_t len, const uint8_t **text,
                      struct mlp_error *error)
{
    int status = take_string(cursor, len, text, error);
    if (status == 0 && mlp_utf8_valid_len((const char *)*text, (size_t)len) != len)
        status = refuse(error, "a text is no UTF-8");
    return status;
}

static int check_map(struct mlp_cbor_cursor *cursor, uint64_t count, unsigned depth,
                     struct mlp_error *error)
{
    const uint8_t *before = NULL;
    uint64_t before_len = 0;
    for (uint64_t i = 0; i < count; i++) {
        enum mlp_cbor_major major;
        const uint8_t *key = NULL;
        uint64_t len = 0;
        int status = mlp_cbor_take_head(cursor, &major, &len, error);
        if (status == 0 && major != MLP_CBOR_TEXT)
            status = refuse(error, "a key is no text");
        if (status == 0)
            status = check_text(cursor, len, &key, error);
        if (status == 0 && i > 0 &&
            mlp_cbor_compare_keys(before, (size_t)before_len, key, (size_t)len) >= 0)
            status = refuse(error, "keys are out of order, or one is there twice");
        if (status == 0)
            status = check_value(cursor, depth, error);
        if (status != 0)
            return status;
        before = key;
        before_len = len;
    }
    return 0;
}

static int check_array(struct mlp_cbor_cursor *cursor, uint64_t count, unsigned depth,
                       struct mlp_error *error)
{
    int status = 0;
    for (uint64_t i = 0; status == 0 && i < count; i++)
        status = check_value(cursor, depth, error);
    return status;
}

static int check_value(struct mlp_cbor_cursor *cursor, unsigned depth, struct mlp_error *error)
{
    enum mlp_cbor_major major;
    uint8_t cid36[MLP_CID_LEN];
    const uint8_t *string = NULL;
    uint64_t value = 0;
    int status = mlp_cbor_take_head(cursor, &major, &value, error);
    if (status != 0)
        return status;
    if (depth == 0)
        return refuse(error, "they are nested too deep");
    switch (major) {
    case MLP_CBOR_BYTES:
        return take_string(cursor, value, &string, error);
    case MLP_CBOR_TEXT:
        return check_text(cursor, value, &string, error);
    case MLP_CBOR_ARRAY:
        return check_array(cursor, value, depth - 1, error);
    case MLP_CBOR_MAP:
        return check_map(cursor, value, depth - 1, error);
    case MLP_CBOR_TAG:
        return value == TAG_CID ? take_cid_bytes(cursor, cid36, error)
                                : refuse(error, "a tag that is not 42");
    case MLP_CBOR_SIMPLE:
        return value == INFO_FLOAT ? check_float(cursor, error) : 0;
    default:
        return 0;
    }
}

int mlp_cbor_check(const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    struct mlp_cbor_cursor cursor = {bytes, bytes_len};
    int status = check_value(&cursor, MLP_CBOR_DEPTH_MAX, error);
    return status != 0 || cursor.left == 0 ? status
                                           : refuse(error, "there is more behind the value");
}
