/* cid.h - IPFS content identifiers of SHA-256: their bytes, and the texts that servers write for them.
 *
 * Source: github.com/multiformats/cid (CIDv1, and v0 as it is read), multihash sha2-256 (0x12, 32 bytes),
 * multibase.h. A server may answer in another base than it was asked in, so CIDs are compared as bytes.
 * Version 0 is read as the CID of version 1 that it stands for: codec dag-pb.
 *
 * Threads: pure functions.
 */
#ifndef MLP_CODEC_CID_H
#define MLP_CODEC_CID_H

#include "base/bytes.h"
#include "base/status.h"

#define MLP_CID_LEN      36 /* version, codec, multihash code, its length, SHA-256 */
#define MLP_CID_TEXT_MAX 80 /* with the NUL, in any base: base16 has 73 characters */

enum mlp_cid_codec {
    MLP_CID_RAW = 0x55,
    MLP_CID_DAG_PB = 0x70,
    MLP_CID_DAG_CBOR = 0x71,
};

/* The CIDv1 of the digest of a block. */
void mlp_cid_of_digest(uint8_t cid36[MLP_CID_LEN], enum mlp_cid_codec codec,
                       const uint8_t digest32[32]);

/* The CIDv1 of a block.
 * Returns: 0 or MLP_E_CRYPTO.
 */
int mlp_cid_of_block(uint8_t cid36[MLP_CID_LEN], enum mlp_cid_codec codec, const void *block,
                     size_t block_len, struct mlp_error *error);

/* Writes the base32 text and a NUL. */
void mlp_cid_encode(char text[MLP_CID_TEXT_MAX], const uint8_t cid36[MLP_CID_LEN]);

/* Writes the text in the base 'b', 'f', 'k' or 'z', or of version 0 ('Q'), and a NUL.
 * Returns: 0; MLP_E_ARGUMENT (another base; version 0 of another codec than dag-pb).
 */
int mlp_cid_encode_base(char text[MLP_CID_TEXT_MAX], char base, const uint8_t cid36[MLP_CID_LEN],
                        struct mlp_error *error);

/* Reads the bases of multibase.h, and version 0 ("Qm...").
 * Returns: 0; MLP_E_MALFORMED (another base, another hash than SHA-256, a varint that is not minimal,
 *          bits set under the last character).
 */
int mlp_cid_decode(uint8_t cid36[MLP_CID_LEN], const char *text, size_t text_len,
                   struct mlp_error *error);

/* Reads the CID, of either version, that bytes begin with.
 * Out:     used: how many bytes it takes.
 * Returns: 0; MLP_E_MALFORMED (as mlp_cid_decode; or there are fewer bytes).
 */
int mlp_cid_read(uint8_t cid36[MLP_CID_LEN], size_t *used, const uint8_t *bytes, size_t bytes_len,
                 struct mlp_error *error);

#endif
