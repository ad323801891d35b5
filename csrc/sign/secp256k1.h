/* secp256k1.h - ECDSA over secp256k1 with recovery, as Ethereum signs. The only user of libsecp256k1.
 *
 * The library is opened at the first call (dlopen), so that importing mlprov loads nothing; its
 * headers are needed when mlprov is built. Where either is missing every call below fails with
 * MLP_E_CRYPTO and a text that names what to install; nothing else of mlprov is affected.
 *
 * Sources: SEC 1 version 2.0 sections 4.1.3 and 4.1.6; RFC 6979 (deterministic nonces: a message
 * signed again gives the same bytes); the Yellow Paper, appendix F (low s, recovery id 0 or 1).
 *
 * Threads: any; the library is opened once, its context is made once and never changes after.
 */
#ifndef MLP_SIGN_SECP256K1_H
#define MLP_SIGN_SECP256K1_H

#include "base/status.h"

#include <stdint.h>

/* A recoverable signature: r || s, big-endian, and the parity of the nonce point's y. */
struct mlp_secp256k1_signature {
    uint8_t rs64[64];
    uint8_t y_parity; /* 0 or 1 */
};

/* Whether the library can be used: opens it.
 * Returns: 0 or MLP_E_CRYPTO (the text says what to install).
 */
int mlp_secp256k1_available(struct mlp_error *error);

/* The public key of a secret: the point's coordinates x || y.
 * Returns: 0; MLP_E_KEY (zero, or not below the group's order); MLP_E_CRYPTO.
 */
int mlp_secp256k1_public(uint8_t public64[64], const uint8_t secret32[32], struct mlp_error *error);

/* Signs a 32-byte digest with the nonce of RFC 6979; s is low.
 * Returns: as mlp_secp256k1_public.
 */
int mlp_secp256k1_sign(struct mlp_secp256k1_signature *signature, const uint8_t digest32[32],
                       const uint8_t secret32[32], struct mlp_error *error);

/* The public key under which signature holds for the digest. For r, s below the group's order and
 * not zero, s low, there is one unless r is no x-coordinate of the curve.
 * Returns: 0; MLP_E_MISMATCH (no key signs so: r or s zero or too large, s high, y_parity above 1,
 *          no such point); MLP_E_CRYPTO.
 */
int mlp_secp256k1_recover(uint8_t public64[64], const struct mlp_secp256k1_signature *signature,
                          const uint8_t digest32[32], struct mlp_error *error);

#endif
