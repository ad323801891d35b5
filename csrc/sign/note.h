/* note.h - C2SP signed notes: text, a blank line, signature lines.
 *
 *     <text, ends in a newline>
 *     <empty line>
 *     — <key name> <base64(4-byte key id || signature)>
 *
 * Source: C2SP signed-note. Reading is strict: valid UTF-8, no control characters but newline, at
 * most 1,000,000 bytes and 100 signatures, strict base64 (base64.h), the last empty line separates,
 * every line after it is a signature, the last ends in a newline. Text must not be empty.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_SIGN_NOTE_H
#define MLP_SIGN_NOTE_H

#include "base/bytes.h"
#include "base/status.h"
#include "sign/key.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_NOTE_MAX_LEN        1000000
#define MLP_NOTE_SIGNATURES_MAX 100

struct mlp_note_signature {
    const char *name; /* points into the note; not NUL-terminated */
    size_t name_len;
    uint8_t key_id4[4];
    size_t signature_len;  /* decoded length after the key id, at least 1 */
    uint8_t signature[64]; /* filled where signature_len is 64, else zeros */
};

/* A parsed note: points into the caller's bytes, owns nothing. About 10 KB. */
struct mlp_note {
    const uint8_t *text; /* with its final newline, without the empty line */
    size_t text_len;
    size_t signatures_count; /* at least 1 */
    struct mlp_note_signature signatures[MLP_NOTE_SIGNATURES_MAX];
};

/* Returns: 0, or MLP_E_MALFORMED with the rule that is broken. Checks no signature. */
int mlp_note_parse(struct mlp_note *note, const void *bytes, size_t bytes_len,
                   struct mlp_error *error);

/* Signs text and appends the whole note to note.
 * Returns: 0; MLP_E_ARGUMENT (no keys, more than 100, text that no note can carry: empty, no final
 *          newline, control characters, not UTF-8, too long); MLP_E_MEMORY; MLP_E_CRYPTO. note is
 *          unchanged on failure.
 */
int mlp_note_sign(struct mlp_buffer *note, const void *text, size_t text_len,
                  const struct mlp_signing_key *const *keys, size_t keys_count,
                  struct mlp_error *error);

/* Checks the note against the keys that the caller knows. A signature is a known key's when both
 * name and key id are. Signatures of unknown keys are ignored. Every signature of a known key must
 * hold; repeated ones count once.
 * Out:     verified: NULL, or vkeys_count bytes, set to 1 where that key's signature holds and else
 *          to 0.
 * Returns: 0 (at least one known key signed, none of them falsely); MLP_E_MISMATCH (a signature
 *          that claims to be a known key's does not hold; the error names the key); MLP_E_NOT_FOUND
 *          (well-formed, but no known key signed it; the error names who did); MLP_E_ARGUMENT (two
 *          different vkeys share name and key id); MLP_E_CRYPTO.
 */
int mlp_note_verify(uint8_t *verified, const struct mlp_note *note, const struct mlp_vkey *vkeys,
                    size_t vkeys_count, struct mlp_error *error);

#endif
