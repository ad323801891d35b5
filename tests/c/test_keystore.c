/* Key files: who may read them, what they hold. */
#include "base/bytes.h"
#include "base/file.h"
#include "check.h"
#include "directory_fixture.h"
#include "key_fixture.h"
#include "sign/key.h"
#include "sign/keystore.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int load(const char *path, const char *passphrase, struct mlp_error *error)
{
    struct mlp_signing_key *key = NULL;
    size_t len = passphrase == NULL ? 0 : strlen(passphrase);
    int status = mlp_keystore_load(&key, directory, path, NULL, 0, passphrase, len, error);
    mlp_signing_key_free(key);
    return status;
}

static bool refused_because(const char *path, const char *passphrase, const char *reason)
{
    struct mlp_error error = {0};
    int status = load(path, passphrase, &error);
    if (status != MLP_E_KEY || strstr(error.message, reason) == NULL)
        printf("  %d %s\n", status, error.message);
    return status == MLP_E_KEY && strstr(error.message, reason) != NULL;
}

static void a_key_file_is_private_whatever_the_umask(void)
{
    static const mode_t masks[] = {0, 022, 077, 0777};
    char name[] = "mask0.pem";
    mode_t before = umask(0);
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        struct mlp_signing_key *key = key_named(NULL, (uint8_t)i), *read = NULL;
        name[4] = (char)('0' + i);
        (void)umask(masks[i]);
        CHECK(mlp_keystore_save(directory, name, key, NULL, 0, NULL) == 0);
        CHECK(mode_of(name) == 0600);
        CHECK(mlp_keystore_load(&read, directory, name, NULL, 0, NULL, 0, NULL) == 0);
        CHECK(read != NULL &&
              mlp_vkey_equal(mlp_signing_key_vkey(read), mlp_signing_key_vkey(key)));
        mlp_signing_key_free(read);
        mlp_signing_key_free(key);
    }
    (void)umask(before);
}

static void an_encrypted_key_opens_with_its_passphrase_alone(void)
{
    struct mlp_signing_key *key = key_named("k", 9);
    struct mlp_buffer text = {0};
    CHECK(mlp_keystore_save(directory, "locked.pem", key, "right", 5, NULL) == 0);
    CHECK(mlp_file_read_path(&text, directory, "locked.pem", 65536, NULL) == 0);
    CHECK(text.len > 40 && memcmp(text.data, "-----BEGIN ENCRYPTED PRIVATE KEY-----", 37) == 0);
    CHECK(load("locked.pem", "right", NULL) == 0);
    CHECK(refused_because("locked.pem", "wrong", "passphrase does not open it"));
    CHECK(refused_because("locked.pem", "", "passphrase does not open it"));
    CHECK(refused_because("locked.pem", NULL, "give its passphrase"));
    CHECK(mlp_keystore_save(directory, "none.pem", key, "", 0, NULL) == MLP_E_ARGUMENT);
    CHECK(mode_of("none.pem") == 0);
    mlp_buffer_clear(&text);
    mlp_signing_key_free(key);
}

static void a_key_file_is_never_overwritten(void)
{
    struct mlp_signing_key *key = key_named("k", 9);
    struct mlp_error error;
    CHECK(mlp_keystore_save(directory, "once.pem", key, NULL, 0, NULL) == 0);
    CHECK(mlp_keystore_save(directory, "once.pem", key, NULL, 0, &error) == MLP_E_KEY);
    CHECK(strstr(error.message, "never overwritten") != NULL);
    CHECK(symlinkat("elsewhere.pem", directory, "planted.pem") == 0);
    CHECK(mlp_keystore_save(directory, "planted.pem", key, NULL, 0, &error) == MLP_E_KEY);
    CHECK(faccessat(directory, "elsewhere.pem", F_OK, 0) != 0);
    CHECK(mlp_keystore_save(directory, "no/such.pem", key, NULL, 0, &error) == MLP_E_NOT_FOUND);
    mlp_signing_key_free(key);
}

