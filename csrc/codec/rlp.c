#include "codec/rlp.h"

#define SHORT_STRING 0x80 /* prefix of the empty string; 0x80 + length up to 55 */
#define LONG_STRING  0xb7 /* + length of the length, 1 to 8 */
#define SHORT_LIST   0xc0
#define LONG_LIST    0xf7
#define SHORT_MAX    55

/* Returns a constant: the compiler then sees that outputs are set where the answer is 0. */
static int fail_rlp(struct mlp_error *error, const char *problem)
{
    (void)mlp_fail(error, MLP_E_MALFORMED, "malformed RLP: %s", problem);
    return MLP_E_MALFORMED;
}

struct mlp_rlp_rest mlp_rlp_items(const struct mlp_rlp_item *list)
{
    struct mlp_rlp_rest rest = {list->payload, list->is_list ? list->payload_len : 0};
    return rest;
}

/* Reads a length of length_len bytes, which stands in rest after the prefix. */
static int read_long_length(size_t *payload_len, const struct mlp_rlp_rest *rest, size_t length_len,
                            struct mlp_error *error)
{
    if (length_len > rest->len - 1)
        return fail_rlp(error, "it ends within a length");
    if (rest->bytes[1] == 0)
        return fail_rlp(error, "a length has leading zeros");
    uint64_t length = 0; /* at most 8 bytes: a prefix knows no more */
    for (size_t i = 0; i < length_len; i++)
        length = length << 8 | rest->bytes[1 + i];
    if (length <= SHORT_MAX)
        return fail_rlp(error, "a length of at most 55 is written in the long form");
    if (length > rest->len - 1 - length_len)
        return fail_rlp(error, "an item is longer than what holds it");
    *payload_len = (size_t)length;
    return 0;
}

int mlp_rlp_next(struct mlp_rlp_item *item, struct mlp_rlp_rest *rest, struct mlp_error *error)
{
    if (rest->len == 0)
        return fail_rlp(error, "it ends where an item is expected");
    uint8_t prefix = rest->bytes[0];
    bool is_list = prefix >= SHORT_LIST;
    unsigned base = is_list ? SHORT_LIST : SHORT_STRING;
    size_t prefix_len = 1, payload_len = 1;
    if (prefix < SHORT_STRING) {
        prefix_len = 0; /* the byte is its own encoding */
    } else if (prefix - base <= SHORT_MAX) {
        payload_len = prefix - base;
        if (payload_len > rest->len - 1)
            return fail_rlp(error, "an item is longer than what holds it");
        if (!is_list && payload_len == 1 && rest->bytes[1] < SHORT_STRING)
            return fail_rlp(error, "a single byte below 0x80 is written with a prefix");
    } else {
        size_t length_len = (size_t)prefix - (is_list ? LONG_LIST : LONG_STRING);
        int status = read_long_length(&payload_len, rest, length_len, error);
        if (status != 0)
            return status;
        prefix_len = 1 + length_len;
    }
    item->is_list = is_list;
    item->payload = rest->bytes + prefix_len;
    item->payload_len = payload_len;
    item->encoded = rest->bytes;
    item->encoded_len = prefix_len + payload_len;
    rest->bytes += item->encoded_len;
    rest->len -= item->encoded_len;
    return 0;
}

int mlp_rlp_read(struct mlp_rlp_item *item, const void *bytes, size_t bytes_len,
                 struct mlp_error *error)
{
    struct mlp_rlp_item read;
    struct mlp_rlp_rest rest = {bytes, bytes_len};
    int status = mlp_rlp_next(&read, &rest, error);
    if (status != 0)
        return status;
    if (rest.len != 0)
        return fail_rlp(error, "there are bytes after the item");
    *item = read;
    return 0;
}

int mlp_rlp_check(const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    struct mlp_rlp_rest rests[MLP_RLP_DEPTH_MAX + 1];
    struct mlp_rlp_item item;
    int status = mlp_rlp_read(&item, bytes, bytes_len, error);
    if (status != 0 || !item.is_list)
        return status;
    size_t depth = 1;
    rests[0] = mlp_rlp_items(&item);
    while (depth > 0) {
        struct mlp_rlp_rest *rest = &rests[depth - 1];
        if (rest->len == 0) {
            depth--;
            continue;
        }
        status = mlp_rlp_next(&item, rest, error);
        if (status != 0)
            return status;
        if (!item.is_list)
            continue;
        if (depth == MLP_RLP_DEPTH_MAX)
            return fail_rlp(error, "lists are nested more than 64 deep");
        rests[depth++] = mlp_rlp_items(&item);
    }
    return 0;
}

