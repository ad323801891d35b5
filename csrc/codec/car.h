/* car.h - the frames of a CAR: a header that names roots, then blocks, each after its CID.
 *
 * Source: ipld.io/specs/transport/car/carv1: every frame is a varint length and as many bytes; the
 * header's are DAG-CBOR {"roots": [CID...], "version": 1}, a block's are its CID and its bytes.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_CODEC_CAR_H
#define MLP_CODEC_CAR_H

#include "codec/cid.h"

#define MLP_CAR_HEADER_MAX 8192
#define MLP_CAR_ROOTS_MAX  128
#define MLP_CAR_BLOCK_MAX  2097152 /* what IPFS's own tools take for a block: 2 MiB */
/* Before a block: its length and a CID. */
#define MLP_CAR_HEAD_MAX (9 + MLP_CID_LEN)

/* Appends a header with its length. */
void mlp_car_append_header(struct mlp_buffer *buffer, const uint8_t (*roots)[MLP_CID_LEN],
                           size_t roots_count);

/* What stands before a block. Returns: how many bytes. */
size_t mlp_car_frame_head(uint8_t head[MLP_CAR_HEAD_MAX], const uint8_t cid36[MLP_CID_LEN],
                          size_t block_len);

/* The length of the frame that bytes begin with.
 * Out:     used: how many bytes it is written in; len: 1 to max.
 * Returns: 0; MLP_E_MALFORMED (cut off, not the shortest form, 0, above max).
 */
int mlp_car_read_length(size_t *used, size_t *len, const uint8_t *bytes, size_t bytes_len,
                        size_t max, struct mlp_error *error);

/* Reads the header's bytes, those after its length.
 * Out:     roots: room for MLP_CAR_ROOTS_MAX.
 * Returns: 0; MLP_E_MALFORMED (also: another version, more roots, DAG-CBOR that is not as cbor.h has it).
 */
int mlp_car_read_header(uint8_t (*roots)[MLP_CID_LEN], size_t *roots_count, const uint8_t *bytes,
                        size_t bytes_len, struct mlp_error *error);

#endif
