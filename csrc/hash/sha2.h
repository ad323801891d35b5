/* sha2.h - SHA-256, SHA-384 and SHA-512 (FIPS 180-4) by OpenSSL's EVP. Internal to the hash room.
 *
 * Threads: one context belongs to one thread at a time; the fetched algorithms are shared,
 * immutable, fetched once and kept until the process ends.
 * Errors: MLP_E_CRYPTO when OpenSSL fails (memory, or a policy that forbids the algorithm).
 */
#ifndef MLP_HASH_SHA2_H
#define MLP_HASH_SHA2_H

#include "hash/hash.h"

struct mlp_sha2; /* opaque: an EVP_MD_CTX */

/* algorithm: MLP_SHA256, MLP_SHA384 or MLP_SHA512.
 * Returns: 0 (free with mlp_sha2_free) or MLP_E_CRYPTO.
 */
int mlp_sha2_new(struct mlp_sha2 **sha2, int algorithm, struct mlp_error *error);

/* Returns: 0 (free with mlp_sha2_free) or MLP_E_CRYPTO. */
int mlp_sha2_copy(struct mlp_sha2 **copy, const struct mlp_sha2 *sha2, struct mlp_error *error);

/* Returns: 0 or MLP_E_CRYPTO. */
int mlp_sha2_update(struct mlp_sha2 *sha2, const void *data, size_t data_len,
                    struct mlp_error *error);

/* Does not change the context.
 * Out:     digest: the algorithm's digest.
 * Returns: 0 or MLP_E_CRYPTO.
 */
int mlp_sha2_digest(const struct mlp_sha2 *sha2, uint8_t *digest, struct mlp_error *error);

void mlp_sha2_free(struct mlp_sha2 *sha2); /* NULL is allowed; OpenSSL wipes the state */

/* Out:     digests: inputs_count rows; undefined after a failure.
 * Returns: 0 or MLP_E_CRYPTO.
 */
int mlp_sha2_many(int algorithm, uint8_t *digests, const struct mlp_hash_input *inputs,
                  size_t inputs_count, struct mlp_error *error);

#endif
