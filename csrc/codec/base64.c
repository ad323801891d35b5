#include "codec/base64.h"

#include <string.h>

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void mlp_base64_append(struct mlp_buffer *text, const void *bytes, size_t bytes_len)
{
    const uint8_t *next = bytes;
    for (; bytes_len > 0; next += 3) {
        size_t taken = bytes_len < 3 ? bytes_len : 3;
        uint32_t bits = (uint32_t)next[0] << 16 | (taken > 1 ? (uint32_t)next[1] << 8 : 0) |
                        (taken > 2 ? next[2] : 0);
        char group[4] = {base64_alphabet[bits >> 18], base64_alphabet[bits >> 12 & 63],
                         taken > 1 ? base64_alphabet[bits >> 6 & 63] : '=',
                         taken > 2 ? base64_alphabet[bits & 63] : '='};
        mlp_buffer_append(text, group, sizeof group);
        bytes_len -= taken;
    }
}

/* Returns: 0..63, or 64 for a character outside the alphabet. */
static uint32_t value_of(char character)
{
    if (character >= 'A' && character <= 'Z')
        return (uint32_t)(character - 'A');
    if (character >= 'a' && character <= 'z')
        return (uint32_t)(character - 'a') + 26;
    if (character >= '0' && character <= '9')
        return (uint32_t)(character - '0') + 52;
    return character == '+' ? 62 : character == '/' ? 63 : 64;
}

/* Decodes one group of four characters into up to three bytes; last: padding is allowed.
 * Returns: how many bytes, or 0 where it is no canonical group. */
static size_t decode_group(uint8_t bytes[3], const char *group, bool last)
{
    size_t padding = !last || group[3] != '=' ? 0 : group[2] != '=' ? 1 : 2;
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        uint32_t value = i < 4 - padding ? value_of(group[i]) : 0;
        if (value > 63)
            return 0;
        bits = bits << 6 | value;
    }
    /* RFC 4648 section 3.5: bits under the padding must be zero, or several texts mean the same
     * bytes. */
    if ((padding == 1 && (bits & 0xFF) != 0) || (padding == 2 && (bits & 0xFFFF) != 0))
        return 0;
    bytes[0] = (uint8_t)(bits >> 16);
    bytes[1] = (uint8_t)(bits >> 8);
    bytes[2] = (uint8_t)bits;
    return 3 - padding;
}

/* out may be NULL to check alone. The caller has room for 3 bytes for every 4 characters of text.
 */
static int decode_all(uint8_t *out, size_t *out_len, const char *text, size_t text_len,
                      struct mlp_error *error)
{
    if (text_len % 4 != 0)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "not base64: %zu characters are no multiple of four", text_len);
    size_t len = 0;
    for (size_t i = 0; i < text_len; i += 4) {
        uint8_t bytes[3];
        size_t count = decode_group(bytes, text + i, i + 4 == text_len);
        if (count == 0)
            return mlp_fail(error, MLP_E_MALFORMED,
                            "not canonical base64: characters %zu to %zu of %zu", i + 1, i + 4,
                            text_len);
        if (out != NULL)
            memcpy(out + len, bytes, count);
        len += count;
    }
    *out_len = len;
    return 0;
}

int mlp_base64_check(size_t *decoded_len, const char *text, size_t text_len,
                     struct mlp_error *error)
{
    return decode_all(NULL, decoded_len, text, text_len, error);
}

int mlp_base64_decode(uint8_t *out, size_t *out_len, size_t out_size, const char *text,
                      size_t text_len, struct mlp_error *error)
{
    size_t needed = 0;
    int status = mlp_base64_check(&needed, text, text_len, error);
    if (status != 0)
        return status;
    if (needed > out_size)
        return mlp_fail(error, MLP_E_RANGE, "base64 of %zu bytes where at most %zu are expected",
                        needed, out_size);
    return decode_all(out, out_len, text, text_len, error);
}

/* ---- hexadecimal ---- */

static int digit_of(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

int mlp_hex_decode(uint8_t *out, size_t out_len, const char *text, size_t text_len,
                   struct mlp_error *error)
{
    if (text_len / 2 != out_len || text_len % 2 != 0)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "%zu hexadecimal digits where %zu bytes are expected", text_len, out_len);
    for (size_t i = 0; i < text_len; i++) {
        if (digit_of(text[i]) < 0)
            return mlp_fail(error, MLP_E_MALFORMED,
                            "character %zu of %zu is no lower-case hexadecimal digit", i + 1,
                            text_len);
    }
    for (size_t i = 0; i < out_len; i++)
        out[i] = (uint8_t)(digit_of(text[2 * i]) * 16 + digit_of(text[2 * i + 1]));
    return 0;
}

void mlp_hex_encode(char *text, const uint8_t *bytes, size_t bytes_len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes_len; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * bytes_len] = '\0';
}
