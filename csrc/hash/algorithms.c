#include "hash/algorithms.h"

#include <string.h>

struct algorithm_row {
    const char *name;
    size_t digest_len;
    size_t block_len;
};

static const struct algorithm_row algorithm_rows[] = {
    [MLP_BLAKE3] = {"blake3", 32, 64},
    [MLP_SHA256] = {"sha256", 32, 64},
    [MLP_SHA384] = {"sha384", 48, 128},
    [MLP_SHA512] = {"sha512", 64, 128},
};

#define ROWS_COUNT ((int)(sizeof algorithm_rows / sizeof algorithm_rows[0]))

static const struct algorithm_row *find_row(int algorithm)
{
    return algorithm >= MLP_BLAKE3 && algorithm < ROWS_COUNT ? &algorithm_rows[algorithm] : NULL;
}

int mlp_algorithm_from_name(const char *name, size_t name_len)
{
    for (int algorithm = MLP_BLAKE3; algorithm < ROWS_COUNT; algorithm++) {
        const char *known = algorithm_rows[algorithm].name;
        if (strlen(known) == name_len && memcmp(known, name, name_len) == 0)
            return algorithm;
    }
    return 0;
}

const char *mlp_algorithm_name(int algorithm)
{
    const struct algorithm_row *row = find_row(algorithm);
    return row != NULL ? row->name : NULL;
}

size_t mlp_algorithm_digest_len(int algorithm)
{
    const struct algorithm_row *row = find_row(algorithm);
    return row != NULL ? row->digest_len : 0;
}

size_t mlp_algorithm_block_len(int algorithm)
{
    const struct algorithm_row *row = find_row(algorithm);
    return row != NULL ? row->block_len : 0;
}

int mlp_algorithm_check(int algorithm, struct mlp_error *error)
{
    if (find_row(algorithm) != NULL)
        return MLP_OK;
    return mlp_fail(error, MLP_E_ARGUMENT,
                    "algorithm number %d is none of blake3 (1), sha256 (2), sha384 (3), sha512 (4)",
                    algorithm);
}
