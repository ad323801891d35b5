/* keccak.h - Keccak-256 as Ethereum uses it: the submission's padding, not that of FIPS 202.
 *
 * Source: "The Keccak reference", version 3.0 (2011): Keccak[c = 512], 32 bytes of output, padding
 * 0x01 ... 0x80. SHA3-256 (FIPS 202) differs in the first padding byte alone (0x06), so that no
 * SHA-3 function can stand in; OpenSSL has KECCAK-256 only from 3.2 on.
 *
 * Threads: a pure function. It never fails and allocates nothing.
 */
#ifndef MLP_HASH_KECCAK_H
#define MLP_HASH_KECCAK_H

#include <stddef.h>
#include <stdint.h>

#define MLP_KECCAK256_LEN 32

/* data may be NULL where data_len is 0. */
void mlp_keccak256(uint8_t digest32[32], const void *data, size_t data_len);

#endif
