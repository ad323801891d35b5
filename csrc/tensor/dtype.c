#include "tensor/dtype.h"

#include <float.h>
#include <string.h>

/* Indexed by code; row 0 is no type. */
static const struct mlp_dtype_info dtype_rows[] = {
    {MLP_DTYPE_NONE, "", 0, 0, 0, MLP_KIND_BITS, NULL, NULL, false},
#define DTYPE_ROW(code, name, bits, item, part, kind, torch, numpy, in_file)                       \
    {MLP_DTYPE_##code, name, bits, item, part, MLP_KIND_##kind, torch, numpy, in_file},
    MLP_DTYPE_TABLE(DTYPE_ROW)
#undef DTYPE_ROW
};

const struct mlp_dtype_info *mlp_dtype_info(int dtype)
{
    if (dtype <= MLP_DTYPE_NONE || dtype >= MLP_DTYPE_END)
        return NULL;
    return &dtype_rows[dtype];
}

static bool equals(const char *known, const char *name, size_t name_len)
{
    return known != NULL && strlen(known) == name_len && memcmp(known, name, name_len) == 0;
}

int mlp_dtype_from_file(const char *name, size_t name_len)
{
    for (int dtype = 1; dtype < MLP_DTYPE_END; dtype++) {
        if (dtype_rows[dtype].in_safetensors && equals(dtype_rows[dtype].name, name, name_len))
            return dtype;
    }
    return MLP_DTYPE_NONE;
}

int mlp_dtype_from_torch(const char *name, size_t name_len)
{
    for (int dtype = 1; dtype < MLP_DTYPE_END; dtype++) {
        if (equals(dtype_rows[dtype].torch_name, name, name_len))
            return dtype;
    }
    return MLP_DTYPE_NONE;
}

int mlp_dtype_from_numpy(const char *name, size_t name_len)
{
    for (int dtype = 1; dtype < MLP_DTYPE_END; dtype++) {
        if (equals(dtype_rows[dtype].numpy_name, name, name_len))
            return dtype;
    }
    return MLP_DTYPE_NONE;
}

int mlp_dtype_long_double(char kind, size_t item_len)
{
    size_t parts = kind == 'c' ? 2 : 1;
    if ((kind != 'f' && kind != 'c') || item_len != 16 * parts)
        return MLP_DTYPE_NONE;
#if LDBL_MANT_DIG == 64
    return kind == 'c' ? MLP_DTYPE_C160 : MLP_DTYPE_F80;
#elif LDBL_MANT_DIG == 113
    return kind == 'c' ? MLP_DTYPE_C256 : MLP_DTYPE_F128;
#else
    return MLP_DTYPE_NONE; /* double-double and the like: no one meaning */
#endif
}
