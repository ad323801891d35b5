/* Keys, notes, checkpoints. The Wycheproof and signed-note vectors are run by the Python tests. */
#include "base/bytes.h"
#include "check.h"
#include "key_fixture.h"
#include "sign/checkpoint.h"
#include "sign/ed25519.h"
#include "sign/key.h"
#include "sign/note.h"

#include <stdlib.h>
#include <string.h>

/* ---- Ed25519: RFC 8032 section 7.1, TEST 2 ---- */

static const uint8_t rfc_seed[32] = {
    0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
    0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb};
static const uint8_t rfc_public[32] = {
    0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
    0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};
static const uint8_t rfc_signature[64] = {
    0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f, 0x64, 0x25, 0x40,
    0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76, 0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda,
    0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99, 0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c,
    0x38, 0x7b, 0x2e, 0xae, 0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00};

static void the_rfc_8032_signature_is_made_and_holds(void)
{
    uint8_t public_key[32], signature[64];
    CHECK(mlp_ed25519_public(public_key, rfc_seed, NULL) == 0);
    CHECK(memcmp(public_key, rfc_public, 32) == 0);
    CHECK(mlp_ed25519_sign(signature, rfc_seed, "\x72", 1, NULL) == 0);
    CHECK(memcmp(signature, rfc_signature, 64) == 0);
    CHECK(mlp_ed25519_verify(rfc_public, rfc_signature, 64, "\x72", 1, NULL) == 0);
}

