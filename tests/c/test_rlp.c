/* RLP against ethereum-tests, and what its strictness refuses. */
#include "check.h"
#include "codec/rlp.h"
#include "vectors_fixture.h"

/* ---- ethereum-tests, RLPTests ---- */

/* A decimal number of any size, as the vectors write it after '#', big-endian into 64 bytes. */
static void append_decimal(struct mlp_buffer *rlp, const char *digits)
{
    uint8_t number[64] = {0};
    for (; *digits != '\0'; digits++) {
        unsigned carry = (unsigned)(*digits - '0');
        for (size_t i = sizeof number; i-- > 0;) {
            carry += number[i] * 10U;
            number[i] = (uint8_t)carry;
            carry >>= 8;
        }
    }
    mlp_rlp_append_number(rlp, number, sizeof number);
}

static void append_value(struct mlp_buffer *rlp, const struct mlp_json_value *value)
{
    size_t len = 0;
    if (mlp_json_type(value) == MLP_JSON_INTEGER) {
        mlp_rlp_append_uint64(rlp, (uint64_t)mlp_json_integer(value));
    } else if (mlp_json_type(value) == MLP_JSON_STRING) {
        const char *text = mlp_json_string(value, &len);
        if (text[0] == '#')
            append_decimal(rlp, text + 1);
        else
            mlp_rlp_append_string(rlp, text, len);
    } else {
        struct mlp_buffer items = {0};
        for (size_t i = 0; i < mlp_json_count(value); i++)
            append_value(&items, mlp_json_at(value, i));
        mlp_rlp_append_list(rlp, &items);
        mlp_buffer_clear(&items);
    }
}

/* Writes what was read again: strictness means that nothing is lost. */
static int append_item(struct mlp_buffer *rlp, const struct mlp_rlp_item *item)
{
    if (!item->is_list) {
        mlp_rlp_append_string(rlp, item->payload, item->payload_len);
        return 0;
    }
    struct mlp_buffer items = {0};
    struct mlp_rlp_rest rest = mlp_rlp_items(item);
    struct mlp_rlp_item inner;
    int status = 0;
    while (status == 0 && rest.len > 0 && (status = mlp_rlp_next(&inner, &rest, NULL)) == 0)
        status = append_item(&items, &inner);
    mlp_rlp_append_list(rlp, &items);
    mlp_buffer_clear(&items);
    return status;
}

static bool is_equal(const struct mlp_buffer *left, const struct mlp_buffer *right)
{
    return left->len == right->len && memcmp(left->data, right->data, left->len) == 0;
}

static void the_valid_vectors_are_written_and_read_again(void)
{
    struct mlp_json_document *document = read_vectors("ethereum-tests/RLPTests/rlptest.json");
    struct mlp_json_member member = {0};
    while (document != NULL && mlp_json_next(mlp_json_root(document), &member)) {
        struct mlp_buffer expected = {0}, written = {0}, again = {0};
        struct mlp_rlp_item item;
        append_hex_text(&expected, string_of(member.value, "out"));
        append_value(&written, mlp_json_get(member.value, "in"));
        if (!CHECK(is_equal(&written, &expected)))
            printf("  %s\n", member.key);
        CHECK(mlp_rlp_check(expected.data, expected.len, NULL) == 0);
        CHECK(mlp_rlp_read(&item, expected.data, expected.len, NULL) == 0);
        CHECK(append_item(&again, &item) == 0 && is_equal(&again, &expected));
        mlp_buffer_clear(&expected);
        mlp_buffer_clear(&written);
        mlp_buffer_clear(&again);
    }
    mlp_json_free(document);
}

static void the_invalid_vectors_are_refused(void)
{
    struct mlp_json_document *document =
        read_vectors("ethereum-tests/RLPTests/invalidRLPTest.json");
    struct mlp_json_member member = {0};
    while (document != NULL && mlp_json_next(mlp_json_root(document), &member)) {
        struct mlp_buffer bytes = {0};
        append_hex_text(&bytes, string_of(member.value, "out"));
        if (!CHECK(mlp_rlp_check(bytes.data, bytes.len, NULL) == MLP_E_MALFORMED))
            printf("  %s\n", member.key);
        mlp_buffer_clear(&bytes);
    }
    mlp_json_free(document);
}

