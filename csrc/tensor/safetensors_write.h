/* safetensors_write.h - the header of a safetensors file that is about to be written.
 *
 * Byte for byte what the reference writer (huggingface/safetensors, `prepare` in tensor.rs) makes of the
 * same tensors: those of the widest type first, then by name; no spaces in the JSON; blanks after it
 * until the data begin at a multiple of 8. It writes __metadata__ in no particular order; here the pairs
 * are written as they come.
 *
 * Threads: reentrant. No I/O.
 */
#ifndef MLP_TENSOR_SAFETENSORS_WRITE_H
#define MLP_TENSOR_SAFETENSORS_WRITE_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* A tensor that will be in the file. Nothing is owned. */
struct mlp_safetensors_item {
    const char *name; /* UTF-8, another for each */
    size_t name_len;
    int dtype; /* enum mlp_dtype */
    int ndim;
    const int64_t *shape; /* as mlp_view_leaf_shape gives it */
    uint64_t len;         /* canonical bytes */
    size_t index;         /* the caller's: which tensor it is */
};

/* A pair of __metadata__. Nothing is owned. */
struct mlp_safetensors_pair {
    const char *key; /* UTF-8 */
    size_t key_len;
    const char *value; /* UTF-8 */
    size_t value_len;
};

/* Whether the format has a place for a tensor.
 * Returns: 0 or MLP_E_CONFIG (a type that it does not have; the name __metadata__).
 */
int mlp_safetensors_check(const struct mlp_safetensors_item *item, struct mlp_error *error);

/* Puts items into the order in which their data follow each other in the file. Each passed
 * mlp_safetensors_check. */
void mlp_safetensors_sort(struct mlp_safetensors_item *items, size_t items_count);

/* Appends all that stands before the data: the header's length, the header, blanks.
 * In:      items: sorted.
 *          pairs: NULL: there is no __metadata__.
 * Returns: 0; MLP_E_CONFIG (a header longer than readers take); MLP_E_MALFORMED (text that is not
 *          UTF-8); MLP_E_MEMORY.
 */
int mlp_safetensors_head_append(struct mlp_buffer *head, const struct mlp_safetensors_item *items,
                                size_t items_count, const struct mlp_safetensors_pair *pairs,
                                size_t pairs_count, struct mlp_error *error);

#endif
