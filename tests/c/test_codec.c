/* Strict reading and canonical writing of text. The JSONTestSuite is run by the Python tests. */
#include "base/bytes.h"
#include "check.h"
#include "codec/base64.h"
#include "codec/crc32c.h"
#include "codec/jcs.h"
#include "codec/json.h"
#include "codec/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- UTF-8 ---- */

static void every_code_point_is_decoded_and_surrogates_are_not(void)
{
    for (uint32_t point = 0; point < 0x110400; point++) {
        uint8_t bytes[4];
        size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
        for (size_t i = len; i-- > 0;)
            bytes[i] = (uint8_t)(i == 0 ? leads[len] | point >> 6 * (len - 1)
                                        : 0x80 | (point >> 6 * (len - 1 - i) & 0x3F));
        uint32_t decoded = UINT32_MAX;
        size_t seen = mlp_utf8_decode(&decoded, bytes, len);
        bool valid = point < 0x110000 && (point < 0xD800 || point > 0xDFFF);
        bool right = seen == (valid ? len : 0) && (!valid || decoded == point);
        bool whole = len == 1 || mlp_utf8_decode(&decoded, bytes, len - 1) == 0;
        if (!CHECK(right) || !CHECK(whole))
            return; /* one failure is enough */
    }
}

static void overlong_and_stray_bytes_are_not_utf8(void)
{
    static const char *const bad[] = {"\xC0\xAF",
                                      "\xC1\xBF",
                                      "\xE0\x80\xAF",
                                      "\xE0\x9F\xBF",
                                      "\xF0\x80\x80\xAF",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "\x80",
                                      "\xC3(",
                                      "\xED\xA0\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(mlp_utf8_valid_len(bad[i], strlen(bad[i])) == 0);
    CHECK(mlp_utf8_valid_len("abc\xC3\xA9\xFF!", 7) == 5);
    CHECK(mlp_utf8_valid("", 0) && mlp_utf8_valid(NULL, 0));
}

/* ---- JSON ---- */

static int read_json(const char *text, struct mlp_error *error)
{
    struct mlp_json_document *document = NULL;
    int status = mlp_json_read(&document, text, strlen(text), 1000, 0, error);
    mlp_json_free(document);
    return status;
}

static bool refused(const char *text, const char *rule)
{
    struct mlp_error error;
    if (read_json(text, &error) != MLP_E_MALFORMED) {
        printf("  accepted: %s\n", text);
        return false;
    }
    if (strstr(error.message, rule) == NULL)
        printf("  another rule for %s: %s\n", text, error.message);
    return strstr(error.message, rule) != NULL;
}

static void each_rule_of_the_profile_is_named_with_its_place(void)
{
    CHECK(refused("", "empty"));
    CHECK(refused("{\"a\":1,\n \"a\":2}", "appears twice"));
    CHECK(refused("{\"a\":1,\n \"a\":2}", "line 2"));
    CHECK(refused("{\"a\":1,\"\\u0061\":2}", "appears twice"));
    CHECK(refused("{\"a\\u0000b\":1}", "NUL in an object key"));
    CHECK(refused("[9007199254740992]", "line 1, column 2: an integer outside"));
    CHECK(refused("[-9007199254740992]", "an integer outside"));
    CHECK(refused("[\n\"\xC3\xA9\", 100000000000000000000000000]", "line 2, column 6"));
    CHECK(refused("[1e400]", "too large for a double"));
    CHECK(refused("[-1e400]", "too large for a double"));
    CHECK(refused("[NaN]", "value is expected"));
    CHECK(refused("[Infinity]", "value is expected"));
    CHECK(refused("\"\xFF\"", "line 1, column 2: not valid UTF-8"));
    CHECK(refused("\"\xED\xA0\x80\"", "not valid UTF-8"));
    CHECK(refused("\xEF\xBB\xBF[]", "byte-order mark"));
    CHECK(refused("[\"\\uD800\"]", "surrogate without its partner"));
    CHECK(refused("[\"\\uDC00\"]", "surrogate without its partner"));
    CHECK(refused("[\"\\uD800\\u0041\"]", "surrogate without its partner"));
    CHECK(refused("[] []", "follows the value"));
    CHECK(refused("[1,]", "column 4: a value is expected"));
    CHECK(refused("[01]", "leading zero"));
    CHECK(refused("['a']", "value is expected"));
    CHECK(refused("[1", "too early"));
    CHECK(refused("[\"a\\", "too early"));
    CHECK(refused("[\"\\x\"]", "column 4: an unknown escape"));
    CHECK(refused("[\"\\u12G4\"]", "four hexadecimal digits"));
    CHECK(refused("[1.]", "a digit is expected"));
    CHECK(refused("[-]", "a digit is expected"));
    CHECK(refused("[1e+]", "a digit is expected"));
    CHECK(refused("{1:2}", "a key in double quotes"));
    CHECK(refused("{\"a\" 2}", "\":\" is expected"));
    CHECK(refused("{\"a\":2]", "\"}\" is expected"));
    CHECK(refused("[2}", "\"]\" is expected"));
    CHECK(refused("]", "a value is expected"));
    CHECK(refused("\"a\nb\"", "control character"));
}

static void raw_nul_bytes_are_refused_wherever_they_stand(void)
{
    static const char texts[][6] = {"[1]\0", "[\0001]", "\"a\0b\"", "\0[1]"};
    for (size_t i = 0; i < 4; i++) {
        struct mlp_json_document *document = NULL;
        struct mlp_error error;
        CHECK(mlp_json_read(&document, texts[i], 5, 100, 0, &error) == MLP_E_MALFORMED);
        CHECK(strstr(error.message, "raw NUL") != NULL && document == NULL);
    }
}

static int read_nested(char open, char close, size_t depth, size_t max_depth)
{
    char *text = malloc(2 * depth + 1);
    memset(text, open, depth);
    memset(text + depth, close, depth);
    struct mlp_json_document *document = NULL;
    int status = mlp_json_read(&document, text, 2 * depth, 2 * depth, max_depth, NULL);
    mlp_json_free(document);
    free(text);
    return status;
}

static void nesting_is_cut_off_at_the_limit(void)
{
    CHECK(read_nested('[', ']', 64, 0) == 0);
    CHECK(read_nested('[', ']', 65, 0) == MLP_E_MALFORMED);
    CHECK(read_nested('[', ']', 512, 512) == 0);
    CHECK(read_nested('[', ']', 513, 512) == MLP_E_MALFORMED);
    CHECK(read_nested('[', ']', 100000, 512) == MLP_E_MALFORMED);
    CHECK(read_nested('[', ']', 1, 513) == MLP_E_ARGUMENT);
    struct mlp_error error;
    CHECK(read_json("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", &error) ==
          MLP_E_MALFORMED);
    CHECK(strstr(error.message, "column 65: nested too deeply") != NULL);
    /* Brackets inside strings do not nest, behind an escaped quote neither. */
    CHECK(read_json("[\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]",
                    NULL) == 0);
}

static void text_beyond_the_limit_is_not_looked_at(void)
{
    struct mlp_json_document *document = NULL;
    CHECK(mlp_json_read(&document, "[1]", 3, 2, 0, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_json_read(&document, "[1]", 3, 3, 0, NULL) == 0);
    mlp_json_free(document);
}

static void every_type_is_read_back(void)
{
    static const char text[] =
        "{\"z\":[null,true,false,-9007199254740991,9007199254740991,-0.5,1e2,\"\"],"
        "\"a\":{\"k\":\"x\\u0000y\\ud834\\udd1e\"}, \"n\": 7}";
    struct mlp_json_document *document = NULL;
    CHECK(mlp_json_read(&document, text, sizeof text - 1, 1000, 0, NULL) == 0);
    const struct mlp_json_value *root = mlp_json_root(document);
    CHECK(mlp_json_type(root) == MLP_JSON_OBJECT && mlp_json_count(root) == 3);
    const struct mlp_json_value *list = mlp_json_get(root, "z");
    CHECK(mlp_json_type(list) == MLP_JSON_ARRAY && mlp_json_count(list) == 8);
    CHECK(mlp_json_type(mlp_json_at(list, 0)) == MLP_JSON_NULL);
    CHECK(mlp_json_boolean(mlp_json_at(list, 1)) && !mlp_json_boolean(mlp_json_at(list, 2)));
    CHECK(mlp_json_type(mlp_json_at(list, 2)) == MLP_JSON_BOOLEAN);
    CHECK(mlp_json_integer(mlp_json_at(list, 3)) == -MLP_JSON_INTEGER_MAX);
    CHECK(mlp_json_integer(mlp_json_at(list, 4)) == MLP_JSON_INTEGER_MAX);
    CHECK(mlp_json_real(mlp_json_at(list, 5)) == -0.5);
    CHECK(mlp_json_type(mlp_json_at(list, 6)) == MLP_JSON_REAL);
    CHECK(mlp_json_at(list, 8) == NULL && mlp_json_at(root, 0) == NULL);
    CHECK(mlp_json_get(root, "missing") == NULL && mlp_json_get(list, "z") == NULL);
    size_t len = 99;
    const char *string = mlp_json_string(mlp_json_get(mlp_json_get(root, "a"), "k"), &len);
    CHECK(len == 7 && memcmp(string, "x\0y\xF0\x9D\x84\x9E", 7) == 0);
    struct mlp_json_member member = {0};
    const char *const keys[] = {"z", "a", "n"};
    for (size_t i = 0; i < 3; i++)
        CHECK(mlp_json_next(root, &member) && strcmp(member.key, keys[i]) == 0 &&
              member.key_len == 1);
    CHECK(mlp_json_integer(member.value) == 7 && !mlp_json_next(root, &member));
    mlp_json_free(document);
}

static void a_missing_or_mistyped_member_is_named(void)
{
    static const char text[] = "{\"n\":-1,\"s\":\"x\"}";
    struct mlp_json_document *document = NULL;
    struct mlp_error error;
    const struct mlp_json_value *member = NULL;
    const char *string = NULL;
    size_t len = 0;
    CHECK(mlp_json_read(&document, text, sizeof text - 1, 1000, 0, NULL) == 0);
    const struct mlp_json_value *root = mlp_json_root(document);
    CHECK(mlp_json_require(&member, root, "s", MLP_JSON_INTEGER, "header", &error) ==
          MLP_E_MALFORMED);
    CHECK(strcmp(error.message, "header: \"s\" is a string, not an integer") == 0);
    CHECK(member == NULL);
    CHECK(mlp_json_require_string(&string, &len, root, "t", "header", &error) == MLP_E_MALFORMED);
    CHECK(strcmp(error.message, "header: \"t\" is missing") == 0);
    CHECK(mlp_json_require(&member, root, "n", MLP_JSON_INTEGER, "header", &error) == 0);
    CHECK(mlp_json_integer(member) == -1);
    CHECK(mlp_json_require_string(&string, &len, root, "s", "header", &error) == 0 && len == 1);
    mlp_json_free(document);
}

/* ---- JCS ---- */

static bool writes(const char *text, size_t text_len, const char *expected)
{
    struct mlp_buffer json = {0};
    bool equal = mlp_jcs_append_string(&json, text, text_len, NULL) == 0 &&
                 json.len == strlen(expected) && memcmp(json.data, expected, json.len) == 0;
    mlp_buffer_clear(&json);
    return equal;
}

static void strings_are_escaped_as_rfc_8785_says(void)
{
    CHECK(writes("", 0, "\"\""));
    CHECK(writes("conv1.weight", 12, "\"conv1.weight\""));
    CHECK(writes("\b\t\n\f\r\"\\/", 8, "\"\\b\\t\\n\\f\\r\\\"\\\\/\""));
    CHECK(writes("\0\x01\x1f\x20\x7f", 5, "\"\\u0000\\u0001\\u001f \x7f\""));
    /* The example of RFC 8785 section 3.2.2: U+20AC, $, U+000F, newline, A'B", \, \, ", / */
    CHECK(writes("\xE2\x82\xAC$\x0F\nA'B\"\\\\\"/", 14,
                 "\"\xE2\x82\xAC$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""));
}

static void text_that_is_no_utf8_is_not_written(void)
{
    struct mlp_buffer json = {0};
    CHECK(mlp_jcs_append_string(&json, "a\xFF", 2, NULL) == MLP_E_MALFORMED && json.len == 0);
    mlp_buffer_clear(&json);
}

/* ---- base64, hex ---- */

static void base64_gives_the_vectors_of_rfc_4648(void)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i][0]), decoded_len = 99;
        struct mlp_buffer text = {0};
        uint8_t decoded[8];
        mlp_base64_append(&text, rows[i][0], len);
        CHECK(text.len == strlen(rows[i][1]));
        CHECK(text.len == 0 || memcmp(text.data, rows[i][1], text.len) == 0);
        CHECK(mlp_base64_decode(decoded, &decoded_len, sizeof decoded, rows[i][1], text.len,
                                NULL) == 0);
        CHECK(decoded_len == len && memcmp(decoded, rows[i][0], len) == 0);
        mlp_buffer_clear(&text);
    }
}

