#include "sign/ed25519.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

/* OpenSSL leaves its reasons in a queue of the thread; the caller's next use must not find ours. */
static int fail_crypto(struct mlp_error *error, const char *attempted)
{
    char reason[160] = "no reason given";
    unsigned long code = ERR_peek_last_error();
    if (code != 0)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return mlp_fail(error, MLP_E_CRYPTO, "OpenSSL cannot %s: %s", attempted, reason);
}

int mlp_ed25519_generate(uint8_t seed32[32], struct mlp_error *error)
{
    if (RAND_priv_bytes(seed32, MLP_ED25519_SEED_LEN) != 1)
        return fail_crypto(error, "make random bytes for a key");
    return 0;
}

int mlp_ed25519_public(uint8_t public32[32], const uint8_t seed32[32], struct mlp_error *error)
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed32, MLP_ED25519_SEED_LEN);
    if (key == NULL)
        return fail_crypto(error, "use an Ed25519 key");
    size_t public_len = MLP_ED25519_PUBLIC_LEN;
    int status = 0;
    if (EVP_PKEY_get_raw_public_key(key, public32, &public_len) != 1)
        status = fail_crypto(error, "compute an Ed25519 public key");
    EVP_PKEY_free(key);
    return status;
}

int mlp_ed25519_sign(uint8_t sig64[64], const uint8_t seed32[32], const void *message,
                     size_t message_len, struct mlp_error *error)
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed32, MLP_ED25519_SEED_LEN);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t signature[MLP_ED25519_SIGNATURE_LEN];
    size_t signature_len = sizeof signature;
    bool done = key != NULL && context != NULL &&
                EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
                EVP_DigestSign(context, signature, &signature_len, message, message_len) == 1 &&
                signature_len == sizeof signature;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    if (!done)
        return fail_crypto(error, "sign with Ed25519");
    for (size_t i = 0; i < sizeof signature; i++)
        sig64[i] = signature[i];
    return 0;
}

/* RFC 8032 section 5.1.3: y is below p = 2^255 - 19, and x = 0 (y = 1 or y = p - 1) has no sign
 * bit. OpenSSL decodes other encodings of the same point too. */
static bool is_canonical_point(const uint8_t encoded32[32])
{
    uint8_t last = encoded32[31] & 0x7F;
    bool sign = (encoded32[31] & 0x80) != 0;
    bool ones = last == 0x7F;
    bool zeros = last == 0;
    for (int i = 1; i < 31; i++) {
        ones = ones && encoded32[i] == 0xFF;
        zeros = zeros && encoded32[i] == 0;
    }
    if (ones && encoded32[0] >= 0xED)
        return false;
    bool x_is_zero = (zeros && encoded32[0] == 1) || (ones && encoded32[0] == 0xEC);
    return !(sign && x_is_zero);
}

/* Returns: 1 holds, 0 does not (or out of memory: OpenSSL 3.0 answers both alike), -1 failed. */
static int verify_once(const uint8_t public32[32], const uint8_t *sig, const void *message,
                       size_t message_len)
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public32, MLP_ED25519_PUBLIC_LEN);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int answer = -1;
    if (key != NULL && context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1)
        answer = EVP_DigestVerify(context, sig, MLP_ED25519_SIGNATURE_LEN, message, message_len);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return answer;
}

/* Whether OpenSSL still verifies what does hold: RFC 8032 section 7.1, test 1 (empty message). */
static bool control_holds(void)
{
    static const uint8_t public32[32] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7,
                                         0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
                                         0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25,
                                         0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
    static const uint8_t sig64[64] = {
        0xe5, 0x56, 0x43, 0x00, 0xc3, 0x60, 0xac, 0x72, 0x90, 0x86, 0xe2, 0xcc, 0x80,
        0x6e, 0x82, 0x8a, 0x84, 0x87, 0x7f, 0x1e, 0xb8, 0xe5, 0xd9, 0x74, 0xd8, 0x73,
        0xe0, 0x65, 0x22, 0x49, 0x01, 0x55, 0x5f, 0xb8, 0x82, 0x15, 0x90, 0xa3, 0x3b,
        0xac, 0xc6, 0x1e, 0x39, 0x70, 0x1c, 0xf9, 0xb4, 0x6b, 0xd2, 0x5b, 0xf5, 0xf0,
        0x59, 0x5b, 0xbe, 0x24, 0x65, 0x51, 0x41, 0x43, 0x8e, 0x7a, 0x10, 0x0b};
    return verify_once(public32, sig64, "", 0) == 1;
}

int mlp_ed25519_verify(const uint8_t public32[32], const uint8_t *sig, size_t sig_len,
                       const void *message, size_t message_len, struct mlp_error *error)
{
    if (sig_len != MLP_ED25519_SIGNATURE_LEN)
        return mlp_fail(error, MLP_E_MISMATCH, "an Ed25519 signature has 64 bytes, not %zu",
                        sig_len);
    if (!is_canonical_point(public32))
        return mlp_fail(error, MLP_E_MISMATCH, "the Ed25519 public key is not canonically encoded");
    int answer = verify_once(public32, sig, message, message_len);
    if (answer == 1) {
        ERR_clear_error();
        return 0;
    }
    /* "Does not hold" must not be a failure to check: ask again, after a signature that does hold.
     */
    if (answer < 0 || !control_holds())
        return fail_crypto(error, "verify an Ed25519 signature");
    answer = verify_once(public32, sig, message, message_len);
    ERR_clear_error();
    if (answer == 1)
        return 0;
    return mlp_fail(error, MLP_E_MISMATCH, "the Ed25519 signature does not hold");
}

const char *mlp_openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
