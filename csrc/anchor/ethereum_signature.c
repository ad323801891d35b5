#include "anchor/ethereum_signature.h"

#include <string.h>

/* The order of secp256k1's group, and half of it: SEC 2, section 2.4.1; EIP-2. */
static const uint8_t order32[32] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41};
static const uint8_t half32[32] = {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4,
                                   0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0};

/* s and the order less s make the same signature valid; Ethereum takes the lower. What is not below
 * the order is left: no key makes it, which recovery says. */
static void lower(uint8_t s32[32])
{
    unsigned borrow = 0;
    if (memcmp(s32, half32, 32) <= 0 || memcmp(s32, order32, 32) >= 0)
        return;
    for (size_t i = 32; i-- > 0;) {
        unsigned difference = 256U + order32[i] - s32[i] - borrow;
        s32[i] = (uint8_t)difference;
        borrow = difference < 256;
    }
}

int mlp_ethereum_signature_apply(struct mlp_buffer *raw, const uint8_t rs64[64],
                                 const struct mlp_ethereum_intent *intent,
                                 const uint8_t sender20[20], struct mlp_error *error)
{
    struct mlp_secp256k1_signature signature = {0};
    uint8_t digest32[32], signer20[20], hash32[32];
    int status = mlp_ethereum_signing_hash(digest32, intent, error);
    memcpy(signature.rs64, rs64, sizeof signature.rs64);
    lower(signature.rs64 + 32);
    for (; status == 0 && signature.y_parity < 2; signature.y_parity++) {
        status = mlp_ethereum_recover(signer20, &signature, digest32, error);
        if (status == 0 && memcmp(signer20, sender20, 20) == 0)
            return mlp_ethereum_transaction_write(raw, hash32, intent, &signature, error);
        status = status == MLP_E_MISMATCH ? 0 : status;
    }
    if (status != 0)
        return status;
    char text[MLP_ETHEREUM_ADDRESS_TEXT + 1];
    mlp_ethereum_address_encode(text, sender20);
    return mlp_fail(error, MLP_E_MISMATCH,
                    "the signature given is none of the account %s over this transaction's digest",
                    text);
}
