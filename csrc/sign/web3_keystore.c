#include "sign/web3_keystore.h"

#include "base/secret.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "hash/keccak.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <string.h>

#define SCRYPT_N      131072
#define SCRYPT_R      8
#define SCRYPT_P      1
#define SCRYPT_MEMORY (UINT64_C(1) << 30) /* bytes, the most that a file may ask for */
#define SCRYPT_WORK   (UINT64_C(1) << 22) /* n x r x p: about 2 s */
#define PBKDF2_ROUNDS 10000000
#define SALT_MAX      1024
#define DEPTH         4

/* What is derived from the passphrase. */
#define DERIVED_LEN 32
#define AES_KEY_LEN 16

enum kdf { KDF_SCRYPT, KDF_PBKDF2 };

struct parameters {
    enum kdf kdf;
    uint64_t n, r, p; /* scrypt */
    uint64_t rounds;  /* PBKDF2 */
    uint8_t salt[SALT_MAX];
    size_t salt_len;
};

/* ---- cryptography ---- */

static int fail_openssl(struct mlp_error *error, const char *attempted)
{
    ERR_clear_error();
    return mlp_fail(error, MLP_E_CRYPTO, "OpenSSL cannot %s", attempted);
}

static int derive(uint8_t derived[DERIVED_LEN], const struct parameters *parameters,
                  const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    int done;
    /* maxmem 0 would mean 32 MiB, too little for n = 131072; the rest is what OpenSSL adds. */
    if (parameters->kdf == KDF_SCRYPT)
        done = EVP_PBE_scrypt(passphrase, passphrase_len, parameters->salt, parameters->salt_len,
                              parameters->n, parameters->r, parameters->p,
                              SCRYPT_MEMORY + (UINT64_C(1) << 20), derived, DERIVED_LEN);
    else
        done = PKCS5_PBKDF2_HMAC(passphrase, (int)passphrase_len, parameters->salt,
                                 (int)parameters->salt_len, (int)parameters->rounds, EVP_sha256(),
                                 DERIVED_LEN, derived);
    return done == 1 ? 0 : fail_openssl(error, "derive a key from the passphrase");
}

/* AES-128-CTR is its own inverse. */
static int apply_cipher(uint8_t out32[32], const uint8_t in32[32], const uint8_t *aes_key,
                        const uint8_t iv16[16], struct mlp_error *error)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int out_len = 0;
    bool done = context != NULL &&
                EVP_EncryptInit_ex(context, EVP_aes_128_ctr(), NULL, aes_key, iv16) == 1 &&
                EVP_EncryptUpdate(context, out32, &out_len, in32, 32) == 1 && out_len == 32;
    EVP_CIPHER_CTX_free(context);
    return done ? 0 : fail_openssl(error, "apply AES-128-CTR to a key");
}

static void make_mac(uint8_t mac32[32], const uint8_t derived[DERIVED_LEN],
                     const uint8_t ciphertext32[32])
{
    uint8_t input[DERIVED_LEN - AES_KEY_LEN + 32];
    memcpy(input, derived + AES_KEY_LEN, DERIVED_LEN - AES_KEY_LEN);
    memcpy(input + DERIVED_LEN - AES_KEY_LEN, ciphertext32, 32);
    mlp_keccak256(mac32, input, sizeof input);
    mlp_secret_wipe(input, sizeof input);
}

/* ---- writing ---- */

static void append_hex_member(struct mlp_buffer *json, const char *key, const uint8_t *bytes,
                              size_t bytes_len)
{
    mlp_buffer_append_text(json, key);
    mlp_buffer_append_hex(json, bytes, bytes_len);
}

/* A random UUID: RFC 9562 section 5.4. */
static void append_uuid(struct mlp_buffer *json, uint8_t bytes[16])
{
    static const size_t groups[] = {4, 2, 2, 2, 6};
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; bytes += groups[i++])
        append_hex_member(json, i > 0 ? "-" : "", bytes, groups[i]);
}

