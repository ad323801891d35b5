/* What an Ethereum node writes, and what is offered for gas: values, words, fees. */
#include "check.h"

#include "anchor/ethereum_fees.h"
#include "anchor/ethereum_values.h"

#include <stdio.h>
#include <stdlib.h>

static struct mlp_json_document *document;

static const struct mlp_json_value *value_of(const char *json)
{
    char text[256];
    mlp_json_free(document);
    document = NULL;
    (void)snprintf(text, sizeof text, "[%s]", json);
    CHECK(mlp_json_read(&document, text, strlen(text), sizeof text, 4, NULL) == 0);
    return mlp_json_at(mlp_json_root(document), 0);
}

static bool is_quantity(const char *json, uint64_t expected)
{
    uint64_t number = 7;
    return mlp_ethereum_quantity(&number, value_of(json), "it", NULL) == 0 && number == expected;
}

static void quantities_are_read_and_large_ones_stop_at_the_largest(void)
{
    CHECK(is_quantity("\"0x0\"", 0) && is_quantity("\"0x400\"", 1024));
    CHECK(is_quantity("\"0xFFFFFFFFFFFFFFFF\"", UINT64_MAX));
    CHECK(is_quantity("\"0x10000000000000000\"", UINT64_MAX));
    CHECK(is_quantity("\"0x21e19e0c9bab2400000\"", UINT64_MAX)); /* 10,000 ether in wei */
    CHECK(is_quantity("\"0x0000000000000000000000000000000000000000000000000000000065000000\"",
                      0x65000000)); /* a word, as eth_call answers it */
}

static void what_is_no_quantity_is_refused_and_named(void)
{
    static const char *const wrong[] = {"\"0x\"", "\"0x1g\"", "\"12\"", "12", "null", "\"\"", "[]"};
    struct mlp_error error = {0};
    uint64_t number = 7;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK(mlp_ethereum_quantity(&number, value_of(wrong[i]), "it", NULL) == MLP_E_REMOTE);
    CHECK(mlp_ethereum_quantity(&number, NULL, "the base fee", &error) == MLP_E_REMOTE);
    CHECK(strstr(error.message, "the base fee") != NULL && number == 7);
}

static void bytes_have_two_digits_each(void)
{
    uint8_t read[2] = {0};
    struct mlp_buffer bytes = {0};
    CHECK(mlp_ethereum_fixed(read, 2, value_of("\"0xaBcD\""), "it", NULL) == 0);
    CHECK(read[0] == 0xab && read[1] == 0xcd);
    CHECK(mlp_ethereum_fixed(read, 2, value_of("\"0xabc\""), "it", NULL) == MLP_E_REMOTE);
    CHECK(mlp_ethereum_fixed(read, 2, value_of("\"0xabcdef\""), "it", NULL) == MLP_E_REMOTE);
    CHECK(mlp_ethereum_data(&bytes, value_of("\"0x\""), "it", NULL) == 0 && bytes.len == 0);
    CHECK(mlp_ethereum_data(&bytes, value_of("\"0x0102\""), "it", NULL) == 0 && bytes.len == 2);
    CHECK(mlp_ethereum_data(&bytes, value_of("\"0x010\""), "it", NULL) == MLP_E_REMOTE);
    mlp_buffer_clear(&bytes);
}

static void a_nodes_words_are_shown_without_what_a_terminal_obeys(void)
{
    char said[MLP_ETHEREUM_SAID_MAX], lines[300];
    mlp_ethereum_said(said, "red \x1b[31m\0\xff", 11);
    CHECK(strcmp(said, "red ?[31m??") == 0);
    memset(lines, 'x', sizeof lines);
    mlp_ethereum_said(said, lines, sizeof lines);
    CHECK(strlen(said) == MLP_ETHEREUM_SAID_MAX - 1);
    CHECK(mlp_ethereum_says("Nonce Too Low: next", 19, "nonce too low"));
    CHECK(!mlp_ethereum_says("nonce too lo", 12, "nonce too low"));
}

/* geth's rule (core/txpool, PriceBump): at least 110 % of both. */
static void a_replacement_is_above_a_tenth_more_on_both_fees(void)
{
    static const uint64_t olds[] = {0, 1, 9, 10, 11, 1000000000, 1999999999, UINT64_MAX};
    for (size_t i = 0; i < sizeof olds / sizeof olds[0]; i++) {
        struct mlp_ethereum_fees fees = {.tip = 1, .max = 5, .least = 2};
        uint64_t old = olds[i];
        mlp_ethereum_fees_replace(&fees, old, old);
        unsigned __int128 tenth_more = ((unsigned __int128)old * 11 + 9) / 10 + 1;
        uint64_t expected = tenth_more > UINT64_MAX ? UINT64_MAX : (uint64_t)tenth_more;
        CHECK(fees.tip == (expected > 1 ? expected : 1));
        CHECK(fees.max == (expected > 5 ? expected : 5));
        CHECK(fees.least == (expected > 2 ? expected : 2));
    }
}

static void the_users_bound_lowers_what_is_offered_and_never_below_what_is_needed(void)
{
    struct mlp_error error = {0};
    struct mlp_ethereum_fees fees = {.tip = 1, .max = 21, .least = 11};
    CHECK(mlp_ethereum_fees_cap(&fees, 30, NULL) == 0 && fees.max == 21);
    CHECK(mlp_ethereum_fees_cap(&fees, 11, NULL) == 0 && fees.max == 11);
    CHECK(mlp_ethereum_fees_cap(&fees, 10, &error) == MLP_E_REMOTE && fees.max == 11);
    CHECK(strstr(error.message, "max_fee_gwei") != NULL && *mlp_error_remedy(&error) != '\0');
}

int main(void)
{
    RUN(quantities_are_read_and_large_ones_stop_at_the_largest);
    RUN(what_is_no_quantity_is_refused_and_named);
    RUN(bytes_have_two_digits_each);
    RUN(a_nodes_words_are_shown_without_what_a_terminal_obeys);
    RUN(a_replacement_is_above_a_tenth_more_on_both_fees);
    RUN(the_users_bound_lowers_what_is_offered_and_never_below_what_is_needed);
    mlp_json_free(document);
    return check_finish();
}
