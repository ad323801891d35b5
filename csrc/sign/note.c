#include "sign/note.h"

#include "codec/base64.h"
#include "codec/utf8.h"
#include "sign/ed25519.h"

#include <stdlib.h>
#include <string.h>

/* An em dash (U+2014) and a space begin every signature line (C2SP signed-note, "Format"). */
static const char line_prefix[] = "\xE2\x80\x94 ";
#define LINE_PREFIX_LEN (sizeof line_prefix - 1)

/* How much of a foreign name an error shows; cut where a character ends. */
#define SHOWN_NAME_MAX 96

static int shown_len(const char *name, size_t name_len)
{
    size_t len = name_len < SHOWN_NAME_MAX ? name_len : SHOWN_NAME_MAX;
    return (int)mlp_utf8_valid_len(name, len);
}

/* Returns: NULL, or the rule that these bytes break. */
static const char *characters_problem(const uint8_t *bytes, size_t bytes_len)
{
    if (!mlp_utf8_valid(bytes, bytes_len))
        return "it is not valid UTF-8";
    for (size_t i = 0; i < bytes_len; i++) {
        if (bytes[i] < 0x20 && bytes[i] != '\n')
            return "it contains a control character other than newline";
    }
    return NULL;
}

/* ---- reading ---- */

static int fail_note(struct mlp_error *error, const char *problem)
{
    return mlp_fail(error, MLP_E_MALFORMED, "malformed signed note: %s", problem);
}

/* Returns: the offset of the newline that ends the text: the first of the last two neighbouring
 * newlines; SIZE_MAX where there are none. */
static size_t find_split(const uint8_t *bytes, size_t bytes_len)
{
    for (size_t i = bytes_len; i >= 2; i--) {
        if (bytes[i - 2] == '\n' && bytes[i - 1] == '\n')
            return i - 2;
    }
    return SIZE_MAX;
}

/* line: without its newline. */
static int parse_signature(struct mlp_note_signature *signature, const char *line, size_t line_len,
                           struct mlp_error *error)
{
    if (line_len < LINE_PREFIX_LEN || memcmp(line, line_prefix, LINE_PREFIX_LEN) != 0)
        return fail_note(error, "a line after the last empty line is no signature line");
    const char *name = line + LINE_PREFIX_LEN;
    size_t rest_len = line_len - LINE_PREFIX_LEN;
    const char *space = rest_len > 0 ? memchr(name, ' ', rest_len) : NULL;
    if (space == NULL || !mlp_key_name_valid(name, (size_t)(space - name)))
        return fail_note(error, "a signature line has no valid key name");
    const char *base64 = space + 1;
    size_t base64_len = (size_t)(line + line_len - base64);
    size_t decoded_len = 0;
    if (mlp_base64_check(&decoded_len, base64, base64_len, NULL) != 0)
        return fail_note(error, "a signature is not canonical base64");
    if (decoded_len <= MLP_KEY_ID_LEN)
        return fail_note(error, "a signature is empty");

    memset(signature, 0, sizeof *signature);
    signature->name = name;
    signature->name_len = (size_t)(space - name);
    signature->signature_len = decoded_len - MLP_KEY_ID_LEN;
    /* The key id lies in the first 8 characters (6 bytes); a whole signature only of the length we
     * verify. Other algorithms' signatures may be longer: the line is theirs to check. */
    uint8_t decoded[MLP_KEY_ID_LEN + sizeof signature->signature];
    bool ours = decoded_len == sizeof decoded;
    size_t wanted_len = ours ? base64_len : base64_len < 8 ? base64_len : 8;
    int status =
        mlp_base64_decode(decoded, &decoded_len, sizeof decoded, base64, wanted_len, error);
    if (status != 0)
        return status;
    memcpy(signature->key_id4, decoded, MLP_KEY_ID_LEN);
    if (ours)
        memcpy(signature->signature, decoded + MLP_KEY_ID_LEN, sizeof signature->signature);
    return 0;
}

