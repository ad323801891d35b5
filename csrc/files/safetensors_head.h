/* safetensors_head.h - reading what a safetensors file says that it holds.
 *
 * Threads: reentrant.
 */
#ifndef MLP_FILES_SAFETENSORS_HEAD_H
#define MLP_FILES_SAFETENSORS_HEAD_H

#include "base/bytes.h"
#include "base/reader.h"
#include "tensor/safetensors.h"

/* Reads and parses the header of an opened regular file; its data are not read.
 * Out:     file: clear with mlp_safetensors_clear.
 *          head: all that stands before the data is appended.
 * Returns: 0; MLP_E_MALFORMED, with the file's path; MLP_E_MEMORY; as mlp_reader_at, mlp_reader_check.
 */
int mlp_file_safetensors_head(struct mlp_safetensors *file, struct mlp_buffer *head,
                              const struct mlp_reader *reader, struct mlp_error *error);

#endif
