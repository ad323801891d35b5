/* ethereum_values.h - values as the execution API writes them: quantities, hashes, bytes, node's words.
 *
 * Source: the execution API's JSON-RPC: QUANTITY is "0x" and hexadecimal digits without leading zeros,
 * DATA "0x" and two digits for each byte. Digits in either case are taken.
 *
 * Threads: functions touch only what they are given.
 * In:      what: names the value in the error, as "the chain id".
 * Returns: 0; MLP_E_REMOTE (the value is missing or none); MLP_E_MEMORY.
 */
#ifndef MLP_ANCHOR_ETHEREUM_VALUES_H
#define MLP_ANCHOR_ETHEREUM_VALUES_H

#include "base/bytes.h"
#include "base/status.h"
#include "codec/json.h"

/* Above 2^64 - 1 it is that: enough to know of a balance. value may be NULL (missing). */
int mlp_ethereum_quantity(uint64_t *number, const struct mlp_json_value *value, const char *what,
                          struct mlp_error *error);

/* DATA of exactly bytes_len bytes. */
int mlp_ethereum_fixed(uint8_t *bytes, size_t bytes_len, const struct mlp_json_value *value,
                       const char *what, struct mlp_error *error);

/* Appends DATA of any length. */
int mlp_ethereum_data(struct mlp_buffer *bytes, const struct mlp_json_value *value,
                      const char *what, struct mlp_error *error);

/* Whether value is missing or null: how nodes say that there is no such thing. */
bool mlp_ethereum_is_nothing(const struct mlp_json_value *value);

/* Whether a node's words have a part, in lower case, in whatever case they are. */
bool mlp_ethereum_says(const char *text, size_t text_len, const char *part);

#define MLP_ETHEREUM_SAID_MAX 201

/* A node's own words for a message: at most 200 characters, printable ASCII, others as '?'. */
void mlp_ethereum_said(char said[MLP_ETHEREUM_SAID_MAX], const char *text, size_t text_len);

#endif