static void every_flipped_bit_of_a_signature_is_refused(void)
{
    uint8_t signature[64];
    for (size_t bit = 0; bit < 512; bit++) {
        memcpy(signature, rfc_signature, 64);
        signature[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(mlp_ed25519_verify(rfc_public, signature, 64, "\x72", 1, NULL) == MLP_E_MISMATCH);
    }
    CHECK(mlp_ed25519_verify(rfc_public, rfc_signature, 64, "\x73", 1, NULL) == MLP_E_MISMATCH);
    CHECK(mlp_ed25519_verify(rfc_public, rfc_signature, 63, "\x72", 1, NULL) == MLP_E_MISMATCH);
    CHECK(mlp_ed25519_verify(rfc_public, NULL, 0, "\x72", 1, NULL) == MLP_E_MISMATCH);
}

static void a_signature_with_the_group_order_added_is_refused(void)
{
    /* L = 2^252 + 27742317777372353535851937790883648493, little-endian (RFC 8032 section 5.1). */
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    uint8_t signature[64];
    unsigned carry = 0;
    memcpy(signature, rfc_signature, 64);
    for (size_t i = 0; i < 32; i++) {
        carry += (unsigned)signature[32 + i] + order[i];
        signature[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    CHECK(mlp_ed25519_verify(rfc_public, signature, 64, "\x72", 1, NULL) == MLP_E_MISMATCH);
}

/* ---- keys ---- */

static void a_verifier_key_survives_its_text(void)
{
    struct mlp_signing_key *key = key_named("mlprov/store/\xC3\xA9", 7);
    const struct mlp_vkey *vkey = mlp_signing_key_vkey(key);
    struct mlp_buffer text = {0};
    struct mlp_vkey read;
    CHECK(mlp_vkey_encode(&text, vkey, NULL) == 0 && text.len <= MLP_VKEY_TEXT_MAX);
    CHECK(mlp_vkey_decode(&read, (const char *)text.data, text.len, NULL) == 0);
    CHECK(mlp_vkey_equal(&read, vkey) && memcmp(read.key_id4, vkey->key_id4, 4) == 0);
    for (size_t i = 0; i < text.len; i++) {
        text.data[i] ^= 1;
        CHECK(mlp_vkey_decode(&read, (const char *)text.data, text.len, NULL) != 0);
        text.data[i] ^= 1;
        CHECK(mlp_vkey_decode(&read, (const char *)text.data, i, NULL) == MLP_E_MALFORMED);
    }
    mlp_buffer_append(&text, "\n", 1);
    CHECK(mlp_vkey_decode(&read, (const char *)text.data, text.len, NULL) == MLP_E_MALFORMED);
    mlp_buffer_clear(&text);
    mlp_signing_key_free(key);
}

static void an_owner_key_is_named_after_its_public_key(void)
{
    struct mlp_signing_key *key = key_named(NULL, 7);
    const struct mlp_vkey *vkey = mlp_signing_key_vkey(key);
    CHECK(strncmp(vkey->name, "mlprov/owner/", 13) == 0 && vkey->name_len == 29);
    CHECK(strspn(vkey->name + 13, "0123456789abcdef") == 16);
    mlp_signing_key_free(key);
}

static void two_generated_keys_differ(void)
{
    struct mlp_signing_key *one = NULL, *two = NULL;
    CHECK(mlp_signing_key_generate(&one, "a", 1, NULL) == 0);
    CHECK(mlp_signing_key_generate(&two, "a", 1, NULL) == 0);
    CHECK(!mlp_vkey_equal(mlp_signing_key_vkey(one), mlp_signing_key_vkey(two)));
    mlp_signing_key_free(one);
    mlp_signing_key_free(two);
    mlp_signing_key_free(NULL);
}

static void names_with_spaces_plus_or_controls_are_refused(void)
{
    static const char *const bad[] = {"",
                                      "a b",
                                      "a+b",
                                      "a\tb",
                                      "a\xC2\x85",
                                      "\xC2\xA0",
                                      "\xE1\x9A\x80",
                                      "\xE2\x80\x80",
                                      "\xE2\x80\x8A",
                                      "\xE2\x80\xA8",
                                      "\xE2\x80\xA9",
                                      "\xE2\x80\xAF",
                                      "\xE2\x81\x9F",
                                      "\xE3\x80\x80",
                                      "\xFF"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(!mlp_key_name_valid(bad[i], strlen(bad[i])));
    CHECK(mlp_key_name_valid("a\xE2\x80\x8B", 4)); /* U+200B is no White_Space */
    struct mlp_vkey vkey;
    char long_name[MLP_KEY_NAME_MAX + 1];
    memset(long_name, 'n', sizeof long_name);
    CHECK(mlp_vkey_init(&vkey, long_name, MLP_KEY_NAME_MAX, rfc_public, NULL) == 0);
    CHECK(mlp_vkey_init(&vkey, long_name, MLP_KEY_NAME_MAX + 1, rfc_public, NULL) ==
          MLP_E_ARGUMENT);
    CHECK(mlp_vkey_init(&vkey, "a\x01", 2, rfc_public, NULL) == MLP_E_ARGUMENT);
    CHECK(mlp_vkey_init(&vkey, "a\0b", 3, rfc_public, NULL) == MLP_E_ARGUMENT);
}

/* ---- notes ---- */

static int verify_bytes(const void *bytes, size_t len, const struct mlp_vkey *vkeys, size_t count)
{
    struct mlp_note note;
    int status = mlp_note_parse(&note, bytes, len, NULL);
    return status != 0 ? status : mlp_note_verify(NULL, &note, vkeys, count, NULL);
}

/* A note by two keys, for the tests to break. */
static void make_note(struct mlp_buffer *note, struct mlp_vkey vkeys[2], const char *text)
{
    struct mlp_signing_key *keys[2] = {key_named("first", 1), key_named("second", 2)};
    CHECK(mlp_note_sign(note, text, strlen(text), (const struct mlp_signing_key *const *)keys, 2,
                        NULL) == 0);
    for (size_t i = 0; i < 2; i++) {
        vkeys[i] = *mlp_signing_key_vkey(keys[i]);
        mlp_signing_key_free(keys[i]);
    }
}

static void a_note_holds_for_each_of_its_keys_and_no_other(void)
{
    struct mlp_buffer bytes = {0};
    struct mlp_vkey vkeys[3];
    struct mlp_note note;
    struct mlp_signing_key *stranger = key_named("first", 3); /* a known name, another key */
    make_note(&bytes, vkeys, "one\n\ntwo\n\n");
    vkeys[2] = *mlp_signing_key_vkey(stranger);
    CHECK(mlp_note_parse(&note, bytes.data, bytes.len, NULL) == 0);
    CHECK(note.text_len == 10 && memcmp(note.text, "one\n\ntwo\n\n", 10) == 0);
    CHECK(note.signatures_count == 2 && note.signatures[1].name_len == 6);
    uint8_t verified[3] = {9, 9, 9};
    CHECK(mlp_note_verify(verified, &note, vkeys, 3, NULL) == 0);
    CHECK(verified[0] == 1 && verified[1] == 1 && verified[2] == 0);
    CHECK(mlp_note_verify(NULL, &note, &vkeys[1], 1, NULL) == 0);
    CHECK(mlp_note_verify(verified, &note, &vkeys[2], 1, NULL) == MLP_E_NOT_FOUND);
    CHECK(mlp_note_verify(NULL, &note, NULL, 0, NULL) == MLP_E_NOT_FOUND);
    mlp_signing_key_free(stranger);
    mlp_buffer_clear(&bytes);
}

static void every_changed_byte_of_a_note_is_noticed(void)
{
    struct mlp_buffer note = {0};
    struct mlp_vkey vkeys[2];
    make_note(&note, vkeys, "origin\n7\n");
    for (size_t i = 0; i < note.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct mlp_note parsed;
            uint8_t verified[2] = {0, 0};
            note.data[i] ^= (uint8_t)(1u << bit);
            int status = mlp_note_parse(&parsed, note.data, note.len, NULL);
            if (status == 0)
                status = mlp_note_verify(verified, &parsed, vkeys, 2, NULL);
            /* A changed name or key id makes a signature a stranger's: one of two is left, never
             * both. */
            CHECK(status != 0 || verified[0] + verified[1] == 1);
            CHECK(status == 0 || status == MLP_E_MALFORMED || status == MLP_E_MISMATCH);
            note.data[i] ^= (uint8_t)(1u << bit);
        }
        CHECK(verify_bytes(note.data, i, vkeys, 2) == MLP_E_MALFORMED || note.data[i - 1] == '\n');
    }
    mlp_buffer_clear(&note);
}

static void a_false_signature_of_a_known_key_condemns_the_note(void)
{
    struct mlp_buffer note = {0}, other = {0};
    struct mlp_vkey vkeys[2];
    make_note(&note, vkeys, "a\n");
    make_note(&other, vkeys, "b\n");
    /* The true signatures, then those of another text: Go would ignore the repetition; we do not.
     */
    struct mlp_note parsed;
    CHECK(mlp_note_parse(&parsed, other.data, other.len, NULL) == 0);
    size_t skip = parsed.text_len + 1;
    mlp_buffer_append(&note, other.data + skip, other.len - skip);
    CHECK(verify_bytes(note.data, note.len, vkeys, 2) == MLP_E_MISMATCH);
    CHECK(verify_bytes(note.data, note.len, vkeys, 0) == MLP_E_NOT_FOUND);
    mlp_buffer_clear(&note);
    mlp_buffer_clear(&other);
}

static void a_repeated_signature_counts_once(void)
{
    struct mlp_buffer note = {0};
    struct mlp_vkey vkeys[2];
    make_note(&note, vkeys, "a\n");
    struct mlp_buffer lines = {0};
    mlp_buffer_append(&lines, note.data + 3, note.len - 3);
    mlp_buffer_append(&note, lines.data, lines.len);
    CHECK(verify_bytes(note.data, note.len, vkeys, 2) == 0);
    mlp_buffer_clear(&lines);
    mlp_buffer_clear(&note);
}

static void a_signature_of_another_length_under_a_known_key_does_not_hold(void)
{
    struct mlp_buffer note = {0};
    struct mlp_vkey vkeys[2];
    struct mlp_note parsed;
    make_note(&note, vkeys, "a\n");
    CHECK(mlp_note_parse(&parsed, note.data, note.len, NULL) == 0);
    parsed.signatures[0].signature_len = 67;
    CHECK(mlp_note_verify(NULL, &parsed, vkeys, 2, NULL) == MLP_E_MISMATCH);
    CHECK(mlp_note_verify(NULL, &parsed, &vkeys[1], 1, NULL) == 0);
    mlp_buffer_clear(&note);
}

static void two_known_keys_under_one_name_and_id_are_ambiguous(void)
{
    struct mlp_buffer note = {0};
    struct mlp_vkey vkeys[2];
    make_note(&note, vkeys, "a\n");
    vkeys[1] = vkeys[0];
    CHECK(verify_bytes(note.data, note.len, vkeys, 2) == 0);
    vkeys[1].public32[0] ^= 1;
    CHECK(verify_bytes(note.data, note.len, vkeys, 2) == MLP_E_ARGUMENT);
    mlp_buffer_clear(&note);
}

static void a_note_bears_at_most_a_hundred_signatures(void)
{
    struct mlp_signing_key *keys[101];
    struct mlp_buffer note = {0};
    for (size_t i = 0; i < 101; i++)
        keys[i] = key_named("k", (uint8_t)i);
    const struct mlp_signing_key *const *some = (const struct mlp_signing_key *const *)keys;
    CHECK(mlp_note_sign(&note, "a\n", 2, some, 101, NULL) == MLP_E_ARGUMENT);
    CHECK(mlp_note_sign(&note, "a\n", 2, some, 0, NULL) == MLP_E_ARGUMENT && note.len == 0);
    CHECK(mlp_note_sign(&note, "a\n", 2, some, 100, NULL) == 0);
    CHECK(verify_bytes(note.data, note.len, mlp_signing_key_vkey(keys[99]), 1) == 0);
    for (size_t i = 0; i < 101; i++)
        mlp_signing_key_free(keys[i]);
    mlp_buffer_clear(&note);
}

static void text_that_no_note_can_carry_is_not_signed(void)
{
    static const char *const bad[] = {"", "no newline", "tab\t\n", "\xFF\n", "cr\r\n"};
    struct mlp_signing_key *key = key_named("k", 1);
    const struct mlp_signing_key *keys[1] = {key};
    struct mlp_buffer note = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(mlp_note_sign(&note, bad[i], strlen(bad[i]), keys, 1, NULL) == MLP_E_ARGUMENT);
    char *large = malloc(MLP_NOTE_MAX_LEN);
    memset(large, '\n', MLP_NOTE_MAX_LEN);
    CHECK(mlp_note_sign(&note, large, MLP_NOTE_MAX_LEN, keys, 1, NULL) == MLP_E_ARGUMENT);
    CHECK(note.len == 0);
    free(large);
    mlp_buffer_clear(&note);
    mlp_signing_key_free(key);
}

/* ---- checkpoints ---- */

static int decode(const char *text)
{
    struct mlp_checkpoint checkpoint;
    return mlp_checkpoint_decode(&checkpoint, text, strlen(text), NULL);
}

#define ROOT "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="

static void the_checkpoint_of_the_specification_survives(void)
{
    static const char text[] = "example.com/behind-the-sofa\n20852163\n" ROOT "\n";
    struct mlp_checkpoint checkpoint;
    struct mlp_buffer again = {0};
    CHECK(mlp_checkpoint_decode(&checkpoint, text, sizeof text - 1, NULL) == 0);
    CHECK(checkpoint.size == 20852163 && checkpoint.root32[0] == 0x0A);
    CHECK(checkpoint.extensions == NULL && checkpoint.extensions_len == 0);
    CHECK(mlp_checkpoint_encode(&again, checkpoint.origin, checkpoint.origin_len, checkpoint.size,
                                checkpoint.root32, NULL) == 0);
    CHECK(again.len == sizeof text - 1 && memcmp(again.data, text, again.len) == 0);
    mlp_buffer_clear(&again);
}

static void extension_lines_are_handed_over(void)
{
    static const char text[] = "o\n0\n" ROOT "\nx\ny\n";
    struct mlp_checkpoint checkpoint;
    CHECK(mlp_checkpoint_decode(&checkpoint, text, sizeof text - 1, NULL) == 0);
    CHECK(checkpoint.extensions_len == 4 && memcmp(checkpoint.extensions, "x\ny\n", 4) == 0);
}

static void loose_checkpoints_are_malformed(void)
{
    static const char *const bad[] = {
        "",
        "o",
        "o\n",
        "o\n5\n",
        "\n5\n" ROOT "\n",
        "o\n05\n" ROOT "\n",
        "o\n+5\n" ROOT "\n",
        "o\n-5\n" ROOT "\n",
        "o\n 5\n" ROOT "\n",
        "o\n5 \n" ROOT "\n",
        "o\n0x5\n" ROOT "\n",
        "o\n\n" ROOT "\n",
        "o\n9223372036854775808\n" ROOT "\n",
        "o\n18446744073709551621\n" ROOT "\n",
        "o\n5\n" ROOT,
        "o\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
        "o\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2Ib\n",
        "o\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jx\n",
        "o\n5\n" ROOT "\n\n",
        "o\n5\n" ROOT "\nx\n\ny\n",
        "o\r\n5\n" ROOT "\n",
        "\xFF\n5\n" ROOT "\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(decode(bad[i]) == MLP_E_MALFORMED);
    CHECK(decode("o\n9223372036854775807\n" ROOT "\n") == 0);
}

static void an_origin_of_two_lines_is_not_written(void)
{
    struct mlp_buffer text = {0};
    uint8_t root[32] = {0};
    CHECK(mlp_checkpoint_encode(&text, "a\nb", 3, 1, root, NULL) == MLP_E_ARGUMENT);
    CHECK(mlp_checkpoint_encode(&text, "", 0, 1, root, NULL) == MLP_E_ARGUMENT);
    CHECK(mlp_checkpoint_encode(&text, "a", 1, UINT64_MAX, root, NULL) == MLP_E_ARGUMENT);
    CHECK(text.len == 0);
    mlp_buffer_clear(&text);
}

int main(void)
{
    RUN(the_rfc_8032_signature_is_made_and_holds);
    RUN(every_flipped_bit_of_a_signature_is_refused);
    RUN(a_signature_with_the_group_order_added_is_refused);
    RUN(a_verifier_key_survives_its_text);
    RUN(an_owner_key_is_named_after_its_public_key);
    RUN(two_generated_keys_differ);
    RUN(names_with_spaces_plus_or_controls_are_refused);
    RUN(a_note_holds_for_each_of_its_keys_and_no_other);
    RUN(every_changed_byte_of_a_note_is_noticed);
    RUN(a_false_signature_of_a_known_key_condemns_the_note);
    RUN(a_repeated_signature_counts_once);
    RUN(a_signature_of_another_length_under_a_known_key_does_not_hold);
    RUN(two_known_keys_under_one_name_and_id_are_ambiguous);
    RUN(a_note_bears_at_most_a_hundred_signatures);
    RUN(text_that_no_note_can_carry_is_not_signed);
    RUN(the_checkpoint_of_the_specification_survives);
    RUN(extension_lines_are_handed_over);
    RUN(loose_checkpoints_are_malformed);
    RUN(an_origin_of_two_lines_is_not_written);
    return check_finish();
}
