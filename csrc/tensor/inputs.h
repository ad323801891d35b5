/* inputs.h - the views of a set as the hash takes them: in place, or as sources that gather.
 *
 * Threads: any number may hash the inputs at a time.
 */
#ifndef MLP_TENSOR_INPUTS_H
#define MLP_TENSOR_INPUTS_H

#include "hash/hash.h"
#include "tensor/view_set.h"

/* One input for each view, in order. A view whose canonical bytes lie in memory is hashed there, any
 * other one through a source; a staged one is left as an empty input.
 * In:      views: what they point to stays as it is while the inputs are hashed. The set itself is not
 *          read any more.
 *          unread: true: no value is read here, which BOOL views otherwise need (canonical.h): what is
 *          hashed later may be written until then, and reading it is a worker's work.
 * Out:     inputs: an array; free with mlp_tensor_inputs_free.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_tensor_inputs_new(struct mlp_hash_input **inputs, const struct mlp_view_set *views,
                          bool unread, struct mlp_error *error);

/* Bytes of memory that they take. */
size_t mlp_tensor_inputs_size(const struct mlp_hash_input *inputs, size_t inputs_count);

void mlp_tensor_inputs_free(struct mlp_hash_input *inputs, size_t inputs_count); /* NULL: allowed */

#endif