static int parse_signatures(struct mlp_note *note, const char *lines, size_t lines_len,
                            struct mlp_error *error)
{
    if (lines_len == 0)
        return fail_note(error, "it has no signature");
    if (lines[lines_len - 1] != '\n')
        return fail_note(error, "its last line does not end in a newline");
    note->signatures_count = 0;
    while (lines_len > 0) {
        if (note->signatures_count == MLP_NOTE_SIGNATURES_MAX)
            return fail_note(error, "it has more than 100 signatures");
        const char *newline = memchr(lines, '\n', lines_len);
        size_t line_len = (size_t)(newline - lines);
        int status =
            parse_signature(&note->signatures[note->signatures_count], lines, line_len, error);
        if (status != 0)
            return status;
        note->signatures_count++;
        lines += line_len + 1;
        lines_len -= line_len + 1;
    }
    return 0;
}

int mlp_note_parse(struct mlp_note *note, const void *bytes, size_t bytes_len,
                   struct mlp_error *error)
{
    if (bytes_len > MLP_NOTE_MAX_LEN)
        return fail_note(error, "it is longer than 1,000,000 bytes");
    const char *problem = characters_problem(bytes, bytes_len);
    if (problem != NULL)
        return fail_note(error, problem);
    size_t split = find_split(bytes, bytes_len);
    if (split == SIZE_MAX)
        return fail_note(error, "no empty line separates text and signatures");
    struct mlp_note parsed;
    parsed.text = bytes;
    parsed.text_len = split + 1;
    int status =
        parse_signatures(&parsed, (const char *)bytes + split + 2, bytes_len - split - 2, error);
    if (status == 0)
        *note = parsed;
    return status;
}

/* ---- writing ---- */

static int append_line(struct mlp_buffer *note, const struct mlp_signing_key *key, const void *text,
                       size_t text_len, struct mlp_error *error)
{
    const struct mlp_vkey *vkey = mlp_signing_key_vkey(key);
    uint8_t body[MLP_KEY_ID_LEN + MLP_ED25519_SIGNATURE_LEN];
    memcpy(body, vkey->key_id4, MLP_KEY_ID_LEN);
    int status = mlp_signing_key_sign(key, body + MLP_KEY_ID_LEN, text, text_len, error);
    if (status != 0)
        return status;
    mlp_buffer_append(note, line_prefix, LINE_PREFIX_LEN);
    mlp_buffer_append(note, vkey->name, vkey->name_len);
    mlp_buffer_append(note, " ", 1);
    mlp_base64_append(note, body, sizeof body);
    mlp_buffer_append(note, "\n", 1);
    return 0;
}

static const char *text_problem(const uint8_t *text, size_t text_len)
{
    if (text_len == 0 || text[text_len - 1] != '\n')
        return "it does not end in a newline";
    if (text_len > MLP_NOTE_MAX_LEN)
        return "it is longer than 1,000,000 bytes";
    return characters_problem(text, text_len);
}

int mlp_note_sign(struct mlp_buffer *note, const void *text, size_t text_len,
                  const struct mlp_signing_key *const *keys, size_t keys_count,
                  struct mlp_error *error)
{
    const char *problem = text_problem(text, text_len);
    if (problem != NULL)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot sign this text as a note: %s", problem);
    if (keys_count == 0 || keys_count > MLP_NOTE_SIGNATURES_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot sign a note with %zu keys: 1 to %d",
                        keys_count, MLP_NOTE_SIGNATURES_MAX);
    size_t before = note->len;
    mlp_buffer_append(note, text, text_len);
    mlp_buffer_append(note, "\n", 1);
    int status = 0;
    for (size_t i = 0; i < keys_count && status == 0; i++)
        status = append_line(note, keys[i], text, text_len, error);
    if (status == 0 && mlp_buffer_status(note) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "cannot sign a note: out of memory");
    if (status == 0 && note->len - before > MLP_NOTE_MAX_LEN)
        status = mlp_fail(error, MLP_E_ARGUMENT,
                          "cannot sign this text as a note: with its signatures it is longer than "
                          "1,000,000 bytes");
    if (status != 0)
        note->len = before;
    return status;
}

