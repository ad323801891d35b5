/* Merkle-Patricia tries against ethereum-tests, and every proof broken in every byte. */
#include "anchor/trie.h"
#include "check.h"
#include "hash/keccak.h"
#include "vectors_fixture.h"

#define ENTRIES_MAX 512

/* ---- ethereum-tests, TrieTests: keys and values put one after another, null takes away ---- */

struct vector_trie {
    struct mlp_buffer keys[ENTRIES_MAX], values[ENTRIES_MAX];
    size_t count;
};

static void text_or_hex(struct mlp_buffer *bytes, const struct mlp_json_value *value)
{
    size_t len = 0;
    const char *text = mlp_json_string(value, &len);
    if (text != NULL && strncmp(text, "0x", 2) == 0)
        append_hex_text(bytes, text);
    else if (text != NULL)
        mlp_buffer_append(bytes, text, len);
}

static int key_order(const struct mlp_buffer *left, const struct mlp_buffer *right)
{
    size_t common = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->data, right->data, common);
    return order != 0 ? order : (left->len > right->len) - (left->len < right->len);
}

static void remove_at(struct vector_trie *trie, size_t at)
{
    mlp_buffer_clear(&trie->keys[at]);
    mlp_buffer_clear(&trie->values[at]);
    for (trie->count--; at < trie->count; at++) {
        trie->keys[at] = trie->keys[at + 1];
        trie->values[at] = trie->values[at + 1];
    }
}

static void put(struct vector_trie *trie, struct mlp_buffer key, struct mlp_buffer value)
{
    size_t at = 0;
    while (at < trie->count && key_order(&trie->keys[at], &key) < 0)
        at++;
    if (at < trie->count && key_order(&trie->keys[at], &key) == 0)
        remove_at(trie, at);
    if (value.len == 0) {
        mlp_buffer_clear(&key);
        return;
    }
    for (size_t i = trie->count++; i > at; i--) {
        trie->keys[i] = trie->keys[i - 1];
        trie->values[i] = trie->values[i - 1];
    }
    trie->keys[at] = key;
    trie->values[at] = value;
}

static void put_vector(struct vector_trie *trie, const char *key_text, size_t key_len,
                       const struct mlp_json_value *value_json, bool secure)
{
    struct mlp_buffer key = {0}, value = {0};
    if (strncmp(key_text, "0x", 2) == 0)
        append_hex_text(&key, key_text);
    else
        mlp_buffer_append(&key, key_text, key_len);
    if (secure) {
        uint8_t hash[32];
        mlp_keccak256(hash, key.data, key.len);
        key.len = 0;
        mlp_buffer_append(&key, hash, sizeof hash);
    }
    text_or_hex(&value, value_json);
    put(trie, key, value);
}

static void fill(struct vector_trie *trie, const struct mlp_json_value *in, bool secure)
{
    struct mlp_json_member member = {0};
    while (mlp_json_next(in, &member))
        put_vector(trie, member.key, member.key_len, member.value, secure);
    for (size_t i = 0; mlp_json_type(in) == MLP_JSON_ARRAY && i < mlp_json_count(in); i++) {
        const struct mlp_json_value *pair = mlp_json_at(in, i);
        size_t len = 0;
        const char *key = mlp_json_string(mlp_json_at(pair, 0), &len);
        put_vector(trie, key, len, mlp_json_at(pair, 1), secure);
    }
}

/* ---- proofs ---- */

static bool proves(const uint8_t root32[32], const struct mlp_trie_entry *entry,
                   const struct mlp_buffer *proof)
{
    struct mlp_trie_bytes value;
    struct mlp_rlp_rest rest = {proof->data, proof->len};
    int status = mlp_trie_verify(&value, root32, entry->key.data, entry->key.len, rest, NULL);
    if (status != 0)
        CHECK(status == MLP_E_MISMATCH || status == MLP_E_MALFORMED);
    return status == 0 && value.len == entry->value.len &&
           memcmp(value.data, entry->value.data, value.len) == 0;
}

static void check_broken_proofs(const uint8_t root32[32], const struct mlp_trie_entry *entry,
                                struct mlp_buffer *proof)
{
    size_t len = proof->len;
    for (size_t i = 0; i < len; i++) {
        proof->data[i] ^= 1;
        CHECK(!proves(root32, entry, proof));
        proof->data[i] ^= 0x81;
        CHECK(!proves(root32, entry, proof));
        proof->data[i] ^= 0x80;
        proof->len = i;
        CHECK(!proves(root32, entry, proof));
        proof->len = len;
    }
    mlp_buffer_append(proof, "\x80", 1);
    CHECK(!proves(root32, entry, proof));
}

static void check_every_proof(const uint8_t root32[32], const struct mlp_trie_entry *entries,
                              size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct mlp_buffer proof = {0};
        uint8_t root[32];
        CHECK(mlp_trie_build(root, &proof, entries, count, i, NULL) == 0);
        CHECK(memcmp(root, root32, 32) == 0);
        CHECK(proves(root32, &entries[i], &proof));
        check_broken_proofs(root32, &entries[i], &proof);
        mlp_buffer_clear(&proof);
    }
}

