#include "codec/utf8.h"

/* RFC 3629 section 4: what the lead byte demands of the second byte. Later bytes are 80..BF. */
struct utf8_row {
    uint8_t first_lead;
    uint8_t last_lead;
    uint8_t first_second;
    uint8_t last_second;
    uint8_t len;
};

static const struct utf8_row utf8_rows[] = {
    {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, /* not overlong */
    {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, /* no surrogates */
    {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4}, /* not overlong */
    {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}, /* up to U+10FFFF */
};

static const struct utf8_row *row_of(uint8_t lead)
{
    for (size_t i = 0; i < sizeof utf8_rows / sizeof utf8_rows[0]; i++) {
        if (lead >= utf8_rows[i].first_lead && lead <= utf8_rows[i].last_lead)
            return &utf8_rows[i];
    }
    return NULL;
}

size_t mlp_utf8_decode(uint32_t *code_point, const void *text, size_t text_len)
{
    const uint8_t *bytes = text;
    if (text_len == 0)
        return 0;
    if (bytes[0] < 0x80) {
        *code_point = bytes[0];
        return 1;
    }
    const struct utf8_row *row = row_of(bytes[0]);
    if (row == NULL || text_len < row->len || bytes[1] < row->first_second ||
        bytes[1] > row->last_second)
        return 0;
    /* A lead byte of a sequence of n bytes carries 7 - n bits. */
    uint32_t value = bytes[0] & (0x7Fu >> row->len);
    for (size_t i = 1; i < row->len; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (bytes[i] & 0x3Fu);
    }
    *code_point = value;
    return row->len;
}

size_t mlp_utf8_valid_len(const void *text, size_t text_len)
{
    const uint8_t *bytes = text;
    size_t done = 0;
    while (done < text_len) {
        if (bytes[done] < 0x80) { /* most of our text is ASCII */
            done++;
            continue;
        }
        uint32_t code_point;
        size_t len = mlp_utf8_decode(&code_point, bytes + done, text_len - done);
        if (len == 0)
            break;
        done += len;
    }
    return done;
}

bool mlp_utf8_valid(const void *text, size_t text_len)
{
    return mlp_utf8_valid_len(text, text_len) == text_len;
}
