/* base64.h - RFC 4648 base64 (section 4, with padding) and hexadecimal, strictly.
 *
 * Strict: exactly one text for each byte string. Refused are white space, a length that is no
 * multiple of four, missing or surplus padding, bits set under the padding (RFC 4648 section 3.5),
 * the URL alphabet; in hexadecimal, upper case.
 *
 * Threads: pure functions.
 */
#ifndef MLP_CODEC_BASE64_H
#define MLP_CODEC_BASE64_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Appends; check mlp_buffer_status at the end. */
void mlp_base64_append(struct mlp_buffer *text, const void *bytes, size_t bytes_len);

/* Decodes all of text into out.
 * Returns: 0 and *out_len; MLP_E_MALFORMED (not strict base64; error says where); MLP_E_RANGE (text
 *          is base64 but longer than out_size bytes; nothing is written).
 */
int mlp_base64_decode(uint8_t *out, size_t *out_len, size_t out_size, const char *text,
                      size_t text_len, struct mlp_error *error);

/* Checks without decoding.
 * Returns: as mlp_base64_decode, never MLP_E_RANGE.
 */
int mlp_base64_check(size_t *decoded_len, const char *text, size_t text_len,
                     struct mlp_error *error);

/* Decodes exactly out_len bytes from text_len = 2 x out_len lower-case digits.
 * Returns: 0 or MLP_E_MALFORMED. (Writing: mlp_buffer_append_hex.)
 */
int mlp_hex_decode(uint8_t *out, size_t out_len, const char *text, size_t text_len,
                   struct mlp_error *error);

/* Writes 2 x bytes_len digits and a NUL. */
void mlp_hex_encode(char *text, const uint8_t *bytes, size_t bytes_len);

#endif