static void append_file(struct mlp_buffer *json, const struct mlp_ethereum_key *key,
                        const struct parameters *parameters, const uint8_t iv16[16],
                        const uint8_t ciphertext32[32], const uint8_t mac32[32], uint8_t id16[16])
{
    append_hex_member(json, "{\"address\":\"", mlp_ethereum_key_address(key),
                      MLP_ETHEREUM_ADDRESS_LEN);
    append_hex_member(json, "\",\"crypto\":{\"cipher\":\"aes-128-ctr\",\"cipherparams\":{\"iv\":\"",
                      iv16, 16);
    append_hex_member(json, "\"},\"ciphertext\":\"", ciphertext32, 32);
    mlp_buffer_append_text(json, "\",\"kdf\":\"scrypt\",\"kdfparams\":{\"dklen\":32,\"n\":");
    mlp_buffer_append_u64(json, parameters->n);
    mlp_buffer_append_text(json, ",\"p\":");
    mlp_buffer_append_u64(json, parameters->p);
    mlp_buffer_append_text(json, ",\"r\":");
    mlp_buffer_append_u64(json, parameters->r);
    append_hex_member(json, ",\"salt\":\"", parameters->salt, parameters->salt_len);
    append_hex_member(json, "\"},\"mac\":\"", mac32, 32);
    mlp_buffer_append_text(json, "\"},\"id\":\"");
    append_uuid(json, id16);
    mlp_buffer_append_text(json, "\",\"version\":3}\n");
}

int mlp_web3_keystore_encode(struct mlp_buffer *json, const struct mlp_ethereum_key *key,
                             const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    struct parameters parameters = {
        .kdf = KDF_SCRYPT, .n = SCRYPT_N, .r = SCRYPT_R, .p = SCRYPT_P, .salt_len = 32};
    uint8_t random[16 + 16], derived[DERIVED_LEN], ciphertext[32], mac[32];
    if (passphrase_len == 0 || passphrase_len > MLP_WEB3_PASSPHRASE_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot encrypt a key: the passphrase has %zu bytes, 1 to %d are expected",
                        passphrase_len, MLP_WEB3_PASSPHRASE_MAX);
    if (RAND_bytes(parameters.salt, 32) != 1 || RAND_bytes(random, sizeof random) != 1)
        return fail_openssl(error, "make random bytes");
    int status = derive(derived, &parameters, passphrase, passphrase_len, error);
    if (status == 0)
        status = apply_cipher(ciphertext, mlp_ethereum_key_secret(key), derived, random, error);
    if (status == 0) {
        make_mac(mac, derived, ciphertext);
        append_file(json, key, &parameters, random, ciphertext, mac, random + 16);
        if (mlp_buffer_status(json) != 0)
            status = mlp_fail(error, MLP_E_MEMORY, "cannot write a key file: out of memory");
    }
    mlp_secret_wipe(derived, sizeof derived);
    return status;
}

int mlp_web3_keystore_save(int directory_fd, const char *path, const struct mlp_ethereum_key *key,
                           const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    struct mlp_buffer json = {0};
    int status = mlp_web3_keystore_encode(&json, key, passphrase, passphrase_len, error);
    if (status == 0)
        status = mlp_key_file_create(directory_fd, path, json.data, json.len, error);
    mlp_buffer_clear(&json);
    return status;
}

/* ---- reading ---- */

static int fail_file(struct mlp_error *error, const char *problem)
{
    return mlp_fail(error, MLP_E_KEY, "cannot use the Ethereum key file: %s", problem);
}

