/* ed25519.h - Ed25519 signatures through OpenSSL 3 (RFC 8032, PureEdDSA, no context).
 *
 * Verification, one pinned rule: that of OpenSSL 3 (crypto/ec/curve25519.c). A signature is exactly
 * 64 bytes R || S; S must be below the group order L (no malleability, RFC 8032 section 5.1.7); the
 * equation is checked without cofactor, [S]B - [k]A encoded and compared with R byte for byte, so a
 * non-canonical R never verifies. The public key must decode to a point; a non-canonical or
 * small-order key is not refused here: which keys count is decided by the trust list, never by a
 * key's shape. The Wycheproof Ed25519 file is met in full.
 *
 * Threads: functions touch only what they are given; OpenSSL's error queue of the calling thread is
 * left empty.
 * Errors: MLP_E_CRYPTO where OpenSSL itself fails (out of memory, FIPS policy), MLP_E_MEMORY.
 */
#ifndef MLP_SIGN_ED25519_H
#define MLP_SIGN_ED25519_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_ED25519_SEED_LEN      32
#define MLP_ED25519_PUBLIC_LEN    32
#define MLP_ED25519_SIGNATURE_LEN 64

/* A new random seed (OpenSSL's private generator).
 * Returns: 0 or MLP_E_CRYPTO.
 */
int mlp_ed25519_generate(uint8_t seed32[32], struct mlp_error *error);

/* Returns: 0; MLP_E_CRYPTO; MLP_E_MEMORY. */
int mlp_ed25519_public(uint8_t public32[32], const uint8_t seed32[32], struct mlp_error *error);

/* Deterministic: the same seed and message give the same bytes.
 * Returns: 0; MLP_E_CRYPTO; MLP_E_MEMORY.
 */
int mlp_ed25519_sign(uint8_t sig64[64], const uint8_t seed32[32], const void *message,
                     size_t message_len, struct mlp_error *error);

/* Returns: 0; MLP_E_MISMATCH (sig_len is not 64, or the signature does not hold under this key);
 *          MLP_E_CRYPTO.
 */
int mlp_ed25519_verify(const uint8_t public32[32], const uint8_t *sig, size_t sig_len,
                       const void *message, size_t message_len, struct mlp_error *error);

/* Release of OpenSSL in use, "3.0.15". Never NULL. */
const char *mlp_openssl_version(void);

#endif
