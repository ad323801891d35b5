#include "sign/ethereum_key.h"

#include "base/secret.h"
#include "codec/base64.h"
#include "hash/keccak.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <string.h>

struct mlp_ethereum_key {
    uint8_t secret32[32];
    uint8_t address20[MLP_ETHEREUM_ADDRESS_LEN];
};

static void address_of_public(uint8_t address20[20], const uint8_t public64[64])
{
    uint8_t digest[MLP_KECCAK256_LEN];
    mlp_keccak256(digest, public64, 64);
    memcpy(address20, digest + sizeof digest - MLP_ETHEREUM_ADDRESS_LEN, MLP_ETHEREUM_ADDRESS_LEN);
}

/* ---- keys ---- */

int mlp_ethereum_key_from_secret(struct mlp_ethereum_key **key, const uint8_t secret32[32],
                                 struct mlp_error *error)
{
    struct mlp_ethereum_key *made = mlp_secret_new(sizeof *made);
    if (made == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot hold an Ethereum key: out of memory");
    memcpy(made->secret32, secret32, sizeof made->secret32);
    uint8_t public64[64];
    int status = mlp_secp256k1_public(public64, made->secret32, error);
    if (status != 0) {
        mlp_ethereum_key_free(made);
        return status;
    }
    address_of_public(made->address20, public64);
    *key = made;
    return 0;
}

int mlp_ethereum_key_generate(struct mlp_ethereum_key **key, struct mlp_error *error)
{
    uint8_t secret[32];
    int status;
    do { /* again where the bytes are not below the order: once in 2^128 */
        if (RAND_priv_bytes(secret, sizeof secret) != 1) {
            ERR_clear_error();
            return mlp_fail(error, MLP_E_CRYPTO, "OpenSSL cannot make random bytes for a key");
        }
        status = mlp_ethereum_key_from_secret(key, secret, error);
    } while (status == MLP_E_KEY);
    mlp_secret_wipe(secret, sizeof secret);
    return status;
}

int mlp_ethereum_key_copy(struct mlp_ethereum_key **copy, const struct mlp_ethereum_key *key,
                          struct mlp_error *error)
{
    return mlp_ethereum_key_from_secret(copy, key->secret32, error);
}

void mlp_ethereum_key_free(struct mlp_ethereum_key *key)
{
    mlp_secret_free(key, sizeof *key);
}

const uint8_t *mlp_ethereum_key_address(const struct mlp_ethereum_key *key)
{
    return key->address20;
}

const uint8_t *mlp_ethereum_key_secret(const struct mlp_ethereum_key *key)
{
    return key->secret32;
}

int mlp_ethereum_key_sign(const struct mlp_ethereum_key *key,
                          struct mlp_secp256k1_signature *signature, const uint8_t digest32[32],
                          struct mlp_error *error)
{
    return mlp_secp256k1_sign(signature, digest32, key->secret32, error);
}

int mlp_ethereum_recover(uint8_t address20[20], const struct mlp_secp256k1_signature *signature,
                         const uint8_t digest32[32], struct mlp_error *error)
{
    uint8_t public64[64];
    int status = mlp_secp256k1_recover(public64, signature, digest32, error);
    if (status == 0)
        address_of_public(address20, public64);
    return status;
}

/* ---- addresses as text: EIP-55 ---- */

static bool is_letter(char character)
{
    return (character >= 'a' && character <= 'f') || (character >= 'A' && character <= 'F');
}

void mlp_ethereum_address_encode(char text[MLP_ETHEREUM_ADDRESS_TEXT + 1],
                                 const uint8_t address20[20])
{
    char *digits = text + 2;
    memcpy(text, "0x", 2);
    mlp_hex_encode(digits, address20, MLP_ETHEREUM_ADDRESS_LEN);
    uint8_t digest[MLP_KECCAK256_LEN];
    mlp_keccak256(digest, digits, (size_t)MLP_ETHEREUM_ADDRESS_LEN * 2);
    for (size_t i = 0; i < (size_t)MLP_ETHEREUM_ADDRESS_LEN * 2; i++) {
        unsigned nibble = i % 2 == 0 ? digest[i / 2] >> 4 : digest[i / 2] & 15U;
        if (is_letter(digits[i]) && nibble >= 8)
            digits[i] = (char)(digits[i] - 'a' + 'A');
    }
}

int mlp_ethereum_address_decode(uint8_t address20[20], const char *text, size_t text_len,
                                struct mlp_error *error)
{
    char lower[(size_t)MLP_ETHEREUM_ADDRESS_LEN * 2];
    bool has_lower = false, has_upper = false;
    uint8_t address[MLP_ETHEREUM_ADDRESS_LEN];
    if (text_len != MLP_ETHEREUM_ADDRESS_TEXT || memcmp(text, "0x", 2) != 0)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed Ethereum address: it has %zu characters, expected are 0x and 40 "
                        "hexadecimal digits",
                        text_len);
    for (size_t i = 0; i < sizeof lower; i++) {
        char digit = text[2 + i];
        bool upper = digit >= 'A' && digit <= 'F';
        has_upper = has_upper || upper;
        has_lower = has_lower || (is_letter(digit) && !upper);
        lower[i] = upper ? (char)(digit - 'A' + 'a') : digit;
    }
    int status = mlp_hex_decode(address, sizeof address, lower, sizeof lower, error);
    if (status != 0)
        return status;
    char expected[MLP_ETHEREUM_ADDRESS_TEXT + 1];
    mlp_ethereum_address_encode(expected, address);
    if (has_lower && has_upper && memcmp(expected, text, text_len) != 0)
        return mlp_fail(
            error, MLP_E_MALFORMED,
            "malformed Ethereum address: the case of its letters is no EIP-55 checksum, "
            "so that a digit is probably wrong; copy it again");
    memcpy(address20, address, sizeof address);
    return 0;
}
