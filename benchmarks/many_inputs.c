/* many_inputs.c - what many_inputs.py times below Python: one call of ours, and a loop over BLAKE3's C
 * library, which is compiled beside it where it is installed (PEER is defined).
 */
#include "hash/hash.h"

typedef int hash_all(uint8_t *digests, const struct mlp_hash_input *inputs, size_t inputs_count,
                     size_t per_call);
hash_all ours, peer;

int ours(uint8_t *digests, const struct mlp_hash_input *inputs, size_t inputs_count,
         size_t per_call)
{
    for (size_t i = 0; i < inputs_count; i += per_call) {
        size_t count = inputs_count - i < per_call ? inputs_count - i : per_call;
        const struct mlp_hash_request request = {MLP_BLAKE3, digests + i * MLP_BLAKE3_OUT_LEN};
        (void)mlp_hash_many_by(&request, 1, inputs + i, count, 1, NULL);
    }
    return 0;
}

#if defined(PEER)
#include <blake3.h>

int peer(uint8_t *digests, const struct mlp_hash_input *inputs, size_t inputs_count,
         size_t per_call)
{
    (void)per_call;
    for (size_t i = 0; i < inputs_count; i++) {
        blake3_hasher hasher;
        blake3_hasher_init(&hasher);
        blake3_hasher_update(&hasher, inputs[i].data, inputs[i].len);
        blake3_hasher_finalize(&hasher, digests + i * BLAKE3_OUT_LEN, BLAKE3_OUT_LEN);
    }
    return 0;
}
#endif
