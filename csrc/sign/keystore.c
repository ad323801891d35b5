#include "sign/keystore.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "sign/ed25519.h"
#include "sign/key_file.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <string.h>

#define PBKDF2_SALT_LEN 16 /* NIST SP 800-132 section 5.1: at least 128 bits */

static int fail_openssl(struct mlp_error *error, const char *attempted, const char *path)
{
    char reason[160] = "no reason given";
    unsigned long code = ERR_peek_last_error();
    if (code != 0)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return mlp_fail(error, MLP_E_CRYPTO, "OpenSSL cannot %s the key of %s: %s", attempted, path,
                    reason);
}

/* ---- writing ---- */

/* PBES2 (RFC 8018 section 6.2) with PBKDF2-HMAC-SHA-256 and AES-256-CBC. */
static bool write_encrypted(BIO *pem, PKCS8_PRIV_KEY_INFO *info, const char *passphrase,
                            size_t passphrase_len)
{
    X509_ALGOR *scheme = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), MLP_KEYSTORE_PBKDF2_ROUNDS, NULL,
                                           PBKDF2_SALT_LEN, NULL, NID_hmacWithSHA256);
    if (scheme == NULL)
        return false;
    X509_SIG *encrypted = PKCS8_set0_pbe(passphrase, (int)passphrase_len, info, scheme);
    if (encrypted == NULL) { /* on success it owns scheme */
        X509_ALGOR_free(scheme);
        return false;
    }
    bool written = PEM_write_bio_PKCS8(pem, encrypted) == 1;
    X509_SIG_free(encrypted);
    return written;
}

/* Returns: a memory BIO with the PEM text (its memory is wiped when it is freed), or NULL. */
static BIO *encode_key(const struct mlp_signing_key *key, const char *passphrase,
                       size_t passphrase_len)
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, mlp_signing_key_seed(key),
                                                  MLP_ED25519_SEED_LEN);
    PKCS8_PRIV_KEY_INFO *info = pkey != NULL ? EVP_PKEY2PKCS8(pkey) : NULL;
    BIO *pem = info != NULL ? BIO_new(BIO_s_secmem()) : NULL;
    bool written =
        pem != NULL && (passphrase != NULL ? write_encrypted(pem, info, passphrase, passphrase_len)
                                           : PEM_write_bio_PKCS8_PRIV_KEY_INFO(pem, info) == 1);
    if (!written) {
        BIO_free(pem);
        pem = NULL;
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(pkey);
    return pem;
}

int mlp_keystore_save(int directory_fd, const char *path, const struct mlp_signing_key *key,
                      const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    if (passphrase != NULL && (passphrase_len == 0 || passphrase_len > MLP_KEYSTORE_PASSPHRASE_MAX))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot encrypt a key: the passphrase has %zu bytes, 1 to %d are expected",
                        passphrase_len, MLP_KEYSTORE_PASSPHRASE_MAX);
    BIO *pem = encode_key(key, passphrase, passphrase_len);
    if (pem == NULL)
        return fail_openssl(error, "encode", path);
    char *text = NULL;
    long text_len = BIO_get_mem_data(pem, &text);
    int status = mlp_key_file_create(directory_fd, path, text, (size_t)text_len, error);
    BIO_free(pem);
    return status;
}

/* ---- reading PEM (RFC 7468) and PKCS#8 (RFC 5958) ---- */

static int fail_kind(struct mlp_error *error, const char *path, const char *kind)
{
    return mlp_fail(error, MLP_E_KEY,
                    "cannot use %s: it holds %s, and mlprov signs with Ed25519; create a key with "
                    "'mlprov keys new'",
                    path, kind);
}

/* What a PEM label that is not PKCS#8 means. */
static const char *kind_of_label(const char *label)
{
    static const struct {
        const char *label;
        const char *kind;
    } kinds[] = {
        {"RSA PRIVATE KEY", "an RSA key"},         {"EC PRIVATE KEY", "an EC key"},
        {"EC PARAMETERS", "EC parameters"},        {"DSA PRIVATE KEY", "a DSA key"},
        {"OPENSSH PRIVATE KEY", "an OpenSSH key"}, {"PUBLIC KEY", "a public key"},
        {"CERTIFICATE", "a certificate"},          {"X509 CERTIFICATE", "a certificate"},
        {"TRUSTED CERTIFICATE", "a certificate"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(label, kinds[i].label) == 0)
            return kinds[i].kind;
    }
    return "no PKCS#8 private key";
}

static const char *kind_of_algorithm(int nid)
{
    switch (nid) {
    case NID_rsaEncryption:
        return "an RSA key";
    case NID_rsassaPss:
        return "an RSA-PSS key";
    case NID_X9_62_id_ecPublicKey:
        return "an EC key";
    case NID_dsa:
        return "a DSA key";
    case NID_dhKeyAgreement:
        return "a DH key";
    case NID_X25519:
        return "an X25519 key";
    case NID_ED448:
        return "an Ed448 key";
    default:
        return "a key of another type";
    }
}

/* Whether OpenSSL failed for want of memory: then nothing is known about the file. Empties its
 * queue. */
static bool ran_out_of_memory(void)
{
    bool found = false;
    for (unsigned long code = ERR_get_error(); code != 0; code = ERR_get_error())
        found = found || ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    return found;
}

