/* sha2.c - the only file of the hash room that includes OpenSSL. */
#include "hash/sha2.h"
#include "hash/input_bytes.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>

/* struct mlp_sha2 is never defined: a pointer to it is OpenSSL's context under another name, so
 * that no other file needs OpenSSL's headers. */
static EVP_MD_CTX *context_of(struct mlp_sha2 *sha2)
{
    return (EVP_MD_CTX *)sha2;
}

static const EVP_MD_CTX *const_context_of(const struct mlp_sha2 *sha2)
{
    return (const EVP_MD_CTX *)sha2;
}

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_MD *fetched[MLP_SHA512 + 1]; /* by enum mlp_algorithm; NULL where OpenSSL refuses */

static void fetch_all(void)
{
    fetched[MLP_SHA256] = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    fetched[MLP_SHA384] = EVP_MD_fetch(NULL, "SHA2-384", NULL);
    fetched[MLP_SHA512] = EVP_MD_fetch(NULL, "SHA2-512", NULL);
}

static int fail_openssl(const char *attempt, struct mlp_error *error)
{
    char reason[160];
    unsigned long code = ERR_get_error();
    ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return mlp_fail(error, MLP_E_CRYPTO, "%s: OpenSSL failed: %s", attempt,
                    code != 0 ? reason : "no reason given");
}

static int start(EVP_MD_CTX *context, int algorithm, struct mlp_error *error)
{
    pthread_once(&fetch_once, fetch_all);
    if (fetched[algorithm] == NULL)
        return mlp_fail(error, MLP_E_CRYPTO,
                        "%s: this OpenSSL does not offer it; check the provider and policy in its "
                        "configuration",
                        mlp_algorithm_name(algorithm));
    if (EVP_DigestInit_ex2(context, fetched[algorithm], NULL) != 1)
        return fail_openssl("starting a SHA-2 digest", error);
    return MLP_OK;
}

int mlp_sha2_new(struct mlp_sha2 **sha2, int algorithm, struct mlp_error *error)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL)
        return fail_openssl("making a SHA-2 context", error);
    int status = start(context, algorithm, error);
    if (status != MLP_OK) {
        EVP_MD_CTX_free(context);
        return status;
    }
    *sha2 = (struct mlp_sha2 *)context;
    return MLP_OK;
}

int mlp_sha2_copy(struct mlp_sha2 **copy, const struct mlp_sha2 *sha2, struct mlp_error *error)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL)
        return fail_openssl("making a SHA-2 context", error);
    if (EVP_MD_CTX_copy_ex(context, const_context_of(sha2)) != 1) {
        EVP_MD_CTX_free(context);
        return fail_openssl("copying a SHA-2 state", error);
    }
    *copy = (struct mlp_sha2 *)context;
    return MLP_OK;
}

int mlp_sha2_update(struct mlp_sha2 *sha2, const void *data, size_t data_len,
                    struct mlp_error *error)
{
    if (data_len > 0 && EVP_DigestUpdate(context_of(sha2), data, data_len) != 1)
        return fail_openssl("adding to a SHA-2 digest", error);
    return MLP_OK;
}

int mlp_sha2_digest(const struct mlp_sha2 *sha2, uint8_t *digest, struct mlp_error *error)
{
    struct mlp_sha2 *copy = NULL;
    int status = mlp_sha2_copy(&copy, sha2, error);
    if (status != MLP_OK)
        return status;
    if (EVP_DigestFinal_ex(context_of(copy), digest, NULL) != 1)
        status = fail_openssl("finishing a SHA-2 digest", error);
    mlp_sha2_free(copy);
    return status;
}

void mlp_sha2_free(struct mlp_sha2 *sha2)
{
    EVP_MD_CTX_free(context_of(sha2));
}

struct addition {
    EVP_MD_CTX *context;
    bool failed;
};

static void add_bytes(void *context, const uint8_t *bytes, size_t bytes_len, bool last)
{
    struct addition *addition = context;
    (void)last;
    if (!addition->failed && bytes_len > 0)
        addition->failed = EVP_DigestUpdate(addition->context, bytes, bytes_len) != 1;
}

/* One context for all: its allocation costs more than a short message. */
int mlp_sha2_many(int algorithm, uint8_t *digests, const struct mlp_hash_input *inputs,
                  size_t inputs_count, struct mlp_error *error)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL)
        return fail_openssl("making a SHA-2 context", error);
    int status = MLP_OK;
    size_t digest_len = mlp_algorithm_digest_len(algorithm);
    for (size_t i = 0; i < inputs_count && status == MLP_OK; i++) {
        status = start(context, algorithm, error);
        if (status != MLP_OK)
            break;
        struct addition addition = {context, false};
        mlp_input_pieces(&inputs[i], 0, inputs[i].len, add_bytes, &addition);
        if (addition.failed || EVP_DigestFinal_ex(context, digests + i * digest_len, NULL) != 1)
            status = fail_openssl("hashing with SHA-2", error);
    }
    EVP_MD_CTX_free(context);
    return status;
}
