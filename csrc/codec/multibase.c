#include "codec/multibase.h"

#include <stdbool.h>
#include <string.h>

static const char base16[] = "0123456789abcdef";
static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char base36[] = "0123456789abcdefghijklmnopqrstuvwxyz";
static const char base58[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

#define DIGITS_MAX (MLP_MULTIBASE_TEXT_MAX - 1)

/* Returns: the digit that a character is; -1: none. */
static int digit_of(const char *alphabet, char character)
{
    const char *at = character != '\0' ? strchr(alphabet, character) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

/* ---- bits: base16, base32 ---- */

static void encode_bits(char *text, const char *alphabet, unsigned width, const uint8_t *bytes,
                        size_t bytes_len)
{
    unsigned bits = 0, held = 0, mask = (1U << width) - 1;
    for (size_t i = 0; i < bytes_len; i++) {
        bits = (bits << 8 | bytes[i]) & 0xFFFU;
        for (held += 8; held >= width;) {
            held -= width;
            *text++ = alphabet[bits >> held & mask];
        }
    }
    if (held > 0)
        *text++ = alphabet[bits << (width - held) & mask];
    *text = '\0';
}

static size_t decode_bits(uint8_t *bytes, const char *alphabet, unsigned width, const char *text,
                          size_t text_len)
{
    unsigned bits = 0, held = 0;
    size_t len = 0;
    for (size_t i = 0; i < text_len; i++) {
        int digit = digit_of(alphabet, text[i]);
        if (digit < 0 || len == MLP_MULTIBASE_BYTES_MAX)
            return 0;
        bits = (bits << width | (unsigned)digit) & 0xFFFU;
        held += width;
        if (held >= 8) {
            held -= 8;
            bytes[len++] = (uint8_t)(bits >> held);
        }
    }
    /* One text for each byte string: no surplus character, no bits that stand for nothing. */
    return held < width && (bits & ((1U << held) - 1)) == 0 ? len : 0;
}

/* ---- numbers: base36, base58 ---- */

/* Multiplies a little-endian number by factor and adds carry.
 * Returns: its new length; more than room: it does not fit. */
static size_t multiply_add(uint8_t *number, size_t len, size_t room, unsigned radix,
                           unsigned factor, unsigned carry)
{
    for (size_t j = 0; j < len; j++) {
        carry += factor * number[j];
        number[j] = (uint8_t)(carry % radix);
        carry /= radix;
    }
    for (; carry != 0; carry /= radix) {
        if (len == room)
            return room + 1;
        number[len++] = (uint8_t)(carry % radix);
    }
    return len;
}

static void encode_number(char *text, const char *alphabet, unsigned radix, const uint8_t *bytes,
                          size_t bytes_len)
{
    uint8_t digits[DIGITS_MAX];
    size_t len = 0, zeros = 0;
    while (zeros < bytes_len && bytes[zeros] == 0)
        zeros++;
    for (size_t i = zeros; i < bytes_len; i++)
        len = multiply_add(digits, len, sizeof digits, radix, 256, bytes[i]);
    memset(text, alphabet[0], zeros);
    for (size_t i = 0; i < len; i++)
        text[zeros + i] = alphabet[digits[len - 1 - i]];
    text[zeros + len] = '\0';
}

static size_t decode_number(uint8_t *bytes, const char *alphabet, unsigned radix, const char *text,
                            size_t text_len)
{
    uint8_t number[MLP_MULTIBASE_BYTES_MAX];
    size_t len = 0, zeros = 0;
    bool leading = true;
    for (size_t i = 0; i < text_len; i++) {
        int digit = digit_of(alphabet, text[i]);
        if (digit < 0)
            return 0;
        leading = leading && digit == 0;
        zeros += leading;
        len = multiply_add(number, len, sizeof number, 256, radix, (unsigned)digit);
        if (zeros + len > MLP_MULTIBASE_BYTES_MAX)
            return 0;
    }
    memset(bytes, 0, zeros);
    for (size_t i = 0; i < len; i++)
        bytes[zeros + i] = number[len - 1 - i];
    return zeros + len;
}

/* ---- the face ---- */

void mlp_multibase_encode(char text[MLP_MULTIBASE_TEXT_MAX], char base, const uint8_t *bytes,
                          size_t bytes_len)
{
    if (base == 'f')
        encode_bits(text, base16, 4, bytes, bytes_len);
    else if (base == 'k')
        encode_number(text, base36, 36, bytes, bytes_len);
    else if (base == 'z')
        encode_number(text, base58, 58, bytes, bytes_len);
    else
        encode_bits(text, base32, 5, bytes, bytes_len);
}

size_t mlp_multibase_decode(uint8_t bytes[MLP_MULTIBASE_BYTES_MAX], char base, const char *text,
                            size_t text_len)
{
    switch (base) {
    case 'b':
        return decode_bits(bytes, base32, 5, text, text_len);
    case 'f':
        return decode_bits(bytes, base16, 4, text, text_len);
    case 'k':
        return decode_number(bytes, base36, 36, text, text_len);
    case 'z':
        return decode_number(bytes, base58, 58, text, text_len);
    default:
        return 0;
    }
}
