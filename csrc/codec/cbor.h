/* cbor.h - DAG-CBOR: a value has one encoding.
 *
 * Source: ipld.io/specs/codecs/dag-cbor/spec over RFC 8949: every length and number in the shortest form,
 * no indefinite lengths; floats have 64 bits and are finite; of simple values false, true and null; of
 * tags 42 alone, a CID after a zero byte; keys of maps are texts, shorter ones first, then by their bytes,
 * none twice.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_CODEC_CBOR_H
#define MLP_CODEC_CBOR_H

#include "codec/cid.h"

#define MLP_CBOR_DEPTH_MAX 128

/* RFC 8949 section 3.1. */
enum mlp_cbor_major {
    MLP_CBOR_UNSIGNED = 0,
    MLP_CBOR_NEGATIVE = 1, /* -1 - value */
    MLP_CBOR_BYTES = 2,
    MLP_CBOR_TEXT = 3,
    MLP_CBOR_ARRAY = 4,
    MLP_CBOR_MAP = 5,
    MLP_CBOR_TAG = 6,
    MLP_CBOR_SIMPLE = 7,
};

#define MLP_CBOR_FALSE 20
#define MLP_CBOR_TRUE  21
#define MLP_CBOR_NULL  22

/* ---- writing: what is valid is the caller's business, order of keys included ---- */

/* Of a number, a length, a count, a tag or a simple value. */
void mlp_cbor_append_head(struct mlp_buffer *buffer, enum mlp_cbor_major major, uint64_t value);
void mlp_cbor_append_text(struct mlp_buffer *buffer, const char *text, size_t text_len);
void mlp_cbor_append_bytes(struct mlp_buffer *buffer, const uint8_t *bytes, size_t bytes_len);
void mlp_cbor_append_cid(struct mlp_buffer *buffer, const uint8_t cid36[MLP_CID_LEN]);

/* Returns: 0 or MLP_E_ARGUMENT (infinite, or no number). */
int mlp_cbor_append_float(struct mlp_buffer *buffer, double value, struct mlp_error *error);

/* The order of keys. Returns: as memcmp. */
int mlp_cbor_compare_keys(const void *left, size_t left_len, const void *right, size_t right_len);

/* ---- reading ---- */

struct mlp_cbor_cursor {
    const uint8_t *at;
    size_t left;
};

/* The head of the next item. Simple values are checked, but for the eight bytes of a float (27).
 * Returns: 0; MLP_E_MALFORMED (the end, not the shortest form, an indefinite length, another simple
 *          value).
 */
int mlp_cbor_take_head(struct mlp_cbor_cursor *cursor, enum mlp_cbor_major *major, uint64_t *value,
                       struct mlp_error *error);

/* The next item, which must be a CID.
 * Returns: 0 or MLP_E_MALFORMED (as mlp_cid_read).
 */
int mlp_cbor_take_cid(struct mlp_cbor_cursor *cursor, uint8_t cid36[MLP_CID_LEN],
                      struct mlp_error *error);

/* Whether bytes are one value, and nothing behind it.
 * Returns: 0 or MLP_E_MALFORMED (also: deeper than MLP_CBOR_DEPTH_MAX).
 */
int mlp_cbor_check(const void *bytes, size_t bytes_len, struct mlp_error *error);

#endif
