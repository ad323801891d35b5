#include "sign/checkpoint.h"

#include "codec/base64.h"
#include "codec/utf8.h"

#include <string.h>

#define ROOT_BASE64_LEN 44

static bool is_clean_text(const char *text, size_t text_len, bool newline_allowed)
{
    if (!mlp_utf8_valid(text, text_len))
        return false;
    for (size_t i = 0; i < text_len; i++) {
        if ((uint8_t)text[i] < 0x20 && !(newline_allowed && text[i] == '\n'))
            return false;
    }
    return true;
}

int mlp_checkpoint_encode(struct mlp_buffer *text, const char *origin, size_t origin_len,
                          uint64_t size, const uint8_t root32[32], struct mlp_error *error)
{
    if (origin_len == 0 || !is_clean_text(origin, origin_len, false))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot write a checkpoint: the origin must be one non-empty line of UTF-8 "
                        "without control characters");
    if (size > MLP_CHECKPOINT_SIZE_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot write a checkpoint of %llu leaves: at most 2^63 - 1",
                        (unsigned long long)size);
    mlp_buffer_append(text, origin, origin_len);
    mlp_buffer_append(text, "\n", 1);
    mlp_buffer_append_u64(text, size);
    mlp_buffer_append(text, "\n", 1);
    mlp_base64_append(text, root32, 32);
    mlp_buffer_append(text, "\n", 1);
    if (mlp_buffer_status(text) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot write a checkpoint: out of memory");
    return 0;
}

static int fail_checkpoint(struct mlp_error *error, const char *problem)
{
    return mlp_fail(error, MLP_E_MALFORMED, "malformed checkpoint: %s", problem);
}

/* Cuts the next line off *rest. Returns: false where there is none that ends in a newline. */
static bool take_line(const char **line, size_t *line_len, const char **rest, size_t *rest_len)
{
    const char *newline = *rest_len > 0 ? memchr(*rest, '\n', *rest_len) : NULL;
    if (newline == NULL)
        return false;
    *line = *rest;
    *line_len = (size_t)(newline - *rest);
    *rest = newline + 1;
    *rest_len -= *line_len + 1;
    return true;
}

/* Decimal, without sign, spaces or leading zeros, at most MLP_CHECKPOINT_SIZE_MAX. */
static bool parse_size(uint64_t *size, const char *digits, size_t digits_len)
{
    uint64_t value = 0;
    if (digits_len == 0 || digits_len > 19 || (digits[0] == '0' && digits_len > 1))
        return false;
    for (size_t i = 0; i < digits_len; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(digits[i] - '0'); /* 19 digits stay below 2^64 */
    }
    *size = value;
    return value <= MLP_CHECKPOINT_SIZE_MAX;
}

static bool has_empty_line(const char *lines, size_t lines_len)
{
    for (size_t i = 0; i < lines_len; i++) {
        if (lines[i] == '\n' && (i == 0 || lines[i - 1] == '\n'))
            return true;
    }
    return false;
}

int mlp_checkpoint_decode(struct mlp_checkpoint *checkpoint, const void *text, size_t text_len,
                          struct mlp_error *error)
{
    struct mlp_checkpoint read;
    memset(&read, 0, sizeof read);
    const char *rest = text;
    size_t rest_len = text_len;
    const char *line;
    size_t line_len, root_len;
    if (!is_clean_text(text, text_len, true))
        return fail_checkpoint(error, "it is not UTF-8 text without control characters");
    if (text_len == 0 || rest[text_len - 1] != '\n')
        return fail_checkpoint(error, "it does not end in a newline");
    if (!take_line(&read.origin, &read.origin_len, &rest, &rest_len) || read.origin_len == 0)
        return fail_checkpoint(error, "the first line, its origin, is empty");
    if (!take_line(&line, &line_len, &rest, &rest_len) || !parse_size(&read.size, line, line_len))
        return fail_checkpoint(error, "the second line is no decimal size below 2^63");
    if (!take_line(&line, &line_len, &rest, &rest_len) || line_len != ROOT_BASE64_LEN ||
        mlp_base64_decode(read.root32, &root_len, sizeof read.root32, line, line_len, NULL) != 0 ||
        root_len != sizeof read.root32)
        return fail_checkpoint(error, "the third line is no base64 of a 32-byte root");
    if (has_empty_line(rest, rest_len))
        return fail_checkpoint(error, "it has an empty line");
    read.extensions = rest_len > 0 ? rest : NULL;
    read.extensions_len = rest_len;
    *checkpoint = read;
    return 0;
}
