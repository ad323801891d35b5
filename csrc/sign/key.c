#include "sign/key.h"

#include "base/secret.h"
#include "codec/base64.h"
#include "codec/utf8.h"
#include "hash/hash.h"
#include "sign/ed25519.h"

#include <string.h>

/* C2SP signed-note, "Signature types": Ed25519 over the note text. */
#define ED25519_TYPE 0x01

struct mlp_signing_key {
    struct mlp_vkey vkey;
    uint8_t seed32[MLP_ED25519_SEED_LEN];
};

/* ---- names ---- */

/* The Unicode property White_Space (Unicode 15, PropList.txt), which is what Go's unicode.IsSpace
 * asks. */
static bool is_unicode_space(uint32_t code_point)
{
    return (code_point >= 0x09 && code_point <= 0x0D) || code_point == 0x20 || code_point == 0x85 ||
           code_point == 0xA0 || code_point == 0x1680 ||
           (code_point >= 0x2000 && code_point <= 0x200A) || code_point == 0x2028 ||
           code_point == 0x2029 || code_point == 0x202F || code_point == 0x205F ||
           code_point == 0x3000;
}

/* General category Cc: what a terminal may obey. */
static bool is_control(uint32_t code_point)
{
    return code_point < 0x20 || (code_point >= 0x7F && code_point <= 0x9F);
}

bool mlp_key_name_valid(const char *name, size_t name_len)
{
    size_t done = 0;
    while (done < name_len) {
        uint32_t code_point;
        size_t len = mlp_utf8_decode(&code_point, name + done, name_len - done);
        if (len == 0 || code_point == '+' || is_unicode_space(code_point) || is_control(code_point))
            return false;
        done += len;
    }
    return name_len > 0 && name_len <= MLP_KEY_NAME_MAX;
}

/* ---- verifier keys ---- */

/* C2SP signed-note: SHA-256(key name || 0x0A || signature type || public key)[:4]. */
static int compute_key_id(uint8_t key_id4[4], const char *name, size_t name_len,
                          const uint8_t public32[32], struct mlp_error *error)
{
    uint8_t input[MLP_KEY_NAME_MAX + 2 + MLP_ED25519_PUBLIC_LEN];
    uint8_t digest[32];
    memcpy(input, name, name_len);
    input[name_len] = 0x0A;
    input[name_len + 1] = ED25519_TYPE;
    memcpy(input + name_len + 2, public32, MLP_ED25519_PUBLIC_LEN);
    int status = mlp_hash(MLP_SHA256, digest, input, name_len + 2 + MLP_ED25519_PUBLIC_LEN, error);
    if (status == 0)
        memcpy(key_id4, digest, MLP_KEY_ID_LEN);
    return status;
}

/* docs/format.md section 6: the first 16 hex digits of SHA-256(public key). */
static int owner_name(char name[MLP_KEY_NAME_MAX + 1], const uint8_t public32[32],
                      struct mlp_error *error)
{
    uint8_t digest[32];
    int status = mlp_hash(MLP_SHA256, digest, public32, MLP_ED25519_PUBLIC_LEN, error);
    if (status != 0)
        return status;
    memcpy(name, MLP_OWNER_PREFIX, sizeof MLP_OWNER_PREFIX);
    mlp_hex_encode(name + sizeof MLP_OWNER_PREFIX - 1, digest, 8);
    return 0;
}

int mlp_vkey_init(struct mlp_vkey *vkey, const char *name, size_t name_len,
                  const uint8_t public32[32], struct mlp_error *error)
{
    char own_name[MLP_KEY_NAME_MAX + 1];
    int status = 0;
    if (name == NULL) {
        status = owner_name(own_name, public32, error);
        if (status != 0)
            return status;
        name = own_name;
        name_len = strlen(own_name);
    }
    if (!mlp_key_name_valid(name, name_len))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "invalid key name of %zu bytes: 1 to %d bytes of UTF-8 are expected, "
                        "without spaces, control characters and \"+\"",
                        name_len, MLP_KEY_NAME_MAX);
    struct mlp_vkey made;
    memset(&made, 0, sizeof made);
    memcpy(made.name, name, name_len);
    made.name_len = name_len;
    memcpy(made.public32, public32, sizeof made.public32);
    status = compute_key_id(made.key_id4, name, name_len, public32, error);
    if (status == 0)
        *vkey = made;
    return status;
}

static int fail_vkey(struct mlp_error *error, const char *problem)
{
    return mlp_fail(error, MLP_E_MALFORMED,
                    "malformed verifier key: %s (expected \"name+keyid+base64\")", problem);
}

