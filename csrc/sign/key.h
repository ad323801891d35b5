/* key.h - named Ed25519 keys as C2SP signed notes know them: verifier and signing keys.
 *
 * Source: C2SP signed-note. Key id = SHA-256(name || 0x0A || 0x01 || public key)[:4]; verifier key
 * text = name "+" hex key id "+" base64(0x01 || public key). A name is non-empty valid UTF-8
 * without Unicode spaces and without "+"; for keys that we use, also without control characters and
 * at most MLP_KEY_NAME_MAX bytes.
 *
 * Threads: a struct mlp_signing_key may be used from any thread while nobody frees it.
 */
#ifndef MLP_SIGN_KEY_H
#define MLP_SIGN_KEY_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_KEY_NAME_MAX  255
#define MLP_KEY_ID_LEN    4
#define MLP_OWNER_PREFIX  "mlprov/owner/"
#define MLP_VKEY_TEXT_MAX (MLP_KEY_NAME_MAX + 1 + 8 + 1 + 44)

/* ---- verifier keys ---- */

struct mlp_vkey {
    char name[MLP_KEY_NAME_MAX + 1]; /* NUL-terminated */
    size_t name_len;
    uint8_t key_id4[4];
    uint8_t public32[32];
};

/* Whether a key may have this name, here and on signature lines: docs/format.md section 6, which is
 * C2SP's rule, at most MLP_KEY_NAME_MAX bytes, and no control characters. */
bool mlp_key_name_valid(const char *name, size_t name_len);

/* In:      name: NULL for an owner key's name, "mlprov/owner/" and the first 16 hex digits of
 *          SHA-256(public key).
 * Returns: 0; MLP_E_ARGUMENT (name against the rule); MLP_E_CRYPTO.
 */
int mlp_vkey_init(struct mlp_vkey *vkey, const char *name, size_t name_len,
                  const uint8_t public32[32], struct mlp_error *error);

/* Reads "name+keyid+base64".
 * Returns: 0; MLP_E_MALFORMED (shape, name, base64, another algorithm than 0x01, another length, a
 *          key id that is not the key's).
 */
int mlp_vkey_decode(struct mlp_vkey *vkey, const char *text, size_t text_len,
                    struct mlp_error *error);

/* Appends the text, without newline.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_vkey_encode(struct mlp_buffer *text, const struct mlp_vkey *vkey, struct mlp_error *error);

bool mlp_vkey_equal(const struct mlp_vkey *left, const struct mlp_vkey *right);

/* ---- signing keys ---- */

/* Opaque: name, key id, seed. The seed lies in memory that is locked and left out of core dumps
 * where the system allows it, and is wiped by mlp_signing_key_free. It never leaves except into a
 * key file (keystore.h). Name: as for mlp_vkey_init. */
struct mlp_signing_key;

/* Returns: 0 (free with mlp_signing_key_free), MLP_E_ARGUMENT (name), MLP_E_MEMORY, MLP_E_CRYPTO.
 */
int mlp_signing_key_generate(struct mlp_signing_key **key, const char *name, size_t name_len,
                             struct mlp_error *error);

/* Returns: as mlp_signing_key_generate. */
int mlp_signing_key_from_seed(struct mlp_signing_key **key, const char *name, size_t name_len,
                              const uint8_t seed32[32], struct mlp_error *error);
void mlp_signing_key_free(struct mlp_signing_key *key); /* NULL is allowed */

/* Its public half; lives as long as the key. Never NULL. */
const struct mlp_vkey *mlp_signing_key_vkey(const struct mlp_signing_key *key);

/* The bare signature over message. Notes: mlp_note_sign.
 * Returns: as mlp_ed25519_sign.
 */
int mlp_signing_key_sign(const struct mlp_signing_key *key, uint8_t sig64[64], const void *message,
                         size_t message_len, struct mlp_error *error);

/* For keystore.h alone: the 32 seed bytes; live as long as the key. */
const uint8_t *mlp_signing_key_seed(const struct mlp_signing_key *key);

#endif
