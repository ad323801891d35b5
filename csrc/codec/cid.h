/* cid.h - IPFS content identifiers: their bytes, and the texts that servers write for them.
 *
 * Source: github.com/multiformats/cid (CIDv1, and v0 as it is read), multibase "b" (RFC 4648 base32,
 * lower case, no padding) and "z" (base58btc), multihash sha2-256 (0x12, 32 bytes). A server may answer
 * in another base than it was asked in, so CIDs are compared as bytes.
 *
 * Threads: pure functions.
 */
#ifndef MLP_CODEC_CID_H
#define MLP_CODEC_CID_H

#include "base/bytes.h"
#include "base/status.h"

#define MLP_CID_LEN      36 /* version, codec, multihash code, its length, SHA-256 */
#define MLP_CID_TEXT_MAX 64 /* with the NUL, in base32 */

enum mlp_cid_codec {
    MLP_CID_RAW = 0x55,
    MLP_CID_DAG_PB = 0x70,
    MLP_CID_DAG_CBOR = 0x71,
};

/* The CIDv1 of a block.
 * Returns: 0 or MLP_E_CRYPTO.
 */
int mlp_cid_of_block(uint8_t cid36[MLP_CID_LEN], enum mlp_cid_codec codec, const void *block,
                     size_t block_len, struct mlp_error *error);

/* Writes the base32 text and a NUL. */
void mlp_cid_encode(char text[MLP_CID_TEXT_MAX], const uint8_t cid36[MLP_CID_LEN]);

/* Reads "b...", "z..." and version 0 ("Qm...", which is made version 1: codec dag-pb).
 * Returns: 0; MLP_E_MALFORMED (another base, another hash than SHA-256, a varint that is not minimal,
 *          bits set under the last character).
 */
int mlp_cid_decode(uint8_t cid36[MLP_CID_LEN], const char *text, size_t text_len,
                   struct mlp_error *error);

#endif