static void every_byte_survives_base64(void)
{
    uint8_t bytes[256], decoded[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t len = 250; len <= 256; len++) {
        struct mlp_buffer text = {0};
        size_t decoded_len = 0;
        mlp_base64_append(&text, bytes, len);
        CHECK(mlp_base64_decode(decoded, &decoded_len, len, (const char *)text.data, text.len,
                                NULL) == 0);
        CHECK(decoded_len == len && memcmp(bytes, decoded, len) == 0);
        CHECK(mlp_base64_decode(decoded, &decoded_len, len - 1, (const char *)text.data, text.len,
                                NULL) == MLP_E_RANGE);
        mlp_buffer_clear(&text);
    }
}

static void only_canonical_base64_is_read(void)
{
    static const char *const bad[] = {"Zg",   "Zg=",      "Zg===",    "Zh==",    "Zm9=", "Z===",
                                      "====", "=Zg=",     "Zg==Zg==", "Zm9v\n",  "Zm 9", "Zm9-",
                                      "Zm9_", "Zm9vZg=A", "Zm9v====", "Zm\x80v", "Zg=\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t out[16];
        size_t len = 77;
        CHECK(mlp_base64_decode(out, &len, sizeof out, bad[i], strlen(bad[i]), NULL) ==
              MLP_E_MALFORMED);
        CHECK(len == 77);
    }
    uint8_t out[4];
    size_t len = 77;
    CHECK(mlp_base64_decode(out, &len, sizeof out, "Zm\0v", 4, NULL) == MLP_E_MALFORMED);
}

