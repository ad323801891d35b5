/* crc32c.h - CRC-32C (Castagnoli), against torn writes, not against people.
 *
 * Source: RFC 3720 appendix B.4 (iSCSI): polynomial 0x1EDC6F41, reflected, initial value and final
 * xor all ones. CRC-32C of "123456789" is 0xE3069283.
 *
 * Threads: pure.
 */
#ifndef MLP_CODEC_CRC32C_H
#define MLP_CODEC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc: 0 to begin, or the answer for the bytes before these. */
uint32_t mlp_crc32c(uint32_t crc, const void *bytes, size_t bytes_len);

#endif