int mlp_rlp_read_list(struct mlp_rlp_item *items, size_t items_count, const void *bytes,
                      size_t bytes_len, struct mlp_error *error)
{
    struct mlp_rlp_item list;
    int status = mlp_rlp_read(&list, bytes, bytes_len, error);
    if (status != 0)
        return status;
    if (!list.is_list)
        return fail_rlp(error, "a string stands where a list is expected");
    struct mlp_rlp_rest rest = mlp_rlp_items(&list);
    for (size_t i = 0; i < items_count; i++) {
        status = mlp_rlp_next(&items[i], &rest, error);
        if (status != 0)
            return status;
    }
    return rest.len == 0 ? 0 : fail_rlp(error, "a list has more items than expected");
}

/* ---- what a string says ---- */

int mlp_rlp_exact(uint8_t *out, size_t out_len, const struct mlp_rlp_item *item,
                  struct mlp_error *error)
{
    if (item->is_list || item->payload_len != out_len)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed RLP: a %s of %zu bytes stands where %zu bytes are expected",
                        item->is_list ? "list" : "string", item->payload_len, out_len);
    memcpy(out, item->payload, out_len);
    return 0;
}

static int check_number(const struct mlp_rlp_item *item, size_t max_len, struct mlp_error *error)
{
    if (item->is_list)
        return fail_rlp(error, "a list stands where a number is expected");
    if (item->payload_len > max_len)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed RLP: a number has %zu bytes, at most %zu are allowed",
                        item->payload_len, max_len);
    if (item->payload_len > 0 && item->payload[0] == 0)
        return fail_rlp(error, "a number has leading zeros");
    return 0;
}

int mlp_rlp_uint64(uint64_t *value, const struct mlp_rlp_item *item, struct mlp_error *error)
{
    int status = check_number(item, sizeof *value, error);
    if (status != 0)
        return status;
    *value = 0;
    for (size_t i = 0; i < item->payload_len; i++)
        *value = *value << 8 | item->payload[i];
    return 0;
}

int mlp_rlp_uint256(uint8_t value32[32], const struct mlp_rlp_item *item, struct mlp_error *error)
{
    int status = check_number(item, 32, error);
    if (status != 0)
        return status;
    memset(value32, 0, 32);
    if (item->payload_len > 0)
        memcpy(value32 + 32 - item->payload_len, item->payload, item->payload_len);
    return 0;
}

/* ---- writing ---- */

static void append_prefix(struct mlp_buffer *rlp, unsigned base, size_t payload_len)
{
    if (payload_len <= SHORT_MAX) {
        uint8_t prefix = (uint8_t)(base + payload_len);
        mlp_buffer_append(rlp, &prefix, 1);
        return;
    }
    uint8_t prefix[1 + sizeof payload_len];
    size_t length_len = 0;
    for (size_t rest = payload_len; rest != 0; rest >>= 8)
        length_len++;
    prefix[0] = (uint8_t)(base + SHORT_MAX + length_len);
    for (size_t i = 0; i < length_len; i++)
        prefix[1 + i] = (uint8_t)(payload_len >> 8 * (length_len - 1 - i));
    mlp_buffer_append(rlp, prefix, 1 + length_len);
}

void mlp_rlp_append_string(struct mlp_buffer *rlp, const void *bytes, size_t bytes_len)
{
    if (bytes_len != 1 || *(const uint8_t *)bytes >= SHORT_STRING)
        append_prefix(rlp, SHORT_STRING, bytes_len);
    mlp_buffer_append(rlp, bytes, bytes_len);
}

void mlp_rlp_append_number(struct mlp_buffer *rlp, const uint8_t *bytes, size_t bytes_len)
{
    while (bytes_len > 0 && bytes[0] == 0) {
        bytes++;
        bytes_len--;
    }
    mlp_rlp_append_string(rlp, bytes, bytes_len);
}

void mlp_rlp_append_uint64(struct mlp_buffer *rlp, uint64_t value)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
    mlp_rlp_append_number(rlp, bytes, sizeof bytes);
}

void mlp_rlp_append_list(struct mlp_buffer *rlp, const struct mlp_buffer *items)
{
    append_prefix(rlp, SHORT_LIST, items->len);
    mlp_buffer_append(rlp, items->data, items->len);
    if (mlp_buffer_status(items) != 0)
        rlp->failed = 1;
}