static void only_lower_case_hex_of_the_right_length_is_read(void)
{
    uint8_t out[2] = {9, 9};
    CHECK(mlp_hex_decode(out, 2, "0aF0", 4, NULL) == MLP_E_MALFORMED && out[0] == 9);
    CHECK(mlp_hex_decode(out, 2, "0af", 3, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_hex_decode(out, 2, "0af01", 5, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_hex_decode(out, 2, "0ag0", 4, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_hex_decode(out, 2, "0af0", 4, NULL) == 0 && out[0] == 0x0A && out[1] == 0xF0);
    char text[5];
    mlp_hex_encode(text, out, 2);
    CHECK(strcmp(text, "0af0") == 0);
}

/* ---- CRC-32C ---- */

static uint32_t bitwise_crc32c(const uint8_t *bytes, size_t bytes_len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes_len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

static void crc32c_gives_its_check_value_in_any_pieces(void)
{
    static const char digits[] = "123456789";
    CHECK(mlp_crc32c(0, digits, 9) == 0xE3069283u);
    for (size_t cut = 0; cut <= 9; cut++)
        CHECK(mlp_crc32c(mlp_crc32c(0, digits, cut), digits + cut, 9 - cut) == 0xE3069283u);
    uint8_t bytes[32] = {0};
    CHECK(mlp_crc32c(0, bytes, 32) == 0x8A9136AAu); /* RFC 3720 B.4: 32 bytes of zeros */
    memset(bytes, 0xFF, 32);
    CHECK(mlp_crc32c(0, bytes, 32) == 0x62A8AB43u); /* 32 bytes of ones */
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;
        CHECK(mlp_crc32c(0, &one, 1) == bitwise_crc32c(&one, 1));
    }
}

int main(void)
{
    RUN(every_code_point_is_decoded_and_surrogates_are_not);
    RUN(overlong_and_stray_bytes_are_not_utf8);
    RUN(each_rule_of_the_profile_is_named_with_its_place);
    RUN(raw_nul_bytes_are_refused_wherever_they_stand);
    RUN(nesting_is_cut_off_at_the_limit);
    RUN(text_beyond_the_limit_is_not_looked_at);
    RUN(every_type_is_read_back);
    RUN(a_missing_or_mistyped_member_is_named);
    RUN(strings_are_escaped_as_rfc_8785_says);
    RUN(text_that_is_no_utf8_is_not_written);
    RUN(base64_gives_the_vectors_of_rfc_4648);
    RUN(every_byte_survives_base64);
    RUN(only_canonical_base64_is_read);
    RUN(only_lower_case_hex_of_the_right_length_is_read);
    RUN(crc32c_gives_its_check_value_in_any_pieces);
    return check_finish();
}
