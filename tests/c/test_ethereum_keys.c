/* secp256k1 and Ethereum accounts: Wycheproof, EIP-55, RFC 6979's promise, keys that cannot be. */
#include "anchor/ethereum_signature.h"
#include "check.h"
#include "hash/hash.h"
#include "hash_fixture.h"
#include "sign/ethereum_key.h"
#include "vectors_fixture.h"

/* ---- Wycheproof: ECDSA signatures as r || s ---- */

static bool is_low(const uint8_t *s32)
{
    struct mlp_buffer half = {0};
    append_hex_text(&half, "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");
    bool low = memcmp(s32, half.data, 32) <= 0;
    mlp_buffer_clear(&half);
    return low;
}

/* Whether one of the two parities gives the key back. */
static bool recovers(const uint8_t *public64, const uint8_t *rs64, const uint8_t digest32[32])
{
    bool found = false;
    for (uint8_t parity = 0; parity < 2; parity++) {
        struct mlp_secp256k1_signature signature = {.y_parity = parity};
        uint8_t public_key[64];
        memcpy(signature.rs64, rs64, 64);
        int status = mlp_secp256k1_recover(public_key, &signature, digest32, NULL);
        CHECK(status == 0 || status == MLP_E_MISMATCH);
        found = found || (status == 0 && memcmp(public_key, public64, 64) == 0);
    }
    return found;
}

static void check_case(const uint8_t *public64, const struct mlp_json_value *test, size_t *valid)
{
    struct mlp_buffer message = {0}, signature = {0};
    uint8_t digest[32];
    append_hex_text(&message, string_of(test, "msg"));
    append_hex_text(&signature, string_of(test, "sig"));
    bool expected = strcmp(string_of(test, "result"), "valid") == 0;
    CHECK(mlp_hash(MLP_SHA256, digest, message.data, message.len, NULL) == 0);
    /* Ethereum knows 64 bytes and a low s only; nonce points whose x is above the order cannot be
     * written there (Yellow Paper, appendix F). */
    if (signature.len == 64) {
        bool wraps = strstr(string_of(test, "comment"), "r,s are large") != NULL ||
                     strstr(string_of(test, "comment"), "r is larger than n") != NULL ||
                     strstr(string_of(test, "comment"), "k*G has a large x-coordinate") != NULL;
        bool found = recovers(public64, signature.data, digest);
        expected = expected && is_low(signature.data + 32) && !wraps;
        if (!CHECK(found == expected))
            printf("  %s\n", string_of(test, "comment"));
        *valid += found;
    }
    mlp_buffer_clear(&message);
    mlp_buffer_clear(&signature);
}

static void wycheproofs_signatures_recover_their_key_or_are_refused(void)
{
    struct mlp_json_document *document =
        read_vectors("wycheproof/testvectors_v1/ecdsa_secp256k1_sha256_p1363_test.json");
    if (document == NULL)
        return;
    const struct mlp_json_value *groups = mlp_json_get(mlp_json_root(document), "testGroups");
    size_t valid = 0;
    for (size_t g = 0; g < mlp_json_count(groups); g++) {
        const struct mlp_json_value *group = mlp_json_at(groups, g);
        const struct mlp_json_value *tests = mlp_json_get(group, "tests");
        struct mlp_buffer point = {0}; /* 0x04 || x || y */
        append_hex_text(&point, string_of(mlp_json_get(group, "publicKey"), "uncompressed"));
        for (size_t t = 0; CHECK(point.len == 65) && t < mlp_json_count(tests); t++)
            check_case(point.data + 1, mlp_json_at(tests, t), &valid);
        mlp_buffer_clear(&point);
    }
    CHECK(valid > 50);
    mlp_json_free(document);
}

/* ---- accounts ---- */

/* The first account of the mnemonic that every Ethereum test node uses. */
static const char test_secret[] =
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
static const char test_address[] = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

static struct mlp_ethereum_key *test_key(void)
{
    struct mlp_buffer secret = {0};
    struct mlp_ethereum_key *key = NULL;
    append_hex_text(&secret, test_secret);
    CHECK(mlp_ethereum_key_from_secret(&key, secret.data, NULL) == 0);
    mlp_buffer_clear(&secret);
    return key;
}

