/* bytes.h - byte order and growing buffers.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_BASE_BYTES_H
#define MLP_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "mlprov hashes little-endian values where they lie; a big-endian host is not supported"
#endif

static inline uint32_t mlp_load_le32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint64_t mlp_load_le64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline void mlp_store_le32(uint8_t *bytes, uint32_t value)
{
    memcpy(bytes, &value, sizeof value);
}

static inline uint32_t mlp_load_be32(const uint8_t *bytes)
{
    return __builtin_bswap32(mlp_load_le32(bytes));
}

static inline void mlp_store_be32(uint8_t *bytes, uint32_t value)
{
    mlp_store_le32(bytes, __builtin_bswap32(value));
}

static inline void mlp_store_be16(uint8_t *bytes, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(bytes, &value, sizeof value);
}

/* A growing byte string. Zero-initialise or mlp_buffer_init; mlp_buffer_clear releases.
 * A failed allocation is sticky: later appends do nothing and mlp_buffer_status says so:
 * a writer checks once, at its end.
 */
struct mlp_buffer {
    uint8_t *data; /* owned; may be NULL while len is 0 */
    size_t len;
    size_t capacity;
    int failed;
};

void mlp_buffer_init(struct mlp_buffer *buffer);
void mlp_buffer_clear(struct mlp_buffer *buffer);
void mlp_buffer_append(struct mlp_buffer *buffer, const void *bytes, size_t bytes_len);
void mlp_buffer_append_text(struct mlp_buffer *buffer, const char *text);
void mlp_buffer_append_u64(struct mlp_buffer *buffer, uint64_t value); /* decimal digits */
void mlp_buffer_append_hex(struct mlp_buffer *buffer, const uint8_t *bytes, size_t bytes_len);

/* Makes room for more_len bytes at data + len.
 * Returns: 0 or MLP_E_MEMORY (and marks failed).
 */
int mlp_buffer_reserve(struct mlp_buffer *buffer, size_t more_len);

/* Returns: 0, or MLP_E_MEMORY when any append since init failed. */
int mlp_buffer_status(const struct mlp_buffer *buffer);

/* Equality in time that depends on len alone.
 * Returns: 1 if equal, else 0.
 */
int mlp_bytes_equal(const uint8_t *left, const uint8_t *right, size_t len);

#endif
