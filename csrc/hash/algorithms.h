/* algorithms.h - which algorithms there are; hash.h has their names and lengths.
 *
 * Internal to the hash room.
 *
 * Threads: pure functions.
 */
#ifndef MLP_HASH_ALGORITHMS_H
#define MLP_HASH_ALGORITHMS_H

#include "hash/hash.h"

/* Returns: 0 or MLP_E_ARGUMENT (a number that is no algorithm's). */
int mlp_algorithm_check(int algorithm, struct mlp_error *error);

#endif