static void a_key_has_the_address_that_others_compute(void)
{
    struct mlp_ethereum_key *key = test_key();
    char text[MLP_ETHEREUM_ADDRESS_TEXT + 1];
    mlp_ethereum_address_encode(text, mlp_ethereum_key_address(key));
    CHECK(strcmp(text, test_address) == 0);
    mlp_ethereum_key_free(key);
}

static void a_signature_is_the_same_each_time_low_and_recovers(void)
{
    struct mlp_ethereum_key *key = test_key();
    for (unsigned i = 0; i < 50; i++) {
        struct mlp_secp256k1_signature one, two;
        uint8_t digest[32], address[20];
        CHECK(mlp_hash(MLP_SHA256, digest, &i, sizeof i, NULL) == 0);
        CHECK(mlp_ethereum_key_sign(key, &one, digest, NULL) == 0);
        CHECK(mlp_ethereum_key_sign(key, &two, digest, NULL) == 0);
        CHECK(memcmp(one.rs64, two.rs64, 64) == 0 && one.y_parity == two.y_parity);
        CHECK(is_low(one.rs64 + 32));
        CHECK(mlp_ethereum_recover(address, &one, digest, NULL) == 0);
        CHECK(memcmp(address, mlp_ethereum_key_address(key), 20) == 0);
        one.y_parity ^= 1;
        CHECK(mlp_ethereum_recover(address, &one, digest, NULL) != 0 ||
              memcmp(address, mlp_ethereum_key_address(key), 20) != 0);
        one.y_parity = 2;
        CHECK(mlp_ethereum_recover(address, &one, digest, NULL) == MLP_E_MISMATCH);
    }
    mlp_ethereum_key_free(key);
}

