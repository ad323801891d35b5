#include "codec/json_scan.h"

#include "codec/json.h"

#include <string.h>

/* What the grammar of RFC 8259 allows at this place. */
enum expectation {
    VALUE,
    VALUE_OR_END, /* behind "[" */
    KEY,
    KEY_OR_END, /* behind "{" */
    COLON,
    COMMA_OR_END,
    NOTHING,
};

struct scanner {
    const uint8_t *text;
    size_t len;
    size_t at;
    size_t max_depth;
    size_t depth;
    bool in_object[MLP_JSON_DEPTH_MAX]; /* for every open bracket: is it an object's */
    enum expectation expectation;
    const char *rule; /* what was broken; NULL so far */
};

static bool offend(struct scanner *scanner, const char *rule)
{
    scanner->rule = rule;
    return false;
}

static bool at_digit(const struct scanner *scanner)
{
    return scanner->at < scanner->len && scanner->text[scanner->at] >= '0' &&
           scanner->text[scanner->at] <= '9';
}

static bool at_byte(const struct scanner *scanner, char byte)
{
    return scanner->at < scanner->len && scanner->text[scanner->at] == (uint8_t)byte;
}

static void skip_space(struct scanner *scanner)
{
    while (at_byte(scanner, ' ') || at_byte(scanner, '\t') || at_byte(scanner, '\n') ||
           at_byte(scanner, '\r'))
        scanner->at++;
}

static void value_done(struct scanner *scanner)
{
    scanner->expectation = scanner->depth == 0 ? NOTHING : COMMA_OR_END;
}

/* ---- strings (RFC 8259 section 7) ---- */

/* Takes four hexadecimal digits. Returns: their value, or UINT32_MAX where they are none. */
static uint32_t take_hex4(struct scanner *scanner)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++, scanner->at++) {
        uint8_t byte = scanner->at < scanner->len ? scanner->text[scanner->at] : 0;
        uint32_t digit = byte >= '0' && byte <= '9'   ? (uint32_t)byte - '0'
                         : byte >= 'a' && byte <= 'f' ? (uint32_t)byte - 'a' + 10
                         : byte >= 'A' && byte <= 'F' ? (uint32_t)byte - 'A' + 10
                                                      : 16;
        if (digit == 16)
            return UINT32_MAX;
        value = value << 4 | digit;
    }
    return value;
}

static bool take_unicode_escape(struct scanner *scanner)
{
    uint32_t unit = take_hex4(scanner);
    if (unit == UINT32_MAX)
        return offend(scanner, "four hexadecimal digits are expected after \\u");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return offend(scanner, "an escaped surrogate without its partner");
    if (unit < 0xD800 || unit > 0xDBFF)
        return true;
    if (!at_byte(scanner, '\\') || scanner->len - scanner->at < 2 ||
        scanner->text[scanner->at + 1] != 'u')
        return offend(scanner, "an escaped surrogate without its partner");
    scanner->at += 2;
    unit = take_hex4(scanner);
    if (unit == UINT32_MAX || unit < 0xDC00 || unit > 0xDFFF)
        return offend(scanner, "an escaped surrogate without its partner");
    return true;
}

static bool take_string(struct scanner *scanner)
{
    scanner->at++; /* the opening quote */
    while (scanner->at < scanner->len) {
        uint8_t byte = scanner->text[scanner->at];
        if (byte < 0x20)
            return offend(scanner, "an unescaped control character in a string");
        scanner->at++;
        if (byte == '"')
            return true;
        if (byte != '\\')
            continue;
        if (scanner->at == scanner->len)
            break;
        byte = scanner->text[scanner->at++];
        if (byte == 'u') {
            if (!take_unicode_escape(scanner))
                return false;
        } else if (byte == 0 || strchr("\"\\/bfnrt", byte) == NULL) {
            scanner->at--;
            return offend(scanner, "an unknown escape");
        }
    }
    return offend(scanner, "the text ends too early, within a string");
}

/* ---- numbers (RFC 8259 section 6) ---- */

static bool take_digits(struct scanner *scanner)
{
    if (!at_digit(scanner))
        return offend(scanner, "a digit is expected");
    while (at_digit(scanner))
        scanner->at++;
    return true;
}

/* The integer part, whose value is kept up to just beyond the limit. */
static bool take_integer(struct scanner *scanner, int64_t *magnitude)
{
    *magnitude = 0;
    if (at_byte(scanner, '0')) { /* no digit may follow; the caller sees that one does */
        scanner->at++;
        return true;
    }
    if (!at_digit(scanner))
        return offend(scanner, "a digit is expected");
    for (; at_digit(scanner); scanner->at++) {
        if (*magnitude <= MLP_JSON_INTEGER_MAX)
            *magnitude = *magnitude * 10 + (scanner->text[scanner->at] - '0');
    }
    return true;
}

