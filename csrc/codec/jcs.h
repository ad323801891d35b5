/* jcs.h - writing RFC 8785 (JCS) JSON into a buffer.
 *
 * Only what our own leaves need beside mlp_buffer_append_u64: strings. Keys of an object must be
 * written in the order of RFC 8785 section 3.2.3 (UTF-16 code units); for the fixed ASCII keys of
 * our leaves that is their alphabet.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_CODEC_JCS_H
#define MLP_CODEC_JCS_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Appends text as a JSON string with its quotes, escaped by RFC 8785 section 3.2.2.2: backspace,
 * tab, newline, form feed, return, quote and backslash by their short forms, other characters below
 * U+0020 as \u00xx in lower case, everything else as it is.
 * Returns: 0; MLP_E_MALFORMED (text is not valid UTF-8; nothing was appended); MLP_E_MEMORY.
 */
int mlp_jcs_append_string(struct mlp_buffer *json, const char *text, size_t text_len,
                          struct mlp_error *error);

#endif