static void check_vector(const struct mlp_json_value *vector, const char *name, bool secure)
{
    struct vector_trie *trie = calloc(1, sizeof *trie);
    struct mlp_trie_entry *entries = calloc(ENTRIES_MAX, sizeof *entries);
    struct mlp_buffer expected = {0};
    uint8_t root[32];
    fill(trie, mlp_json_get(vector, "in"), secure);
    for (size_t i = 0; i < trie->count; i++) {
        entries[i].key = (struct mlp_trie_bytes){trie->keys[i].data, trie->keys[i].len};
        entries[i].value = (struct mlp_trie_bytes){trie->values[i].data, trie->values[i].len};
    }
    append_hex_text(&expected, string_of(vector, "root"));
    CHECK(mlp_trie_build(root, NULL, entries, trie->count, 0, NULL) == 0);
    if (!CHECK(expected.len == 32 && memcmp(root, expected.data, 32) == 0))
        printf("  %s\n", name);
    check_every_proof(root, entries, trie->count);
    while (trie->count > 0)
        remove_at(trie, trie->count - 1);
    mlp_buffer_clear(&expected);
    free(entries);
    free(trie);
}

static void the_roots_are_those_of_ethereum_tests_and_every_proof_holds(void)
{
    static const struct {
        const char *file;
        bool secure;
    } files[] = {
        {"ethereum-tests/TrieTests/trieanyorder.json", false},
        {"ethereum-tests/TrieTests/trieanyorder_secureTrie.json", true},
        {"ethereum-tests/TrieTests/trietest.json", false},
        {"ethereum-tests/TrieTests/trietest_secureTrie.json", true},
        {"ethereum-tests/TrieTests/hex_encoded_securetrie_test.json", true},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct mlp_json_document *document = read_vectors(files[i].file);
        struct mlp_json_member member = {0};
        while (document != NULL && mlp_json_next(mlp_json_root(document), &member))
            check_vector(member.value, member.key, files[i].secure);
        mlp_json_free(document);
    }
}

/* ---- lists ---- */

static void every_index_of_lists_around_the_key_lengths_is_proved(void)
{
    static const size_t counts[] = {1, 2, 16, 17, 127, 128, 129, 130, 256, 257, 300};
    uint8_t bytes[300][40];
    struct mlp_trie_bytes values[300];
    for (size_t i = 0; i < 300; i++) {
        memset(bytes[i], (int)(i % 251), sizeof bytes[i]);
        values[i].data = bytes[i];
        values[i].len = 1 + i % sizeof bytes[i]; /* short ones stand in their parents */
    }
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        uint8_t first_root[32];
        CHECK(mlp_trie_build_list(first_root, NULL, values, counts[c], 0, NULL) == 0);
        for (size_t i = 0; i < counts[c]; i++) {
            uint8_t root[32];
            struct mlp_buffer proof = {0};
            struct mlp_trie_bytes value;
            CHECK(mlp_trie_build_list(root, &proof, values, counts[c], i, NULL) == 0);
            struct mlp_rlp_rest rest = {proof.data, proof.len};
            CHECK(memcmp(root, first_root, 32) == 0);
            CHECK(mlp_trie_verify_index(&value, root, i, rest, NULL) == 0);
            CHECK(value.len == values[i].len && memcmp(value.data, bytes[i], value.len) == 0);
            /* A short neighbour may stand in the same nodes; then it is the neighbour's value. */
            if (mlp_trie_verify_index(&value, root, i + 1, rest, NULL) == 0)
                CHECK(memcmp(value.data, bytes[i + 1], value.len) == 0);
            CHECK(mlp_trie_verify_index(&value, root, 1000 + i, rest, NULL) != 0);
            mlp_buffer_clear(&proof);
        }
    }
}

static void the_empty_list_has_the_known_root_and_no_proof(void)
{
    uint8_t root[32];
    struct mlp_buffer expected = {0}, proof = {0};
    append_hex_text(&expected, "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
    CHECK(mlp_trie_build_list(root, NULL, NULL, 0, 0, NULL) == 0);
    CHECK(memcmp(root, expected.data, 32) == 0);
    CHECK(mlp_trie_build_list(root, &proof, NULL, 0, 0, NULL) == MLP_E_ARGUMENT);
    mlp_buffer_clear(&expected);
}

static void entries_out_of_order_are_refused(void)
{
    static const struct mlp_trie_bytes a = {(const uint8_t *)"a", 1}, b = {(const uint8_t *)"b", 1};
    struct mlp_trie_entry entries[2] = {{b, a}, {a, a}};
    uint8_t root[32];
    CHECK(mlp_trie_build(root, NULL, entries, 2, 0, NULL) == MLP_E_ARGUMENT);
    entries[0].key = a;
    CHECK(mlp_trie_build(root, NULL, entries, 2, 0, NULL) == MLP_E_ARGUMENT);
    entries[1].key = b;
    CHECK(mlp_trie_build(root, NULL, entries, 2, 0, NULL) == 0);
    entries[1].value.len = 0;
    CHECK(mlp_trie_build(root, NULL, entries, 2, 0, NULL) == MLP_E_ARGUMENT);
}

int main(void)
{
    RUN(the_roots_are_those_of_ethereum_tests_and_every_proof_holds);
    RUN(every_index_of_lists_around_the_key_lengths_is_proved);
    RUN(the_empty_list_has_the_known_root_and_no_proof);
    RUN(entries_out_of_order_are_refused);
    return check_finish();
}
