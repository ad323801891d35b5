/* web3_keystore.h - Ethereum keys in files: Web3 Secret Storage, version 3, as geth and others write it.
 *
 * Source: Web3 Secret Storage Definition, version 3. A key derived from the passphrase by scrypt or
 * PBKDF2-HMAC-SHA-256 has 32 bytes: the first 16 decrypt the secret (AES-128-CTR), the last 16 make the
 * MAC, Keccak-256(last 16 || ciphertext). We write scrypt with n = 131072, r = 8, p = 1 (OWASP Password
 * Storage Cheat Sheet), which takes about 0.4 s and 128 MiB; parameters of others are taken up to 1 GiB
 * of memory, 2^22 for n x r x p and 10,000,000 rounds of PBKDF2, so that a file cannot stall who opens
 * it. As RFC 7914 section 2 says, n is below 2^(16 r): one file of ethereum-tests (r = 1) is not.
 *
 * Threads: functions touch only what they are given (and the file).
 * Errors: texts never contain key material or passphrases.
 */
#ifndef MLP_SIGN_WEB3_KEYSTORE_H
#define MLP_SIGN_WEB3_KEYSTORE_H

#include "base/status.h"
#include "sign/ethereum_key.h"
#include "sign/key_file.h"

#include <stddef.h>

#define MLP_WEB3_PASSPHRASE_MAX 1024

/* Writes key into a new file.
 * In:      directory_fd, path: as for mlp_key_file_create. passphrase: 1 to MLP_WEB3_PASSPHRASE_MAX
 *          bytes.
 * Returns: 0; MLP_E_ARGUMENT (passphrase empty or too long); MLP_E_CRYPTO; MLP_E_MEMORY; otherwise as
 *          mlp_key_file_create.
 */
int mlp_web3_keystore_save(int directory_fd, const char *path, const struct mlp_ethereum_key *key,
                           const char *passphrase, size_t passphrase_len, struct mlp_error *error);

/* Reads a key file.
 * Returns: 0 (free with mlp_ethereum_key_free); MLP_E_KEY (no Web3 key file of version 3, parameters
 *          that are not known or too large, a wrong passphrase, another address than the file says);
 *          MLP_E_CRYPTO; MLP_E_MEMORY; otherwise as mlp_key_file_read.
 */
int mlp_web3_keystore_load(struct mlp_ethereum_key **key, int directory_fd, const char *path,
                           const char *passphrase, size_t passphrase_len, struct mlp_error *error);

/* The text of a file alone: what the two above write and read. */
int mlp_web3_keystore_encode(struct mlp_buffer *json, const struct mlp_ethereum_key *key,
                             const char *passphrase, size_t passphrase_len,
                             struct mlp_error *error);
int mlp_web3_keystore_decode(struct mlp_ethereum_key **key, const void *json, size_t json_len,
                             const char *passphrase, size_t passphrase_len,
                             struct mlp_error *error);

#endif