static bool take_number(struct scanner *scanner)
{
    size_t start = scanner->at;
    int64_t magnitude;
    if (at_byte(scanner, '-'))
        scanner->at++;
    if (!take_integer(scanner, &magnitude))
        return false;
    if (at_digit(scanner))
        return offend(scanner, "a number with a leading zero");
    bool real = false;
    if (at_byte(scanner, '.')) {
        real = true;
        scanner->at++;
        if (!take_digits(scanner))
            return false;
    }
    if (at_byte(scanner, 'e') || at_byte(scanner, 'E')) {
        real = true;
        scanner->at++;
        if (at_byte(scanner, '+') || at_byte(scanner, '-'))
            scanner->at++;
        if (!take_digits(scanner))
            return false;
    }
    if (!real && magnitude > MLP_JSON_INTEGER_MAX) {
        scanner->at = start;
        return offend(scanner, "an integer outside +-(2^53 - 1)");
    }
    return true;
}

/* ---- values, arrays, objects ---- */

static bool take_word(struct scanner *scanner, const char *word)
{
    size_t len = strlen(word);
    if (scanner->len - scanner->at < len || memcmp(scanner->text + scanner->at, word, len) != 0)
        return offend(scanner, "a value is expected");
    scanner->at += len;
    return true;
}

static bool open_bracket(struct scanner *scanner, bool object)
{
    if (scanner->depth == scanner->max_depth)
        return offend(scanner, "nested too deeply");
    scanner->in_object[scanner->depth++] = object;
    scanner->expectation = object ? KEY_OR_END : VALUE_OR_END;
    scanner->at++;
    return true;
}

static bool take_value(struct scanner *scanner)
{
    uint8_t byte = scanner->text[scanner->at];
    if (byte == '{' || byte == '[')
        return open_bracket(scanner, byte == '{');
    bool taken = byte == '"'                                   ? take_string(scanner)
                 : byte == '-' || (byte >= '0' && byte <= '9') ? take_number(scanner)
                 : byte == 't'                                 ? take_word(scanner, "true")
                 : byte == 'f'                                 ? take_word(scanner, "false")
                                                               : take_word(scanner, "null");
    if (taken)
        value_done(scanner);
    return taken;
}

static bool take_end(struct scanner *scanner)
{
    scanner->depth--;
    scanner->at++;
    value_done(scanner);
    return true;
}

static bool take_comma_or_end(struct scanner *scanner)
{
    bool object = scanner->in_object[scanner->depth - 1];
    if (at_byte(scanner, object ? '}' : ']'))
        return take_end(scanner);
    if (!at_byte(scanner, ','))
        return offend(scanner,
                      object ? "\",\" or \"}\" is expected" : "\",\" or \"]\" is expected");
    scanner->expectation = object ? KEY : VALUE;
    scanner->at++;
    return true;
}

/* Takes one token; there is at least one byte. */
static bool take_token(struct scanner *scanner)
{
    switch (scanner->expectation) {
    case VALUE_OR_END:
        return at_byte(scanner, ']') ? take_end(scanner) : take_value(scanner);
    case VALUE:
        return take_value(scanner);
    case KEY_OR_END:
    case KEY:
        if (scanner->expectation == KEY_OR_END && at_byte(scanner, '}'))
            return take_end(scanner);
        scanner->expectation = COLON;
        return at_byte(scanner, '"') ? take_string(scanner)
                                     : offend(scanner, "a key in double quotes is expected");
    case COLON:
        if (!at_byte(scanner, ':'))
            return offend(scanner, "\":\" is expected");
        scanner->at++;
        scanner->expectation = VALUE;
        return true;
    case COMMA_OR_END:
        return take_comma_or_end(scanner);
    default:
        return offend(scanner, "something follows the value");
    }
}

bool mlp_json_scan(size_t *offset, const char **rule, const uint8_t *text, size_t text_len,
                   size_t max_depth)
{
    struct scanner scanner;
    memset(&scanner, 0, sizeof scanner);
    scanner.text = text;
    scanner.len = text_len;
    scanner.max_depth = max_depth;
    scanner.expectation = VALUE;
    bool valid = true;
    while (valid) {
        skip_space(&scanner);
        if (scanner.at == text_len)
            break;
        valid = take_token(&scanner);
    }
    if (valid && scanner.expectation != NOTHING)
        valid = offend(&scanner, "the text ends too early");
    *offset = scanner.at;
    *rule = scanner.rule;
    return valid;
}