static void secrets_outside_the_group_are_refused(void)
{
    struct mlp_ethereum_key *key = NULL;
    struct mlp_buffer order = {0};
    uint8_t zero[32] = {0};
    append_hex_text(&order, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    CHECK(mlp_ethereum_key_from_secret(&key, zero, NULL) == MLP_E_KEY);
    CHECK(mlp_ethereum_key_from_secret(&key, order.data, NULL) == MLP_E_KEY && key == NULL);
    order.data[31]--;
    CHECK(mlp_ethereum_key_from_secret(&key, order.data, NULL) == 0);
    mlp_ethereum_key_free(key);
    mlp_buffer_clear(&order);
}

static void two_generated_accounts_differ(void)
{
    struct mlp_ethereum_key *one = NULL, *two = NULL;
    CHECK(mlp_ethereum_key_generate(&one, NULL) == 0 && mlp_ethereum_key_generate(&two, NULL) == 0);
    CHECK(memcmp(mlp_ethereum_key_address(one), mlp_ethereum_key_address(two), 20) != 0);
    mlp_ethereum_key_free(one);
    mlp_ethereum_key_free(two);
    mlp_ethereum_key_free(NULL);
}

/* ---- EIP-55, "Test Cases" ---- */

static void the_checksums_of_eip_55_are_written_and_insisted_on(void)
{
    static const char *const addresses[] = {
        "0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77", "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        uint8_t address[20];
        char text[MLP_ETHEREUM_ADDRESS_TEXT + 1];
        CHECK(mlp_ethereum_address_decode(address, addresses[i], 42, NULL) == 0);
        mlp_ethereum_address_encode(text, address);
        CHECK(strcmp(text, addresses[i]) == 0);
        if (i < 4)
            continue;
        for (size_t at = 2; at < 42; at++) {
            text[at] ^= 0x20; /* the other case */
            int status = mlp_ethereum_address_decode(address, text, 42, NULL);
            CHECK(status == MLP_E_MALFORMED);
            text[at] ^= 0x20;
        }
    }
}

static void what_is_no_address_is_refused(void)
{
    static const char *const bad[] = {"",
                                      "0x",
                                      "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                                      "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226",
                                      "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb922666",
                                      "0xg39fd6e51aad88f6f4ce6ab8827279cfffb92266",
                                      "0Xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"};
    uint8_t address[20];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(mlp_ethereum_address_decode(address, bad[i], strlen(bad[i]), NULL) ==
              MLP_E_MALFORMED);
}

/* ---- signatures of others ---- */

/* s, or the group's order less s: both hold. */
static void other_s(uint8_t s32[32])
{
    struct mlp_buffer order = {0};
    append_hex_text(&order, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    unsigned borrow = 0;
    for (size_t i = 32; i-- > 0;) {
        unsigned difference = 256U + order.data[i] - s32[i] - borrow;
        s32[i] = (uint8_t)difference;
        borrow = difference < 256;
    }
    mlp_buffer_clear(&order);
}

static void r_and_s_alone_become_the_transaction_that_the_key_would_sign(void)
{
    struct mlp_ethereum_key *key = NULL;
    CHECK(mlp_ethereum_key_generate(&key, NULL) == 0);
    for (uint64_t i = 0; i < 200; i++) {
        struct mlp_ethereum_intent intent = {.chain_id = 1, .nonce = i, .gas = 21000, .max_fee = 9};
        struct mlp_buffer expected = {0}, low = {0}, high = {0};
        struct mlp_secp256k1_signature signature;
        uint8_t hash[32], digest[32];
        CHECK(mlp_ethereum_transaction_sign(&expected, hash, &intent, key, NULL) == 0);
        CHECK(mlp_ethereum_signing_hash(digest, &intent, NULL) == 0);
        CHECK(mlp_ethereum_key_sign(key, &signature, digest, NULL) == 0);
        CHECK(mlp_ethereum_signature_apply(&low, signature.rs64, &intent,
                                           mlp_ethereum_key_address(key), NULL) == 0);
        other_s(signature.rs64 + 32);
        CHECK(!is_low(signature.rs64 + 32));
        CHECK(mlp_ethereum_signature_apply(&high, signature.rs64, &intent,
                                           mlp_ethereum_key_address(key), NULL) == 0);
        CHECK(low.len == expected.len && memcmp(low.data, expected.data, low.len) == 0);
        CHECK(high.len == expected.len && memcmp(high.data, expected.data, high.len) == 0);
        mlp_buffer_clear(&expected);
        mlp_buffer_clear(&low);
        mlp_buffer_clear(&high);
    }
    mlp_ethereum_key_free(key);
}

static void another_accounts_signature_and_what_is_none_are_refused(void)
{
    static const char *const bad_s[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    };
    struct mlp_ethereum_key *one = NULL, *two = NULL;
    struct mlp_ethereum_intent intent = {.chain_id = 1, .gas = 21000};
    struct mlp_secp256k1_signature signature;
    struct mlp_buffer raw = {0};
    uint8_t digest[32];
    CHECK(mlp_ethereum_key_generate(&one, NULL) == 0 && mlp_ethereum_key_generate(&two, NULL) == 0);
    CHECK(mlp_ethereum_signing_hash(digest, &intent, NULL) == 0);
    CHECK(mlp_ethereum_key_sign(one, &signature, digest, NULL) == 0);
    CHECK(mlp_ethereum_signature_apply(&raw, signature.rs64, &intent, mlp_ethereum_key_address(two),
                                       NULL) == MLP_E_MISMATCH);
    for (size_t i = 0; i < sizeof bad_s / sizeof bad_s[0]; i++) {
        struct mlp_buffer s = {0};
        append_hex_text(&s, bad_s[i]);
        memcpy(signature.rs64 + 32, s.data, 32);
        CHECK(mlp_ethereum_signature_apply(&raw, signature.rs64, &intent,
                                           mlp_ethereum_key_address(one), NULL) == MLP_E_MISMATCH);
        mlp_buffer_clear(&s);
    }
    CHECK(raw.len == 0);
    mlp_buffer_clear(&raw);
    mlp_ethereum_key_free(one);
    mlp_ethereum_key_free(two);
}

int main(void)
{
    struct mlp_error error;
    RUN(the_checksums_of_eip_55_are_written_and_insisted_on);
    RUN(what_is_no_address_is_refused);
    if (mlp_secp256k1_available(&error) != 0) {
        CHECK(error.status == MLP_E_CRYPTO && strstr(error.message, "libsecp256k1") != NULL);
        SKIP(error.message);
        return check_finish();
    }
    RUN(wycheproofs_signatures_recover_their_key_or_are_refused);
    RUN(a_key_has_the_address_that_others_compute);
    RUN(a_signature_is_the_same_each_time_low_and_recovers);
    RUN(secrets_outside_the_group_are_refused);
    RUN(two_generated_accounts_differ);
    RUN(r_and_s_alone_become_the_transaction_that_the_key_would_sign);
    RUN(another_accounts_signature_and_what_is_none_are_refused);
    return check_finish();
}
