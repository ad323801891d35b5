/* ethereum_key.h - an Ethereum account: its key, its address, and addresses as text.
 *
 * Sources: the Yellow Paper, appendix F (an address is the last 20 bytes of Keccak-256 of the public
 * key's x || y); EIP-55 (the case of an address's letters is its checksum).
 *
 * Threads: a struct mlp_ethereum_key may be used from any thread while nobody frees it.
 * Errors: whatever needs a signature answers MLP_E_CRYPTO where libsecp256k1 is missing
 * (secp256k1.h). Texts never contain key material.
 */
#ifndef MLP_SIGN_ETHEREUM_KEY_H
#define MLP_SIGN_ETHEREUM_KEY_H

#include "base/status.h"
#include "sign/secp256k1.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_ETHEREUM_ADDRESS_LEN  20
#define MLP_ETHEREUM_ADDRESS_TEXT 42 /* "0x" and 40 digits */

/* Opaque: secret and address. The secret lies in memory that is locked and left out of core dumps
 * where the system allows it, and is wiped by mlp_ethereum_key_free. It never leaves except into a
 * key file (web3_keystore.h). */
struct mlp_ethereum_key;

/* Returns: 0 (free with mlp_ethereum_key_free), MLP_E_MEMORY, MLP_E_CRYPTO. */
int mlp_ethereum_key_generate(struct mlp_ethereum_key **key, struct mlp_error *error);

/* Returns: as mlp_ethereum_key_generate, or MLP_E_KEY (zero, or not below the group's order). */
int mlp_ethereum_key_from_secret(struct mlp_ethereum_key **key, const uint8_t secret32[32],
                                 struct mlp_error *error);

/* Another of the same account, for another owner.
 * Returns: as mlp_ethereum_key_generate.
 */
int mlp_ethereum_key_copy(struct mlp_ethereum_key **copy, const struct mlp_ethereum_key *key,
                          struct mlp_error *error);
void mlp_ethereum_key_free(struct mlp_ethereum_key *key); /* NULL is allowed */

/* 20 bytes; live as long as the key. Never NULL. */
const uint8_t *mlp_ethereum_key_address(const struct mlp_ethereum_key *key);

/* Returns: as mlp_secp256k1_sign. */
int mlp_ethereum_key_sign(const struct mlp_ethereum_key *key,
                          struct mlp_secp256k1_signature *signature, const uint8_t digest32[32],
                          struct mlp_error *error);

/* For web3_keystore.h alone: the 32 secret bytes; live as long as the key. */
const uint8_t *mlp_ethereum_key_secret(const struct mlp_ethereum_key *key);

/* The account whose key made signature over the digest.
 * Returns: as mlp_secp256k1_recover.
 */
int mlp_ethereum_recover(uint8_t address20[20], const struct mlp_secp256k1_signature *signature,
                         const uint8_t digest32[32], struct mlp_error *error);

/* ---- addresses as text ---- */

/* Writes "0x", 40 digits in the case of EIP-55, and a NUL. */
void mlp_ethereum_address_encode(char text[MLP_ETHEREUM_ADDRESS_TEXT + 1],
                                 const uint8_t address20[20]);

/* Reads "0x" and 40 digits: in the case of EIP-55, or all letters of one case (no checksum).
 * Returns: 0 or MLP_E_MALFORMED (a wrong checksum included: one digit is probably mistyped).
 */
int mlp_ethereum_address_decode(uint8_t address20[20], const char *text, size_t text_len,
                                struct mlp_error *error);

#endif
