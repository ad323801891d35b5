#include "codec/jcs.h"

#include "codec/utf8.h"

/* RFC 8785 section 3.2.2.2. Returns: the letter after the backslash, 'u' for a \u00xx, 0 for none.
 */
static char escape_of(uint8_t byte)
{
    switch (byte) {
    case '\b':
        return 'b';
    case '\t':
        return 't';
    case '\n':
        return 'n';
    case '\f':
        return 'f';
    case '\r':
        return 'r';
    case '"':
        return '"';
    case '\\':
        return '\\';
    default:
        return byte < 0x20 ? 'u' : 0;
    }
}

int mlp_jcs_append_string(struct mlp_buffer *json, const char *text, size_t text_len,
                          struct mlp_error *error)
{
    size_t valid_len = mlp_utf8_valid_len(text, text_len);
    if (valid_len != text_len)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "cannot write text as JSON: byte %zu of %zu is not valid UTF-8", valid_len,
                        text_len);
    mlp_buffer_append(json, "\"", 1);
    size_t plain = 0; /* where the run that needs no escape begins */
    for (size_t i = 0; i < text_len; i++) {
        char letter = escape_of((uint8_t)text[i]);
        if (letter == 0)
            continue;
        char pair[2] = {'\\', letter};
        mlp_buffer_append(json, text + plain, i - plain);
        mlp_buffer_append(json, pair, sizeof pair);
        if (letter == 'u') {
            uint8_t code = (uint8_t)text[i];
            mlp_buffer_append(json, "00", 2);
            mlp_buffer_append_hex(json, &code, 1);
        }
        plain = i + 1;
    }
    if (plain < text_len)
        mlp_buffer_append(json, text + plain, text_len - plain);
    mlp_buffer_append(json, "\"", 1);
    if (mlp_buffer_status(json) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot write JSON: out of memory");
    return 0;
}
