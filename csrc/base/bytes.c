#include "base/bytes.h"

#include "base/status.h"

#include <stdlib.h>

void mlp_buffer_init(struct mlp_buffer *buffer)
{
    memset(buffer, 0, sizeof *buffer);
}

void mlp_buffer_clear(struct mlp_buffer *buffer)
{
    free(buffer->data);
    mlp_buffer_init(buffer);
}

int mlp_buffer_reserve(struct mlp_buffer *buffer, size_t more_len)
{
    if (buffer->failed)
        return MLP_E_MEMORY;
    if (more_len <= buffer->capacity - buffer->len)
        return 0;
    size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    while (capacity - buffer->len < more_len) {
        if (capacity > SIZE_MAX / 2) {
            buffer->failed = 1;
            return MLP_E_MEMORY;
        }
        capacity *= 2;
    }
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = 1;
        return MLP_E_MEMORY;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

void mlp_buffer_append(struct mlp_buffer *buffer, const void *bytes, size_t bytes_len)
{
    if (bytes_len == 0 || mlp_buffer_reserve(buffer, bytes_len) != 0)
        return;
    memcpy(buffer->data + buffer->len, bytes, bytes_len);
    buffer->len += bytes_len;
}

void mlp_buffer_append_text(struct mlp_buffer *buffer, const char *text)
{
    mlp_buffer_append(buffer, text, strlen(text));
}

void mlp_buffer_append_u64(struct mlp_buffer *buffer, uint64_t value)
{
    char digits[20]; /* 2^64 - 1 has 20 digits */
    size_t start = sizeof digits;
    do {
        digits[--start] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    mlp_buffer_append(buffer, digits + start, sizeof digits - start);
}

void mlp_buffer_append_hex(struct mlp_buffer *buffer, const uint8_t *bytes, size_t bytes_len)
{
    static const char digits[] = "0123456789abcdef";
    if (bytes_len > SIZE_MAX / 2 || mlp_buffer_reserve(buffer, 2 * bytes_len) != 0) {
        buffer->failed = 1;
        return;
    }
    for (size_t i = 0; i < bytes_len; i++) {
        buffer->data[buffer->len++] = (uint8_t)digits[bytes[i] >> 4];
        buffer->data[buffer->len++] = (uint8_t)digits[bytes[i] & 15];
    }
}

int mlp_buffer_status(const struct mlp_buffer *buffer)
{
    return buffer->failed ? MLP_E_MEMORY : 0;
}

int mlp_bytes_equal(const uint8_t *left, const uint8_t *right, size_t len)
{
    unsigned difference = 0;
    for (size_t i = 0; i < len; i++)
        difference |= (unsigned)(left[i] ^ right[i]);
    return difference == 0;
}
