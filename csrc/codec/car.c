#include "codec/car.h"

#include "codec/cbor.h"
#include "codec/varint.h"

#include <string.h>

/* ---- writing ---- */

static void append_key(struct mlp_buffer *buffer, const char *key)
{
    mlp_cbor_append_text(buffer, key, strlen(key));
}

void mlp_car_append_header(struct mlp_buffer *buffer, const uint8_t (*roots)[MLP_CID_LEN],
                           size_t roots_count)
{
    struct mlp_buffer header = {0};
    uint8_t length[MLP_VARINT_MAX_LEN];
    mlp_cbor_append_head(&header, MLP_CBOR_MAP, 2);
    append_key(&header, "roots");
    mlp_cbor_append_head(&header, MLP_CBOR_ARRAY, roots_count);
    for (size_t i = 0; i < roots_count; i++)
        mlp_cbor_append_cid(&header, roots[i]);
    append_key(&header, "version");
    mlp_cbor_append_head(&header, MLP_CBOR_UNSIGNED, 1);
    mlp_buffer_append(buffer, length, mlp_varint_write(length, header.len));
    mlp_buffer_append(buffer, header.data, header.len);
    buffer->failed |= mlp_buffer_status(&header) != 0;
    mlp_buffer_clear(&header);
}

size_t mlp_car_frame_head(uint8_t head[MLP_CAR_HEAD_MAX], const uint8_t cid36[MLP_CID_LEN],
                          size_t block_len)
{
    size_t len = mlp_varint_write(head, MLP_CID_LEN + block_len);
    memcpy(head + len, cid36, MLP_CID_LEN);
    return len + MLP_CID_LEN;
}

/* ---- reading ---- */

static int refuse(struct mlp_error *error, const char *reason)
{
    return mlp_fail(error, MLP_E_MALFORMED, "this is no CAR of version 1: %s", reason);
}

int mlp_car_read_length(size_t *used, size_t *len, const uint8_t *bytes, size_t bytes_len,
                        size_t max, struct mlp_error *error)
{
    uint64_t read = 0;
    size_t taken = mlp_varint_read(&read, bytes, bytes_len);
    if (taken == 0)
        return refuse(error, "a length is cut off, or not in the shortest form");
    if (read == 0 || read > max)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "this is no CAR of version 1 that can be read here: a header or block of "
                        "%llu bytes, at most %zu are taken",
                        (unsigned long long)read, max);
    *used = taken;
    *len = (size_t)read;
    return 0;
}

/* The key that has to be next. */
static int take_key(struct mlp_cbor_cursor *cursor, const char *key, struct mlp_error *error)
{
    enum mlp_cbor_major major;
    uint64_t len = 0;
    size_t key_len = strlen(key);
    int status = mlp_cbor_take_head(cursor, &major, &len, error);
    if (status != 0)
        return status;
    if (major != MLP_CBOR_TEXT || len != key_len || cursor->left < key_len ||
        memcmp(cursor->at, key, key_len) != 0)
        return refuse(error, "its header has other keys than roots and version");
    cursor->at += key_len;
    cursor->left -= key_len;
    return 0;
}

/* The head that has to be next, of a number or a count. */
static int take_head(struct mlp_cbor_cursor *cursor, enum mlp_cbor_major expected, uint64_t *value,
                     struct mlp_error *error)
{
    enum mlp_cbor_major major;
    int status = mlp_cbor_take_head(cursor, &major, value, error);
    if (status != 0 || major == expected)
        return status;
    return refuse(error, "its header is something else than {roots: [CID...], version: 1}");
}

static int take_version(struct mlp_cbor_cursor *cursor, struct mlp_error *error)
{
    uint64_t version = 0;
    int status = take_key(cursor, "version", error);
    if (status == 0)
        status = take_head(cursor, MLP_CBOR_UNSIGNED, &version, error);
    if (status != 0 || (version == 1 && cursor->left == 0))
        return status;
    if (version == 1)
        return refuse(error, "its header has more behind the version");
    return mlp_fail(error, MLP_E_MALFORMED,
                    "this is a CAR of version %llu, and version 1 alone is read; export it as that",
                    (unsigned long long)version);
}

int mlp_car_read_header(uint8_t (*roots)[MLP_CID_LEN], size_t *roots_count, const uint8_t *bytes,
                        size_t bytes_len, struct mlp_error *error)
{
    struct mlp_cbor_cursor cursor = {bytes, bytes_len};
    uint64_t members = 0, count = 0;
    int status = take_head(&cursor, MLP_CBOR_MAP, &members, error);
    if (status == 0 && members == 1) /* version 2 begins with {version: 2} */
        return (status = take_version(&cursor, error)) != 0 ? status : refuse(error, "no roots");
    if (status == 0 && members != 2)
        status = refuse(error, "its header has other keys than roots and version");
    if (status == 0)
        status = take_key(&cursor, "roots", error);
    if (status == 0)
        status = take_head(&cursor, MLP_CBOR_ARRAY, &count, error);
    if (status == 0 && count > MLP_CAR_ROOTS_MAX)
        status = refuse(error, "it has more than 128 roots");
    for (uint64_t i = 0; status == 0 && i < count; i++)
        status = mlp_cbor_take_cid(&cursor, roots[i], error);
    if (status == 0)
        status = take_version(&cursor, error);
    if (status == 0)
        *roots_count = (size_t)count;
    return status;
}
