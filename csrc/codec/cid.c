#include "codec/cid.h"

#include "codec/multibase.h"
#include "codec/varint.h"
#include "hash/hash.h"

#include <string.h>

#define SHA2_256    0x12
#define V0_LEN      34 /* a multihash alone */
#define V0_TEXT_LEN 46

void mlp_cid_of_digest(uint8_t cid36[MLP_CID_LEN], enum mlp_cid_codec codec,
                       const uint8_t digest32[32])
{
    cid36[0] = 1;
    cid36[1] = (uint8_t)codec;
    cid36[2] = SHA2_256;
    cid36[3] = 32;
    memcpy(cid36 + 4, digest32, 32);
}

int mlp_cid_of_block(uint8_t cid36[MLP_CID_LEN], enum mlp_cid_codec codec, const void *block,
                     size_t block_len, struct mlp_error *error)
{
    uint8_t digest[32];
    int status = mlp_hash(MLP_SHA256, digest, block, block_len, error);
    if (status == 0)
        mlp_cid_of_digest(cid36, codec, digest);
    return status;
}

/* ---- texts ---- */

void mlp_cid_encode(char text[MLP_CID_TEXT_MAX], const uint8_t cid36[MLP_CID_LEN])
{
    (void)mlp_cid_encode_base(text, 'b', cid36, NULL);
}

int mlp_cid_encode_base(char text[MLP_CID_TEXT_MAX], char base, const uint8_t cid36[MLP_CID_LEN],
                        struct mlp_error *error)
{
    char written[MLP_MULTIBASE_TEXT_MAX];
    if (base == 'Q' && cid36[1] != MLP_CID_DAG_PB)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot write the CID as version 0: its codec is 0x%02x, and that version "
                        "knows dag-pb alone; write version 1",
                        cid36[1]);
    if (base == 'Q') {
        mlp_multibase_encode(written, 'z', cid36 + 2, V0_LEN);
    } else if (base == 'b' || base == 'f' || base == 'k' || base == 'z') {
        *text++ = base;
        mlp_multibase_encode(written, base, cid36, MLP_CID_LEN);
    } else {
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot write a CID in the base '%c': known are b, f, k, z and Q", base);
    }
    memcpy(text, written, strlen(written) + 1);
    return 0;
}

int mlp_cid_decode(uint8_t cid36[MLP_CID_LEN], const char *text, size_t text_len,
                   struct mlp_error *error)
{
    uint8_t bytes[MLP_MULTIBASE_BYTES_MAX];
    size_t len = 0, used = 0;
    if (text_len == V0_TEXT_LEN && text[0] == 'Q')
        len = mlp_multibase_decode(bytes, 'z', text, text_len);
    else if (text_len > 1)
        len = mlp_multibase_decode(bytes, text[0], text + 1, text_len - 1);
    bool is_v0 = text_len > 0 && text[0] == 'Q';
    if (len != (is_v0 ? V0_LEN : MLP_CID_LEN) ||
        mlp_cid_read(cid36, &used, bytes, len, NULL) != 0 || used != len)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "\"%.*s\" is no CID of a SHA-256 in base16, base32, base36 or base58",
                        text_len < 70 ? (int)text_len : 70, text);
    return 0;
}

/* ---- bytes ---- */

static int refuse(struct mlp_error *error, const char *reason)
{
    return mlp_fail(error, MLP_E_MALFORMED, "these bytes begin with no CID that is known here: %s",
                    reason);
}

int mlp_cid_read(uint8_t cid36[MLP_CID_LEN], size_t *used, const uint8_t *bytes, size_t bytes_len,
                 struct mlp_error *error)
{
    uint64_t fields[4] = {1, MLP_CID_DAG_PB, 0, 0}; /* version, codec, multihash code, length */
    size_t at = 0;
    bool is_v0 = bytes_len >= 2 && bytes[0] == SHA2_256 && bytes[1] == 32;
    for (size_t i = is_v0 ? 2 : 0; i < 4; i++) {
        size_t len = mlp_varint_read(&fields[i], bytes + at, bytes_len - at);
        if (len == 0)
            return refuse(error, "a varint is cut off or not the shortest");
        at += len;
    }
    if (fields[0] != 1 || fields[1] >= 0x80)
        return refuse(error, "neither version 0 nor 1, or a codec that is not in use");
    if (fields[2] != SHA2_256 || fields[3] != 32)
        return refuse(error, "its hash is not SHA-256");
    if (bytes_len - at < 32)
        return refuse(error, "it is cut off");
    mlp_cid_of_digest(cid36, (enum mlp_cid_codec)fields[1], bytes + at);
    *used = at + 32;
    return 0;
}
