/* safetensors.h - strict reading of a safetensors header (docs/format.md section 10, "Model").
 *
 * Source: huggingface/safetensors, README, "Format".
 * The file is: uint64 little-endian N, N bytes of JSON, then the data. Beyond the reference reader,
 * a header is refused for repeated keys, unknown members of an entry and names that are not UTF-8.
 * As the reference reader does: holes, overlaps and bytes after the last tensor are refused.
 *
 * Threads: reentrant. No I/O: the caller reads the first 8 bytes, then N more.
 */
#ifndef MLP_TENSOR_SAFETENSORS_H
#define MLP_TENSOR_SAFETENSORS_H

#include "base/status.h"
#include "tensor/view.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_SAFETENSORS_PREFIX_LEN 8
#define MLP_SAFETENSORS_HEADER_MAX 100000000 /* MAX_HEADER_SIZE of the reference implementation */

struct mlp_safetensors_entry {
    char *name; /* UTF-8, NUL-terminated; no NUL inside */
    size_t name_len;
    int dtype; /* enum mlp_dtype, one that safetensors has */
    int ndim;
    int64_t *shape; /* values of the dtype, as leaves write it */
    uint64_t begin; /* bytes from the start of the file, not of the data */
    uint64_t end;
};

struct mlp_safetensors_text {
    char *key;
    size_t key_len;
    char *value;
    size_t value_len;
};

/* All memory is its own; mlp_safetensors_clear releases. */
struct mlp_safetensors {
    struct mlp_safetensors_entry *entries; /* sorted by the UTF-8 bytes of the name */
    size_t entries_count;
    struct mlp_safetensors_text *metadata; /* __metadata__, sorted by key; text only */
    size_t metadata_count;
};

/* The header's length from the first 8 bytes of a file of file_len bytes.
 * Returns: 0, MLP_E_MALFORMED (file too short, header over the maximum or beyond the file).
 */
int mlp_safetensors_header_len(size_t *header_len, const uint8_t *prefix, size_t prefix_len,
                               uint64_t file_len, struct mlp_error *error);

/* In:      header: the header_len bytes that follow the prefix.
 * Returns: 0, MLP_E_MALFORMED (what, at which tensor), MLP_E_MEMORY. On failure file is untouched.
 */
int mlp_safetensors_parse(struct mlp_safetensors *file, const uint8_t *header, size_t header_len,
                          uint64_t file_len, struct mlp_error *error);

void mlp_safetensors_clear(struct mlp_safetensors *file);

#endif
