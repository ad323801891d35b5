/* keystore.h - private keys in files: PKCS#8 PEM, readable by openssl, private to their owner.
 *
 * A file holds the key alone; its C2SP name is given when it is loaded. With a passphrase the file
 * is an encrypted PKCS#8 key: PBES2, PBKDF2-HMAC-SHA-256 with 600,000 iterations, AES-256-CBC (RFC
 * 8018).
 *
 * key_file.h says which files are refused.
 *
 * Threads: functions touch only what they are given (and the file). Nothing is ever asked on the
 * terminal.
 * Errors: MLP_E_KEY says why a file cannot be used and what to do; texts never contain key material
 * or passphrases.
 */
#ifndef MLP_SIGN_KEYSTORE_H
#define MLP_SIGN_KEYSTORE_H

#include "base/status.h"
#include "sign/key.h"
#include "sign/key_file.h"

#include <stddef.h>

#define MLP_KEYSTORE_FILE_MAX MLP_KEY_FILE_MAX
/* OWASP Password Storage Cheat Sheet, PBKDF2-HMAC-SHA256. */
#define MLP_KEYSTORE_PBKDF2_ROUNDS  600000
#define MLP_KEYSTORE_PASSPHRASE_MAX 1024

/* Writes key into a new file: O_CREAT | O_EXCL | O_NOFOLLOW, 0600 whatever the umask, file and
 * directory fsynced. The directory must exist. An existing path is never overwritten.
 * In:      path: relative to directory_fd (AT_FDCWD: the working directory) or absolute.
 *          passphrase: NULL for an unencrypted file; otherwise 1 to MLP_KEYSTORE_PASSPHRASE_MAX
 *          bytes.
 * Returns: 0; MLP_E_KEY (path exists already); MLP_E_ARGUMENT (passphrase empty or too long);
 *          MLP_E_IO, MLP_E_FULL, MLP_E_READONLY, MLP_E_NOT_FOUND (the directory); MLP_E_MEMORY;
 *          MLP_E_CRYPTO. After a failure no file is left.
 */
int mlp_keystore_save(int directory_fd, const char *path, const struct mlp_signing_key *key,
                      const char *passphrase, size_t passphrase_len, struct mlp_error *error);

/* Reads a key file.
 * In:      name: the key's C2SP name; NULL for an owner key's (key.h).
 *          passphrase: NULL where there is none; ignored for an unencrypted file.
 * Returns: 0 (free with mlp_signing_key_free); MLP_E_NOT_FOUND (no such file); MLP_E_KEY (any
 *          refusal named above; encrypted and no passphrase given; wrong passphrase; another type
 *          of key; no key); MLP_E_ARGUMENT (name); MLP_E_IO, MLP_E_READONLY (not allowed to read
 *          it); MLP_E_MEMORY; MLP_E_CRYPTO.
 */
int mlp_keystore_load(struct mlp_signing_key **key, int directory_fd, const char *path,
                      const char *name, size_t name_len, const char *passphrase,
                      size_t passphrase_len, struct mlp_error *error);

#endif