/* ---- strictness ---- */

static void every_length_is_written_one_way_and_read_back(void)
{
    static const size_t lengths[] = {0, 1, 2, 54, 55, 56, 57, 255, 256, 257, 65535, 65536};
    uint8_t *bytes = calloc(1, 65536);
    for (size_t i = 0; bytes != NULL && i < sizeof lengths / sizeof lengths[0]; i++) {
        struct mlp_buffer rlp = {0};
        struct mlp_rlp_item item;
        mlp_rlp_append_string(&rlp, bytes, lengths[i]);
        CHECK(mlp_rlp_read(&item, rlp.data, rlp.len, NULL) == 0);
        CHECK(!item.is_list && item.payload_len == lengths[i] && item.encoded_len == rlp.len);
        for (size_t cut = 0; cut < rlp.len && cut < 100; cut++)
            CHECK(mlp_rlp_read(&item, rlp.data, cut, NULL) == MLP_E_MALFORMED);
        mlp_buffer_append(&rlp, "", 1);
        CHECK(mlp_rlp_read(&item, rlp.data, rlp.len, NULL) == MLP_E_MALFORMED);
        mlp_buffer_clear(&rlp);
    }
    free(bytes);
}

static void lists_nested_without_end_are_refused_without_recursion(void)
{
    struct mlp_buffer rlp = {0}, inner = {0};
    for (size_t depth = 0; depth < 300; depth++) {
        rlp.len = 0;
        mlp_rlp_append_list(&rlp, &inner);
        inner.len = 0;
        mlp_buffer_append(&inner, rlp.data, rlp.len);
        CHECK(mlp_rlp_check(rlp.data, rlp.len, NULL) ==
              (depth < MLP_RLP_DEPTH_MAX ? 0 : MLP_E_MALFORMED));
    }
    mlp_buffer_clear(&rlp);
    mlp_buffer_clear(&inner);
}

static void numbers_with_leading_zeros_or_too_many_bytes_are_refused(void)
{
    static const uint8_t padded[] = {0x82, 0x00, 0x81}, zero[] = {0x00}, list[] = {0xc0};
    static const uint8_t nine[] = {0x89, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct mlp_rlp_item item;
    uint64_t value = 7;
    uint8_t value32[32];
    CHECK(mlp_rlp_read(&item, padded, sizeof padded, NULL) == 0);
    CHECK(mlp_rlp_uint64(&value, &item, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_rlp_uint256(value32, &item, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_rlp_read(&item, zero, sizeof zero, NULL) == 0);
    CHECK(mlp_rlp_uint64(&value, &item, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_rlp_read(&item, list, sizeof list, NULL) == 0);
    CHECK(mlp_rlp_uint64(&value, &item, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_rlp_read(&item, nine, sizeof nine, NULL) == 0);
    CHECK(mlp_rlp_uint64(&value, &item, NULL) == MLP_E_MALFORMED && value == 7);
    CHECK(mlp_rlp_uint256(value32, &item, NULL) == 0 && value32[31] == 9 && value32[23] == 1);
}

static void a_list_of_another_length_is_refused(void)
{
    static const uint8_t two[] = {0xc2, 0x01, 0x02};
    struct mlp_rlp_item items[3];
    CHECK(mlp_rlp_read_list(items, 2, two, sizeof two, NULL) == 0);
    CHECK(items[1].payload_len == 1 && items[1].payload[0] == 2);
    CHECK(mlp_rlp_read_list(items, 1, two, sizeof two, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_rlp_read_list(items, 3, two, sizeof two, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_rlp_read_list(items, 0, two + 1, 1, NULL) == MLP_E_MALFORMED);
}

int main(void)
{
    RUN(the_valid_vectors_are_written_and_read_again);
    RUN(the_invalid_vectors_are_refused);
    RUN(every_length_is_written_one_way_and_read_back);
    RUN(lists_nested_without_end_are_refused_without_recursion);
    RUN(numbers_with_leading_zeros_or_too_many_bytes_are_refused);
    RUN(a_list_of_another_length_is_refused);
    return check_finish();
}
