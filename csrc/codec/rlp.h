/* rlp.h - Recursive Length Prefix, the serialisation of Ethereum's execution layer, strictly.
 *
 * Source: the Ethereum Yellow Paper, appendix B. Strict: exactly one encoding for each item. Refused
 * are a single byte below 0x80 with a prefix, a long form where the short one would do, leading
 * zeros in a length, and anything beyond or short of what the lengths say.
 *
 * Reading is a walk: an item points into the caller's bytes, and the items of a list are read one by
 * one from its payload. Nothing is allocated and nothing recurses; reading an item checks its own
 * prefix and bounds, so an untrusted tree is checked where it is walked, or whole by mlp_rlp_check.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_CODEC_RLP_H
#define MLP_CODEC_RLP_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_RLP_DEPTH_MAX 64 /* of lists, for mlp_rlp_check: what Ethereum hashes has at most 6 */

/* ---- reading ---- */

/* One item. Points into what was read, owns nothing. */
struct mlp_rlp_item {
    bool is_list;
    const uint8_t *payload; /* a string's bytes, or a list's items one after another */
    size_t payload_len;
    const uint8_t *encoded; /* the item with its prefix */
    size_t encoded_len;
};

/* What is left of some items. A list is walked so:
 *
 *     struct mlp_rlp_rest rest = mlp_rlp_items(&list);
 *     while (rest.len > 0 && (status = mlp_rlp_next(&item, &rest, error)) == 0)
 *         use(&item);
 */
struct mlp_rlp_rest {
    const uint8_t *bytes;
    size_t len;
};

/* Returns: the items of a list; nothing for a string. */
struct mlp_rlp_rest mlp_rlp_items(const struct mlp_rlp_item *list);

/* Takes the next item off rest.
 * Returns: 0 or MLP_E_MALFORMED (nothing left included).
 */
int mlp_rlp_next(struct mlp_rlp_item *item, struct mlp_rlp_rest *rest, struct mlp_error *error);

/* Reads bytes that are one item and nothing else; what is inside a list is not looked at.
 * Returns: 0 or MLP_E_MALFORMED.
 */
int mlp_rlp_read(struct mlp_rlp_item *item, const void *bytes, size_t bytes_len,
                 struct mlp_error *error);

/* Checks bytes as one item with all that is in it, to MLP_RLP_DEPTH_MAX lists deep.
 * Returns: 0 or MLP_E_MALFORMED.
 */
int mlp_rlp_check(const void *bytes, size_t bytes_len, struct mlp_error *error);

/* Reads one list of exactly items_count items.
 * Returns: 0 or MLP_E_MALFORMED.
 */
int mlp_rlp_read_list(struct mlp_rlp_item *items, size_t items_count, const void *bytes,
                      size_t bytes_len, struct mlp_error *error);

/* The number that a string is: big-endian, without leading zeros, empty for 0.
 * Returns: 0 or MLP_E_MALFORMED (a list, a leading zero, above 2^64 - 1).
 */
int mlp_rlp_uint64(uint64_t *value, const struct mlp_rlp_item *item, struct mlp_error *error);

/* The same for numbers of up to 256 bits, right-aligned into 32 bytes. */
int mlp_rlp_uint256(uint8_t value32[32], const struct mlp_rlp_item *item, struct mlp_error *error);

/* The payload of a string of exactly out_len bytes.
 * Returns: 0 or MLP_E_MALFORMED.
 */
int mlp_rlp_exact(uint8_t *out, size_t out_len, const struct mlp_rlp_item *item,
                  struct mlp_error *error);

/* ---- writing: each appends; check mlp_buffer_status at the end ---- */

void mlp_rlp_append_string(struct mlp_buffer *rlp, const void *bytes, size_t bytes_len);
void mlp_rlp_append_uint64(struct mlp_buffer *rlp, uint64_t value);
/* A big-endian number of up to 32 bytes; its leading zeros are left out. */
void mlp_rlp_append_number(struct mlp_buffer *rlp, const uint8_t *bytes, size_t bytes_len);
/* A list of items that were written to another buffer (whose failed allocation is passed on). */
void mlp_rlp_append_list(struct mlp_buffer *rlp, const struct mlp_buffer *items);

#endif
