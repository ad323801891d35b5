#include "codec/cid.h"

#include "hash/hash.h"

#include <stdbool.h>
#include <string.h>

#define SHA2_256    0x12
#define BYTES_MAX   64 /* longer than any CID with SHA-256, so that what is too long is seen */
#define V0_TEXT_LEN 46

static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char base58[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

int mlp_cid_of_block(uint8_t cid36[MLP_CID_LEN], enum mlp_cid_codec codec, const void *block,
                     size_t block_len, struct mlp_error *error)
{
    uint8_t digest[32];
    int status = mlp_hash(MLP_SHA256, digest, block, block_len, error);
    if (status != 0)
        return status;
    cid36[0] = 1;
    cid36[1] = (uint8_t)codec;
    cid36[2] = SHA2_256;
    cid36[3] = sizeof digest;
    memcpy(cid36 + 4, digest, sizeof digest);
    return 0;
}

void mlp_cid_encode(char text[MLP_CID_TEXT_MAX], const uint8_t cid36[MLP_CID_LEN])
{
    unsigned bits = 0, held = 0;
    *text++ = 'b';
    for (size_t i = 0; i < MLP_CID_LEN; i++) {
        bits = (bits << 8 | cid36[i]) & 0xFFFU;
        held += 8;
        while (held >= 5) {
            held -= 5;
            *text++ = base32[bits >> held & 31U];
        }
    }
    if (held > 0)
        *text++ = base32[bits << (5 - held) & 31U];
    *text = '\0';
}

/* Returns: how many bytes; 0: not base32 without padding. */
static size_t read_base32(uint8_t *bytes, const char *text, size_t text_len)
{
    unsigned bits = 0, held = 0;
    size_t len = 0;
    for (size_t i = 0; i < text_len; i++) {
        const char *at = text[i] != '\0' ? strchr(base32, text[i]) : NULL;
        if (at == NULL || len == BYTES_MAX)
            return 0;
        bits = (bits << 5 | (unsigned)(at - base32)) & 0xFFFU;
        held += 5;
        if (held >= 8) {
            held -= 8;
            bytes[len++] = (uint8_t)(bits >> held);
        }
    }
    /* One text for each byte string: no surplus character, no bits that stand for nothing. */
    return held < 5 && (bits & ((1U << held) - 1)) == 0 ? len : 0;
}

/* Returns: how many bytes; 0: not base58. */
static size_t read_base58(uint8_t *bytes, const char *text, size_t text_len)
{
    uint8_t number[BYTES_MAX] = {0}; /* little-endian */
    size_t len = 0, zeros = 0;
    bool leading = true;
    for (size_t i = 0; i < text_len; i++) {
        const char *at = text[i] != '\0' ? strchr(base58, text[i]) : NULL;
        if (at == NULL)
            return 0;
        unsigned carry = (unsigned)(at - base58);
        leading = leading && carry == 0;
        zeros += leading;
        for (size_t j = 0; j < len; j++) {
            carry += 58U * number[j];
            number[j] = (uint8_t)carry;
            carry >>= 8;
        }
        if (carry != 0) {
            if (len == BYTES_MAX)
                return 0;
            number[len++] = (uint8_t)carry;
        }
    }
    if (zeros + len > BYTES_MAX)
        return 0;
    memset(bytes, 0, zeros);
    for (size_t i = 0; i < len; i++)
        bytes[zeros + i] = number[len - 1 - i];
    return zeros + len;
}

int mlp_cid_decode(uint8_t cid36[MLP_CID_LEN], const char *text, size_t text_len,
                   struct mlp_error *error)
{
    uint8_t bytes[BYTES_MAX];
    size_t len = 0;
    if (text_len == V0_TEXT_LEN && text[0] == 'Q') {
        len = read_base58(bytes + 2, text, text_len);
        len = len > 0 && len <= MLP_CID_LEN - 2 ? len + 2 : 0;
        bytes[0] = 1;
        bytes[1] = MLP_CID_DAG_PB;
    } else if (text_len > 1 && text[0] == 'b') {
        len = read_base32(bytes, text + 1, text_len - 1);
    } else if (text_len > 1 && text[0] == 'z') {
        len = read_base58(bytes, text + 1, text_len - 1);
    }
    /* The codecs in use are one byte of varint. */
    if (len != MLP_CID_LEN || bytes[0] != 1 || bytes[1] >= 0x80 || bytes[2] != SHA2_256 ||
        bytes[3] != 32)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "\"%.*s\" is no CID of a SHA-256 in base32 or base58",
                        text_len < 80 ? (int)text_len : 80, text);
    memcpy(cid36, bytes, MLP_CID_LEN);
    return 0;
}
