/* In place of csrc/hash/sha2.c where there is no OpenSSL for the processor under test (make
 * test-neon): whatever asks for SHA-2 fails and is told why. The tests of SHA-2 (tests/c/test_sha2.c)
 * and of the rooms that need it are not run there. */
#include "hash/sha2.h"

static int fail_absent(struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_CRYPTO,
                    "SHA-2: this build, for tests of BLAKE3 alone, has no OpenSSL");
}

int mlp_sha2_new(struct mlp_sha2 **sha2, int algorithm, struct mlp_error *error)
{
    (void)sha2;
    (void)algorithm;
    return fail_absent(error);
}

int mlp_sha2_copy(struct mlp_sha2 **copy, const struct mlp_sha2 *sha2, struct mlp_error *error)
{
    (void)copy;
    (void)sha2;
    return fail_absent(error);
}

int mlp_sha2_update(struct mlp_sha2 *sha2, const void *data, size_t data_len,
                    struct mlp_error *error)
{
    (void)sha2;
    (void)data;
    (void)data_len;
    return fail_absent(error);
}

int mlp_sha2_digest(const struct mlp_sha2 *sha2, uint8_t *digest, struct mlp_error *error)
{
    (void)sha2;
    (void)digest;
    return fail_absent(error);
}

void mlp_sha2_free(struct mlp_sha2 *sha2)
{
    (void)sha2; /* none was ever made */
}

int mlp_sha2_many(int algorithm, uint8_t *digests, const struct mlp_hash_input *inputs,
                  size_t inputs_count, struct mlp_error *error)
{
    (void)algorithm;
    (void)digests;
    (void)inputs;
    (void)inputs_count;
    return fail_absent(error);
}