static bool is_signature_of(const struct mlp_note_signature *signature, const struct mlp_vkey *vkey)
{
    return signature->name_len == vkey->name_len &&
           memcmp(signature->name, vkey->name, vkey->name_len) == 0 &&
           memcmp(signature->key_id4, vkey->key_id4, sizeof vkey->key_id4) == 0;
}

/* The answer for one signature that claims to be vkey's. */
static int check_signature(const struct mlp_note *note, const struct mlp_note_signature *signature,
                           const struct mlp_vkey *vkey, struct mlp_error *error)
{
    int status =
        signature->signature_len == MLP_ED25519_SIGNATURE_LEN
            ? mlp_ed25519_verify(vkey->public32, signature->signature, MLP_ED25519_SIGNATURE_LEN,
                                 note->text, note->text_len, error)
            : MLP_E_MISMATCH;
    if (status == MLP_E_MISMATCH)
        return mlp_fail(
            error, MLP_E_MISMATCH,
            "the note bears a signature of %.*s (key id %02x%02x%02x%02x) that does not "
            "hold: the text or the signature was changed",
            shown_len(vkey->name, vkey->name_len), vkey->name, vkey->key_id4[0], vkey->key_id4[1],
            vkey->key_id4[2], vkey->key_id4[3]);
    return status;
}

/* ---- verification ---- */

static int check_unambiguous(const struct mlp_vkey *vkeys, size_t vkeys_count,
                             struct mlp_error *error)
{
    for (size_t i = 1; i < vkeys_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (memcmp(vkeys[i].key_id4, vkeys[j].key_id4, MLP_KEY_ID_LEN) == 0 &&
                strcmp(vkeys[i].name, vkeys[j].name) == 0 && !mlp_vkey_equal(&vkeys[i], &vkeys[j]))
                return mlp_fail(error, MLP_E_ARGUMENT,
                                "two different keys are named %s with the same key id: trust one "
                                "of them",
                                vkeys[i].name);
        }
    }
    return 0;
}

/* Checks one signature against every known key that it claims. */
static int verify_signature(uint8_t *verified, size_t *held, const struct mlp_note *note,
                            const struct mlp_note_signature *signature,
                            const struct mlp_vkey *vkeys, size_t vkeys_count,
                            struct mlp_error *error)
{
    for (size_t i = 0; i < vkeys_count; i++) {
        if (!is_signature_of(signature, &vkeys[i]))
            continue;
        int status = check_signature(note, signature, &vkeys[i], error);
        if (status != 0)
            return status;
        if (verified != NULL)
            verified[i] = 1;
        ++*held;
    }
    return 0;
}

int mlp_note_verify(uint8_t *verified, const struct mlp_note *note, const struct mlp_vkey *vkeys,
                    size_t vkeys_count, struct mlp_error *error)
{
    int status = check_unambiguous(vkeys, vkeys_count, error);
    if (status != 0)
        return status;
    if (verified != NULL && vkeys_count > 0)
        memset(verified, 0, vkeys_count);
    size_t held = 0;
    for (size_t i = 0; i < note->signatures_count && status == 0; i++)
        status = verify_signature(verified, &held, note, &note->signatures[i], vkeys, vkeys_count,
                                  error);
    if (status == 0 && held == 0) {
        const struct mlp_note_signature *first = &note->signatures[0];
        status =
            mlp_fail(error, MLP_E_NOT_FOUND,
                     "no known key signed this note: it bears %zu signature(s), the first of "
                     "%.*s (key id %02x%02x%02x%02x)",
                     note->signatures_count, shown_len(first->name, first->name_len), first->name,
                     first->key_id4[0], first->key_id4[1], first->key_id4[2], first->key_id4[3]);
    }
    if (status != 0 && verified != NULL && vkeys_count > 0)
        memset(verified, 0, vkeys_count); /* a note that fails speaks for nobody */
    return status;
}
