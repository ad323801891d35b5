/* checkpoint.h - the text of a C2SP checkpoint: what run heads and the store log's head say.
 *
 *     <origin>
 *     <size, decimal>
 *     <base64 of the 32-byte root>
 *     [extension lines]
 *
 * Source: C2SP tlog-checkpoint. It is signed as a note (note.h).
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_SIGN_CHECKPOINT_H
#define MLP_SIGN_CHECKPOINT_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Sizes are those of Go's clients, which read an int64. */
#define MLP_CHECKPOINT_SIZE_MAX ((uint64_t)INT64_MAX)

/* Points into the caller's text, owns nothing. */
struct mlp_checkpoint {
    const char *origin; /* not NUL-terminated */
    size_t origin_len;
    uint64_t size;
    uint8_t root32[32];
    const char *extensions; /* lines after the root, with newlines; NULL where there are none */
    size_t extensions_len;
};

/* Appends the three lines.
 * Returns: 0; MLP_E_ARGUMENT (origin empty, not UTF-8, or with a control character; size above
 *          MLP_CHECKPOINT_SIZE_MAX); MLP_E_MEMORY.
 */
int mlp_checkpoint_encode(struct mlp_buffer *text, const char *origin, size_t origin_len,
                          uint64_t size, const uint8_t root32[32], struct mlp_error *error);

/* Reads a note's text. Strict: no leading zeros, sign or spaces in the size, strict base64 of
 * exactly 32 bytes, no empty line, a final newline, valid UTF-8 without control characters. That a
 * size of 0 goes with the empty tree's root is not checked here.
 * Returns: 0 or MLP_E_MALFORMED.
 */
int mlp_checkpoint_decode(struct mlp_checkpoint *checkpoint, const void *text, size_t text_len,
                          struct mlp_error *error);

#endif
