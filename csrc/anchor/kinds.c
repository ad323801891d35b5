#include "anchor/anchor.h"

#include <string.h>

static const struct mlp_anchor_kind *const kinds[] = {
    &mlp_anchor_ipfs,
    &mlp_anchor_ipfs_file,
    &mlp_anchor_ethereum,
};

const struct mlp_anchor_kind *mlp_anchor_kind_named(const char *name, size_t name_len)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strlen(kinds[i]->name) == name_len && memcmp(kinds[i]->name, name, name_len) == 0)
            return kinds[i];
    }
    return NULL;
}
