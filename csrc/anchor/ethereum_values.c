#include "anchor/ethereum_values.h"

#define NO_DIGIT 16U

static unsigned digit_of(char character)
{
    if (character >= '0' && character <= '9')
        return (unsigned)(character - '0');
    if (character >= 'a' && character <= 'f')
        return (unsigned)(character - 'a' + 10);
    return character >= 'A' && character <= 'F' ? (unsigned)(character - 'A' + 10) : NO_DIGIT;
}

bool mlp_ethereum_is_nothing(const struct mlp_json_value *value)
{
    return value == NULL || mlp_json_type(value) == MLP_JSON_NULL;
}

/* The digits after "0x"; NULL where value is no such text. */
static const char *digits_of(const struct mlp_json_value *value, size_t *count)
{
    size_t text_len = 0;
    const char *text = value != NULL ? mlp_json_string(value, &text_len) : NULL;
    if (text == NULL || text_len < 2 || memcmp(text, "0x", 2) != 0)
        return NULL;
    for (size_t i = 2; i < text_len; i++) {
        if (digit_of(text[i]) == NO_DIGIT)
            return NULL;
    }
    *count = text_len - 2;
    return text + 2;
}

static int fail_value(const char *what, struct mlp_error *error)
{
    return mlp_fail(
        error, MLP_E_REMOTE,
        "the Ethereum node's answer cannot be used: %s is missing or not written as the "
        "execution API says; check the endpoint",
        what);
}

int mlp_ethereum_quantity(uint64_t *number, const struct mlp_json_value *value, const char *what,
                          struct mlp_error *error)
{
    size_t count = 0;
    const char *digits = digits_of(value, &count);
    if (digits == NULL || count == 0)
        return fail_value(what, error);
    uint64_t read = 0;
    for (size_t i = 0; i < count; i++)
        read = read >> 60 != 0 ? UINT64_MAX : read << 4 | digit_of(digits[i]);
    *number = read;
    return 0;
}

static void read_bytes(uint8_t *bytes, const char *digits, size_t bytes_len)
{
    for (size_t i = 0; i < bytes_len; i++)
        bytes[i] = (uint8_t)(digit_of(digits[2 * i]) << 4 | digit_of(digits[2 * i + 1]));
}

int mlp_ethereum_fixed(uint8_t *bytes, size_t bytes_len, const struct mlp_json_value *value,
                       const char *what, struct mlp_error *error)
{
    size_t count = 0;
    const char *digits = digits_of(value, &count);
    if (digits == NULL || count != 2 * bytes_len)
        return fail_value(what, error);
    read_bytes(bytes, digits, bytes_len);
    return 0;
}

int mlp_ethereum_data(struct mlp_buffer *bytes, const struct mlp_json_value *value,
                      const char *what, struct mlp_error *error)
{
    size_t count = 0;
    const char *digits = digits_of(value, &count);
    if (digits == NULL || count % 2 != 0)
        return fail_value(what, error);
    if (count > 0 && mlp_buffer_reserve(bytes, count / 2) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read a node's answer: out of memory");
    if (count > 0)
        read_bytes(bytes->data + bytes->len, digits, count / 2);
    bytes->len += count / 2;
    return 0;
}

static char lower(char character)
{
    return character >= 'A' && character <= 'Z' ? (char)(character - 'A' + 'a') : character;
}

bool mlp_ethereum_says(const char *text, size_t text_len, const char *part)
{
    size_t part_len = strlen(part);
    for (size_t i = 0; i + part_len <= text_len; i++) {
        size_t same = 0;
        while (same < part_len && lower(text[i + same]) == part[same])
            same++;
        if (same == part_len)
            return true;
    }
    return false;
}

void mlp_ethereum_said(char said[MLP_ETHEREUM_SAID_MAX], const char *text, size_t text_len)
{
    size_t len = text_len < MLP_ETHEREUM_SAID_MAX - 1 ? text_len : MLP_ETHEREUM_SAID_MAX - 1;
    for (size_t i = 0; i < len; i++)
        said[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    said[len] = '\0';
}