static void key_files_that_others_may_use_are_refused(void)
{
    struct mlp_signing_key *key = key_named("k", 9);
    CHECK(mlp_keystore_save(directory, "open.pem", key, NULL, 0, NULL) == 0);
    static const mode_t bad[] = {0640, 0620, 0604, 0602, 0610, 0666};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK(fchmodat(directory, "open.pem", bad[i], 0) == 0);
        CHECK(refused_because("open.pem", NULL, "chmod 600"));
    }
    CHECK(fchmodat(directory, "open.pem", 0400, 0) == 0);
    CHECK(load("open.pem", NULL, NULL) == 0);
    CHECK(symlinkat("open.pem", directory, "link.pem") == 0);
    CHECK(refused_because("link.pem", NULL, "symbolic link"));
    CHECK(mkfifoat(directory, "fifo.pem", 0600) == 0);
    CHECK(refused_because("fifo.pem", NULL, "not a regular file"));
    CHECK(refused_because(".", NULL, "not a regular file"));
    CHECK(load("missing.pem", NULL, NULL) == MLP_E_NOT_FOUND);
    if (geteuid() == 0) {
        CHECK(fchownat(directory, "open.pem", 65534, 65534, 0) == 0);
        CHECK(refused_because("open.pem", NULL, "belongs to user 65534"));
    } else {
        SKIP("only root can give a file to another user");
    }
    mlp_signing_key_free(key);
}

static void put_openssl_key(const char *path, EVP_PKEY *pkey, bool traditional)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (traditional)
        CHECK(PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1);
    else
        CHECK(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1);
    long len = BIO_get_mem_data(bio, &text);
    put_file(path, text, (size_t)len);
    BIO_free(bio);
}

static void other_keys_are_named_for_what_they_are(void)
{
    EVP_PKEY *rsa = EVP_RSA_gen(1024), *ec = EVP_EC_gen("P-256");
    EVP_PKEY *x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    put_openssl_key("rsa.pem", rsa, false);
    CHECK(
        refused_because("rsa.pem", NULL,
                        "an RSA key, and mlprov signs with Ed25519; create a key with 'mlprov keys "
                        "new'"));
    put_openssl_key("rsa1.pem", rsa, true);
    CHECK(refused_because("rsa1.pem", NULL, "an RSA key"));
    put_openssl_key("ec.pem", ec, false);
    CHECK(refused_because("ec.pem", NULL, "an EC key"));
    put_openssl_key("ec1.pem", ec, true);
    CHECK(refused_because("ec1.pem", NULL, "an EC key"));
    put_openssl_key("x.pem", x25519, false);
    CHECK(refused_because("x.pem", NULL, "an X25519 key"));
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    CHECK(PEM_write_bio_PUBKEY(bio, rsa) == 1);
    long len = BIO_get_mem_data(bio, &text);
    put_file("public.pem", text, (size_t)len);
    CHECK(refused_because("public.pem", NULL, "a public key"));
    BIO_free(bio);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(x25519);
}

static void files_without_a_key_are_refused(void)
{
    static const char truncated[] = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n"
                                    "-----END PRIVATE KEY-----\n";
    static char large[MLP_KEYSTORE_FILE_MAX + 1];
    put_file("empty.pem", "", 0);
    CHECK(refused_because("empty.pem", NULL, "no private key"));
    put_file("text.pem", "hello\n", 6);
    CHECK(refused_because("text.pem", NULL, "no private key"));
    put_file("short.pem", truncated, sizeof truncated - 1);
    CHECK(refused_because("short.pem", NULL, "no private key"));
    put_file("large.pem", large, sizeof large);
    CHECK(refused_because("large.pem", NULL, "larger than"));
}

static void a_saved_key_with_any_byte_changed_never_crashes_the_reader(void)
{
    struct mlp_signing_key *key = key_named("k", 9);
    struct mlp_buffer text = {0};
    CHECK(mlp_keystore_save(directory, "mutant.pem", key, NULL, 0, NULL) == 0);
    CHECK(mlp_file_read_path(&text, directory, "mutant.pem", 65536, NULL) == 0);
    for (size_t i = 0; i < text.len; i++) {
        text.data[i] ^= 0x04;
        put_file("mutant.pem", text.data, text.len);
        int status = load("mutant.pem", NULL, NULL);
        CHECK(status == 0 || status == MLP_E_KEY);
        text.data[i] ^= 0x04;
    }
    mlp_buffer_clear(&text);
    mlp_signing_key_free(key);
}

int main(void)
{
    if (!make_directory())
        return 1;
    RUN(a_key_file_is_private_whatever_the_umask);
    RUN(an_encrypted_key_opens_with_its_passphrase_alone);
    RUN(a_key_file_is_never_overwritten);
    RUN(key_files_that_others_may_use_are_refused);
    RUN(other_keys_are_named_for_what_they_are);
    RUN(files_without_a_key_are_refused);
    RUN(a_saved_key_with_any_byte_changed_never_crashes_the_reader);
    remove_directory();
    return check_finish();
}
