#include "codec/varint.h"

size_t mlp_varint_write(uint8_t out[MLP_VARINT_MAX_LEN], uint64_t value)
{
    size_t len = 0;
    for (; value >= 0x80; value >>= 7)
        out[len++] = (uint8_t)(value | 0x80);
    out[len++] = (uint8_t)value;
    return len;
}

size_t mlp_varint_read(uint64_t *value, const uint8_t *bytes, size_t len)
{
    uint64_t read = 0;
    for (size_t i = 0; i < len && i < MLP_VARINT_MAX_LEN; i++) {
        read |= (uint64_t)(bytes[i] & 0x7F) << (7 * i);
        if (bytes[i] >= 0x80)
            continue;
        if (i > 0 && bytes[i] == 0)
            return 0;
        *value = read;
        return i + 1;
    }
    return 0;
}
