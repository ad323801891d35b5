/* json_scan.h - JSON's grammar, checked without allocating; private to json.c.
 *
 * Why not jansson alone: it turns a failed allocation inside a string into a syntax error, which
 * would make "out of memory" look like forged evidence; and it learns depth and integer range too
 * late. After this scan the only refusals left to it are repeated keys, NUL in keys and reals that
 * are too large.
 *
 * Threads: pure.
 */
#ifndef MLP_CODEC_JSON_SCAN_H
#define MLP_CODEC_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* text: valid UTF-8. max_depth: at most MLP_JSON_DEPTH_MAX.
 * Returns: true, or false with the offset of the first offence and the rule that it breaks.
 */
bool mlp_json_scan(size_t *offset, const char **rule, const uint8_t *text, size_t text_len,
                   size_t max_depth);

#endif
