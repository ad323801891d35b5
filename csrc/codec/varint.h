/* varint.h - unsigned varints: seven bits a byte, the lowest first, the high bit saying that more follow.
 *
 * Source: github.com/multiformats/unsigned-varint: at most nine bytes (2^63 - 1), and the shortest form
 * alone; Protocol Buffers ("Base 128 Varints") writes the same bytes.
 *
 * Threads: pure functions.
 */
#ifndef MLP_CODEC_VARINT_H
#define MLP_CODEC_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define MLP_VARINT_MAX_LEN 9
#define MLP_VARINT_MAX     INT64_MAX

/* In:      value: at most MLP_VARINT_MAX.
 * Returns: how many bytes were written.
 */
size_t mlp_varint_write(uint8_t out[MLP_VARINT_MAX_LEN], uint64_t value);

/* Returns: how many bytes the value takes; 0: it does not end within len or nine bytes, or a shorter
 *          form exists.
 */
size_t mlp_varint_read(uint64_t *value, const uint8_t *bytes, size_t len);

#endif
