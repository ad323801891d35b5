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

int mlp_ed25519_verify(const uint8_t public32[32], const uint8_t *sig, size_t sig_len,
                       const void *message, size_t message_len, struct mlp_error *error)
{
    if (sig_len != MLP_ED25519_SIGNATURE_LEN)
        return mlp_fail(error, MLP_E_MISMATCH, "an Ed25519 signature has 64 bytes, not %zu",
                        sig_len);
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public32, MLP_ED25519_PUBLIC_LEN);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int answer = -1;
    if (key != NULL && context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1)
        answer = EVP_DigestVerify(context, sig, sig_len, message, message_len);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    if (answer < 0)
        return fail_crypto(error, "verify an Ed25519 signature");
    ERR_clear_error();
    if (answer == 0)
        return mlp_fail(error, MLP_E_MISMATCH, "the Ed25519 signature does not hold");
    return 0;
}

const char *mlp_openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