int mlp_vkey_decode(struct mlp_vkey *vkey, const char *text, size_t text_len,
                    struct mlp_error *error)
{
    const char *plus = text_len > 0 ? memchr(text, '+', text_len) : NULL;
    if (plus == NULL)
        return fail_vkey(error, "no \"+\" after the name");
    size_t name_len = (size_t)(plus - text);
    if (!mlp_key_name_valid(text, name_len))
        return fail_vkey(error, "invalid name");
    const char *id = plus + 1;
    size_t rest_len = text_len - name_len - 1;
    uint8_t key_id4[MLP_KEY_ID_LEN];
    if (rest_len < 9 || id[8] != '+' || mlp_hex_decode(key_id4, sizeof key_id4, id, 8, NULL) != 0)
        return fail_vkey(error, "the key id is not 8 lower-case hexadecimal digits");
    uint8_t body[1 + MLP_ED25519_PUBLIC_LEN];
    size_t body_len = 0;
    int status = mlp_base64_decode(body, &body_len, sizeof body, id + 9, rest_len - 9, NULL);
    if (status == MLP_E_MALFORMED)
        return fail_vkey(error, "the key is not canonical base64");
    if (status == MLP_E_RANGE || body_len != sizeof body || body[0] != ED25519_TYPE)
        return fail_vkey(error, "not an Ed25519 key (0x01 and 32 bytes)");
    struct mlp_vkey made;
    status = mlp_vkey_init(&made, text, name_len, body + 1, error);
    if (status != 0)
        return status;
    if (memcmp(made.key_id4, key_id4, sizeof key_id4) != 0)
        return fail_vkey(error, "the key id is not that of this name and key");
    *vkey = made;
    return 0;
}

int mlp_vkey_encode(struct mlp_buffer *text, const struct mlp_vkey *vkey, struct mlp_error *error)
{
    uint8_t body[1 + MLP_ED25519_PUBLIC_LEN];
    body[0] = ED25519_TYPE;
    memcpy(body + 1, vkey->public32, sizeof vkey->public32);
    mlp_buffer_append(text, vkey->name, vkey->name_len);
    mlp_buffer_append(text, "+", 1);
    mlp_buffer_append_hex(text, vkey->key_id4, sizeof vkey->key_id4);
    mlp_buffer_append(text, "+", 1);
    mlp_base64_append(text, body, sizeof body);
    if (mlp_buffer_status(text) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot write a verifier key: out of memory");
    return 0;
}

bool mlp_vkey_equal(const struct mlp_vkey *left, const struct mlp_vkey *right)
{
    return left->name_len == right->name_len &&
           memcmp(left->name, right->name, left->name_len) == 0 &&
           memcmp(left->public32, right->public32, sizeof left->public32) == 0;
}

/* ---- signing keys ---- */

int mlp_signing_key_from_seed(struct mlp_signing_key **key, const char *name, size_t name_len,
                              const uint8_t seed32[32], struct mlp_error *error)
{
    struct mlp_signing_key *made = mlp_secret_new(sizeof *made);
    if (made == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot hold a signing key: out of memory");
    memcpy(made->seed32, seed32, sizeof made->seed32);
    uint8_t public32[MLP_ED25519_PUBLIC_LEN];
    int status = mlp_ed25519_public(public32, made->seed32, error);
    if (status == 0)
        status = mlp_vkey_init(&made->vkey, name, name_len, public32, error);
    if (status != 0) {
        mlp_signing_key_free(made);
        return status;
    }
    *key = made;
    return 0;
}

int mlp_signing_key_generate(struct mlp_signing_key **key, const char *name, size_t name_len,
                             struct mlp_error *error)
{
    uint8_t seed[MLP_ED25519_SEED_LEN];
    int status = mlp_ed25519_generate(seed, error);
    if (status == 0)
        status = mlp_signing_key_from_seed(key, name, name_len, seed, error);
    mlp_secret_wipe(seed, sizeof seed);
    return status;
}

void mlp_signing_key_free(struct mlp_signing_key *key)
{
    mlp_secret_free(key, sizeof *key);
}

const struct mlp_vkey *mlp_signing_key_vkey(const struct mlp_signing_key *key)
{
    return &key->vkey;
}

int mlp_signing_key_sign(const struct mlp_signing_key *key, uint8_t sig64[64], const void *message,
                         size_t message_len, struct mlp_error *error)
{
    return mlp_ed25519_sign(sig64, key->seed32, message, message_len, error);
}

const uint8_t *mlp_signing_key_seed(const struct mlp_signing_key *key)
{
    return key->seed32;
}