static int fail_no_key(struct mlp_error *error, const char *path)
{
    if (ran_out_of_memory())
        return mlp_fail(error, MLP_E_MEMORY, "cannot read the key file %s: out of memory", path);
    return mlp_fail(error, MLP_E_KEY,
                    "cannot use %s: it holds no private key in PEM form (PKCS#8); create one with "
                    "'mlprov keys new'",
                    path);
}

static int decrypt_info(PKCS8_PRIV_KEY_INFO **info, const uint8_t *der, long der_len,
                        const char *path, const char *passphrase, size_t passphrase_len,
                        struct mlp_error *error)
{
    if (passphrase == NULL)
        return mlp_fail(error, MLP_E_KEY, "cannot use %s: it is encrypted; give its passphrase",
                        path);
    X509_SIG *encrypted = d2i_X509_SIG(NULL, &der, der_len);
    if (encrypted == NULL)
        return fail_no_key(error, path);
    if (passphrase_len <= MLP_KEYSTORE_PASSPHRASE_MAX)
        *info = PKCS8_decrypt(encrypted, passphrase, (int)passphrase_len);
    X509_SIG_free(encrypted);
    if (*info == NULL && ran_out_of_memory())
        return mlp_fail(error, MLP_E_MEMORY, "cannot read the key file %s: out of memory", path);
    if (*info == NULL)
        return mlp_fail(error, MLP_E_KEY,
                        "cannot use %s: the passphrase does not open it, or the file is damaged",
                        path);
    return 0;
}

/* Takes the seed out of a PKCS#8 structure. */
static int seed_of_info(uint8_t seed32[32], PKCS8_PRIV_KEY_INFO *info, const char *path,
                        struct mlp_error *error)
{
    const ASN1_OBJECT *algorithm = NULL;
    if (PKCS8_pkey_get0(&algorithm, NULL, NULL, NULL, info) != 1)
        return fail_no_key(error, path);
    int nid = OBJ_obj2nid(algorithm);
    if (nid != NID_ED25519)
        return fail_kind(error, path, kind_of_algorithm(nid));
    EVP_PKEY *pkey = EVP_PKCS82PKEY(info);
    size_t seed_len = MLP_ED25519_SEED_LEN;
    bool taken = pkey != NULL && EVP_PKEY_get_raw_private_key(pkey, seed32, &seed_len) == 1 &&
                 seed_len == MLP_ED25519_SEED_LEN;
    EVP_PKEY_free(pkey);
    return taken ? 0 : fail_no_key(error, path);
}

static int seed_of_der(uint8_t seed32[32], const char *label, const uint8_t *der, long der_len,
                       const char *path, const char *passphrase, size_t passphrase_len,
                       struct mlp_error *error)
{
    PKCS8_PRIV_KEY_INFO *info = NULL;
    int status = 0;
    if (strcmp(label, PEM_STRING_PKCS8) == 0)
        status = decrypt_info(&info, der, der_len, path, passphrase, passphrase_len, error);
    else if (strcmp(label, PEM_STRING_PKCS8INF) != 0)
        status = fail_kind(error, path, kind_of_label(label));
    else if ((info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, der_len)) == NULL)
        status = fail_no_key(error, path);
    if (status == 0)
        status = seed_of_info(seed32, info, path, error);
    PKCS8_PRIV_KEY_INFO_free(info);
    return status;
}

static int seed_of_pem(uint8_t seed32[32], const struct mlp_buffer *pem, const char *path,
                       const char *passphrase, size_t passphrase_len, struct mlp_error *error)
{
    BIO *bio = BIO_new_mem_buf(pem->len > 0 ? (const void *)pem->data : "", (int)pem->len);
    if (bio == NULL)
        return fail_openssl(error, "read", path);
    char *label = NULL, *header = NULL;
    unsigned char *der = NULL;
    long der_len = 0;
    int status;
    ERR_clear_error(); /* what is in the queue afterwards is about this file */
    if (PEM_read_bio(bio, &label, &header, &der, &der_len) == 1) {
        status = seed_of_der(seed32, label, der, der_len, path, passphrase, passphrase_len, error);
        OPENSSL_clear_free(der, (size_t)der_len);
        OPENSSL_free(header);
        OPENSSL_free(label);
    } else {
        status = fail_no_key(error, path);
    }
    BIO_free(bio);
    ERR_clear_error();
    return status;
}

int mlp_keystore_load(struct mlp_signing_key **key, int directory_fd, const char *path,
                      const char *name, size_t name_len, const char *passphrase,
                      size_t passphrase_len, struct mlp_error *error)
{
    struct mlp_buffer pem;
    uint8_t seed[MLP_ED25519_SEED_LEN];
    mlp_buffer_init(&pem);
    /* Reserved whole at once: a buffer that grows leaves copies of the key behind. */
    int status = mlp_buffer_reserve(&pem, 2 * (MLP_KEYSTORE_FILE_MAX + 1));
    if (status != 0)
        return mlp_fail(error, status, "cannot read the key file %s: out of memory", path);
    status = mlp_key_file_read(&pem, directory_fd, path, error);
    if (status == 0)
        status = seed_of_pem(seed, &pem, path, passphrase, passphrase_len, error);
    if (status == 0)
        status = mlp_signing_key_from_seed(key, name, name_len, seed, error);
    mlp_secret_wipe(seed, sizeof seed);
    mlp_secret_wipe(pem.data, pem.capacity);
    mlp_buffer_clear(&pem);
    return status;
}
