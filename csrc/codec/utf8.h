/* utf8.h - which bytes are Unicode text.
 *
 * Source: RFC 3629 section 4 (no overlong forms, no surrogates, nothing above U+10FFFF).
 * Threads: pure functions.
 */
#ifndef MLP_CODEC_UTF8_H
#define MLP_CODEC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns: the number of leading bytes that are valid UTF-8; text_len where all are. */
size_t mlp_utf8_valid_len(const void *text, size_t text_len);

bool mlp_utf8_valid(const void *text, size_t text_len);

/* Decodes the first character of valid or invalid text.
 * Returns: its length in bytes (1 to 4), or 0 where text is empty or does not start with one.
 */
size_t mlp_utf8_decode(uint32_t *code_point, const void *text, size_t text_len);

#endif