/* Hexadecimal text of exactly out_len bytes; some tools write "0x" or upper case. */
static bool read_hex(uint8_t *out, size_t out_len, const struct mlp_json_value *object,
                     const char *key)
{
    char lower[2 * SALT_MAX];
    size_t text_len = 0;
    const char *text = mlp_json_string(mlp_json_get(object, key), &text_len);
    if (text == NULL)
        return false;
    if (text_len >= 2 && memcmp(text, "0x", 2) == 0) {
        text += 2;
        text_len -= 2;
    }
    if (text_len != 2 * out_len || text_len > sizeof lower)
        return false;
    for (size_t i = 0; i < text_len; i++)
        lower[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
    return mlp_hex_decode(out, out_len, lower, text_len, NULL) == 0;
}

static bool read_salt(struct parameters *parameters, const struct mlp_json_value *object)
{
    size_t text_len = 0;
    const char *text = mlp_json_string(mlp_json_get(object, "salt"), &text_len);
    if (text == NULL || text_len / 2 > SALT_MAX)
        return false;
    bool prefixed = text_len >= 2 && memcmp(text, "0x", 2) == 0;
    parameters->salt_len = text_len / 2 - prefixed;
    return read_hex(parameters->salt, parameters->salt_len, object, "salt");
}

static bool is_text(const struct mlp_json_value *object, const char *key, const char *expected)
{
    size_t text_len = 0;
    const char *text = mlp_json_string(mlp_json_get(object, key), &text_len);
    return text != NULL && text_len == strlen(expected) && memcmp(text, expected, text_len) == 0;
}

/* Returns: a positive integer, or 0. */
static uint64_t number_of(const struct mlp_json_value *object, const char *key)
{
    const struct mlp_json_value *value = mlp_json_get(object, key);
    int64_t number = value != NULL ? mlp_json_integer(value) : 0;
    return number > 0 ? (uint64_t)number : 0;
}

/* RFC 7914 section 2: n is a power of two below 2^(16 x r), on which OpenSSL insists; memory is
 * 128 x n x r bytes. */
static bool is_scrypt_allowed(const struct parameters *parameters)
{
    uint64_t n = parameters->n, r = parameters->r, p = parameters->p;
    return n > 1 && (n & (n - 1)) == 0 && r > 0 && p > 0 && (r >= 4 || n < UINT64_C(1) << 16 * r) &&
           n <= SCRYPT_WORK && r <= SCRYPT_WORK && p <= SCRYPT_WORK &&
           n * r <= SCRYPT_MEMORY / 128 && n * r * p <= SCRYPT_WORK;
}

static int read_parameters(struct parameters *parameters, const struct mlp_json_value *crypto,
                           struct mlp_error *error)
{
    const struct mlp_json_value *given = mlp_json_get(crypto, "kdfparams");
    if (given == NULL || !read_salt(parameters, given) || number_of(given, "dklen") != DERIVED_LEN)
        return fail_file(error, "its \"kdfparams\" have no salt, or another \"dklen\" than 32");
    if (is_text(crypto, "kdf", "scrypt")) {
        parameters->kdf = KDF_SCRYPT;
        parameters->n = number_of(given, "n");
        parameters->r = number_of(given, "r");
        parameters->p = number_of(given, "p");
        return is_scrypt_allowed(parameters)
                   ? 0
                   : fail_file(error, "its scrypt parameters are not those of RFC 7914 (n a power "
                                      "of two below 2^(16 r)), or ask for more than 1 GiB or for "
                                      "n x r x p above 2^22");
    }
    parameters->kdf = KDF_PBKDF2;
    parameters->rounds = number_of(given, "c");
    if (!is_text(crypto, "kdf", "pbkdf2") || !is_text(given, "prf", "hmac-sha256"))
        return fail_file(error, "its key derivation is neither scrypt nor pbkdf2 with hmac-sha256");
    if (parameters->rounds == 0 || parameters->rounds > PBKDF2_ROUNDS)
        return fail_file(error, "its \"c\" is not within 1 to 10,000,000");
    return 0;
}

/* Opens "crypto" with the passphrase. */
static int decrypt_secret(uint8_t secret32[32], const struct mlp_json_value *crypto,
                          const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    struct parameters parameters = {0};
    uint8_t iv[16], ciphertext[32], mac[32], expected[32], derived[DERIVED_LEN];
    if (!is_text(crypto, "cipher", "aes-128-ctr") ||
        !read_hex(iv, sizeof iv, mlp_json_get(crypto, "cipherparams"), "iv"))
        return fail_file(error, "its cipher is not aes-128-ctr with an \"iv\" of 16 bytes");
    if (!read_hex(ciphertext, sizeof ciphertext, crypto, "ciphertext") ||
        !read_hex(mac, sizeof mac, crypto, "mac"))
        return fail_file(error, "its \"ciphertext\" and \"mac\" have not 32 bytes each");
    int status = read_parameters(&parameters, crypto, error);
    if (status == 0)
        status = derive(derived, &parameters, passphrase, passphrase_len, error);
    if (status != 0)
        return status;
    make_mac(expected, derived, ciphertext);
    if (mlp_bytes_equal(mac, expected, sizeof mac) != 1)
        status = fail_file(error, "the passphrase does not open it, or the file is damaged");
    else
        status = apply_cipher(secret32, ciphertext, derived, iv, error);
    mlp_secret_wipe(derived, sizeof derived);
    return status;
}

/* Where the file names an address, it must be the key's: the MAC does not cover it. */
static int check_address(const struct mlp_ethereum_key *key, const struct mlp_json_value *file,
                         struct mlp_error *error)
{
    const struct mlp_json_value *value = mlp_json_get(file, "address");
    uint8_t address[MLP_ETHEREUM_ADDRESS_LEN];
    if (value == NULL || mlp_json_type(value) == MLP_JSON_NULL)
        return 0;
    if (!read_hex(address, sizeof address, file, "address") ||
        memcmp(address, mlp_ethereum_key_address(key), sizeof address) != 0)
        return fail_file(error, "its \"address\" is not that of its key");
    return 0;
}

static int open_file(struct mlp_ethereum_key **key, const struct mlp_json_value *file,
                     const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    const struct mlp_json_value *crypto = mlp_json_get(file, "crypto");
    if (crypto == NULL)
        crypto = mlp_json_get(file, "Crypto"); /* geth before 2016 */
    if (number_of(file, "version") != 3 || crypto == NULL ||
        mlp_json_type(crypto) != MLP_JSON_OBJECT)
        return fail_file(error, "it is no Web3 secret storage of version 3");
    struct mlp_ethereum_key *opened = NULL;
    uint8_t secret[32];
    int status = decrypt_secret(secret, crypto, passphrase, passphrase_len, error);
    if (status == 0)
        status = mlp_ethereum_key_from_secret(&opened, secret, error);
    mlp_secret_wipe(secret, sizeof secret);
    if (status == 0)
        status = check_address(opened, file, error);
    if (status != 0) {
        mlp_ethereum_key_free(opened);
        return status;
    }
    *key = opened;
    return 0;
}

int mlp_web3_keystore_decode(struct mlp_ethereum_key **key, const void *json, size_t json_len,
                             const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    struct mlp_json_document *document;
    struct mlp_error detail;
    if (passphrase_len > MLP_WEB3_PASSPHRASE_MAX)
        return mlp_fail(
            error, MLP_E_KEY,
            "cannot use the Ethereum key file: the passphrase has %zu bytes, at most %d "
            "are allowed",
            passphrase_len, MLP_WEB3_PASSPHRASE_MAX);
    int status = mlp_json_read(&document, json, json_len, MLP_KEY_FILE_MAX, DEPTH, &detail);
    if (status == MLP_E_MALFORMED)
        return fail_file(error, "it is no JSON, or nested too deep");
    if (status != 0)
        return mlp_fail(error, status, "cannot read a key file: out of memory");
    status = open_file(key, mlp_json_root(document), passphrase, passphrase_len, error);
    mlp_json_free(document);
    return status;
}

int mlp_web3_keystore_load(struct mlp_ethereum_key **key, int directory_fd, const char *path,
                           const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    struct mlp_buffer json = {0};
    struct mlp_error detail;
    int status = mlp_key_file_read(&json, directory_fd, path, &detail);
    if (status == 0)
        status =
            mlp_web3_keystore_decode(key, json.data, json.len, passphrase, passphrase_len, &detail);
    mlp_buffer_clear(&json); /* nothing in the file is secret without the passphrase */
    if (status != 0 && error != NULL)
        *error = detail;
    return status;
}
