/* multibase.h - byte strings as text whose first character names the base.
 *
 * Source: github.com/multiformats/multibase: "b" base32 (RFC 4648, lower case, no padding), "k" base36
 * (lower case), "z" base58btc, "f" base16 (lower case). Base36 and base58 write the bytes as one number;
 * each zero byte in front is a zero digit in front.
 *
 * Threads: pure functions.
 */
#ifndef MLP_CODEC_MULTIBASE_H
#define MLP_CODEC_MULTIBASE_H

#include <stddef.h>
#include <stdint.h>

#define MLP_MULTIBASE_BYTES_MAX 64
#define MLP_MULTIBASE_TEXT_MAX                                                                     \
    130 /* of that many bytes in any base, with the character and a NUL */

/* base: 'b', 'f', 'k' or 'z'. Writes no character for it, and a NUL.
 * In:      bytes_len: at most MLP_MULTIBASE_BYTES_MAX.
 */
void mlp_multibase_encode(char text[MLP_MULTIBASE_TEXT_MAX], char base, const uint8_t *bytes,
                          size_t bytes_len);

/* text: without the character for the base. One text for each byte string.
 * Returns: how many bytes; 0: none, more than MLP_MULTIBASE_BYTES_MAX, another base, a character that is
 *          not the base's, bits that stand for nothing.
 */
size_t mlp_multibase_decode(uint8_t bytes[MLP_MULTIBASE_BYTES_MAX], char base, const char *text,
                            size_t text_len);

#endif
