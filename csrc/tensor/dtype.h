/* dtype.h - every element type that a tensor leaf can name, and the spelling of its name.
 *
 * Names are those that safetensors 0.8 writes; types that it lacks have names of our own (the table
 * in docs/format.md section 2). A type is a code of this enum, and for the sized ones a
 * parameter in the view: item_len for S, U and V, unit for dates.
 *
 * Threads: the table is constant; every function may be called from any thread.
 */
#ifndef MLP_TENSOR_DTYPE_H
#define MLP_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the bits mean, as far as a transformation of them needs to know. */
enum mlp_dtype_kind {
    MLP_KIND_BITS,    /* hashed as stored; cannot be negated */
    MLP_KIND_BOOL,    /* one byte; any but 0 is hashed as 1 */
    MLP_KIND_INTEGER, /* two's complement */
    MLP_KIND_FLOAT,   /* the sign is the top bit of every part */
    MLP_KIND_COMPLEX, /* (re, im), each a part with the sign on top */
};

/* X(CODE, name, value bits, stored bytes of an element, bytes of a part, kind, torch dtype or NULL,
 *   NumPy dtype or NULL, whether safetensors has it)
 * Stored bytes 0: the view's item_len says. A part is the unit of byte swapping and of sign bits.
 * Value bits are those of one element of the leaf's shape (F4: half a byte; F80: without padding).
 */
#define MLP_DTYPE_TABLE(X)                                                                         \
    X(BOOL, "BOOL", 8, 1, 1, BOOL, "bool", "bool", true)                                           \
    X(I8, "I8", 8, 1, 1, INTEGER, "int8", "int8", true)                                            \
    X(I16, "I16", 16, 2, 2, INTEGER, "int16", "int16", true)                                       \
    X(I32, "I32", 32, 4, 4, INTEGER, "int32", "int32", true)                                       \
    X(I64, "I64", 64, 8, 8, INTEGER, "int64", "int64", true)                                       \
    X(U8, "U8", 8, 1, 1, INTEGER, "uint8", "uint8", true)                                          \
    X(U16, "U16", 16, 2, 2, INTEGER, "uint16", "uint16", true)                                     \
    X(U32, "U32", 32, 4, 4, INTEGER, "uint32", "uint32", true)                                     \
    X(U64, "U64", 64, 8, 8, INTEGER, "uint64", "uint64", true)                                     \
    X(F64, "F64", 64, 8, 8, FLOAT, "float64", "float64", true)                                     \
    X(F32, "F32", 32, 4, 4, FLOAT, "float32", "float32", true)                                     \
    X(F16, "F16", 16, 2, 2, FLOAT, "float16", "float16", true)                                     \
    X(BF16, "BF16", 16, 2, 2, FLOAT, "bfloat16", "bfloat16", true)                                 \
    X(F8_E4M3, "F8_E4M3", 8, 1, 1, BITS, "float8_e4m3fn", "float8_e4m3fn", true)                   \
    X(F8_E5M2, "F8_E5M2", 8, 1, 1, BITS, "float8_e5m2", "float8_e5m2", true)                       \
    X(F8_E8M0, "F8_E8M0", 8, 1, 1, BITS, "float8_e8m0fnu", "float8_e8m0fnu", true)                 \
    X(F8_E4M3FNUZ, "F8_E4M3FNUZ", 8, 1, 1, BITS, "float8_e4m3fnuz", "float8_e4m3fnuz", true)       \
    X(F8_E5M2FNUZ, "F8_E5M2FNUZ", 8, 1, 1, BITS, "float8_e5m2fnuz", "float8_e5m2fnuz", true)       \
    X(F4, "F4", 4, 1, 1, BITS, "float4_e2m1fn_x2", NULL, true)                                     \
    X(F6_E2M3, "F6_E2M3", 6, 1, 1, BITS, NULL, NULL, true)                                         \
    X(F6_E3M2, "F6_E3M2", 6, 1, 1, BITS, NULL, NULL, true)                                         \
    X(C64, "C64", 64, 8, 4, COMPLEX, "complex64", "complex64", true)                               \
    X(C128, "C128", 128, 16, 8, COMPLEX, "complex128", "complex128", false)                        \
    X(C32, "C32", 32, 4, 2, COMPLEX, "complex32", NULL, false)                                     \
    X(F8_E4M3_IEEE, "F8_E4M3_IEEE", 8, 1, 1, BITS, NULL, "float8_e4m3", false)                     \
    X(F8_E4M3B11FNUZ, "F8_E4M3B11FNUZ", 8, 1, 1, BITS, NULL, "float8_e4m3b11fnuz", false)          \
    X(F8_E3M4, "F8_E3M4", 8, 1, 1, BITS, NULL, "float8_e3m4", false)                               \
    X(F80, "F80", 80, 16, 16, BITS, NULL, NULL, false)                                             \
    X(C160, "C160", 160, 32, 16, BITS, NULL, NULL, false)                                          \
    X(F128, "F128", 128, 16, 16, BITS, NULL, NULL, false)                                          \
    X(C256, "C256", 256, 32, 16, BITS, NULL, NULL, false)                                          \
    X(I1_SHELL, "I1_SHELL", 8, 1, 1, BITS, "int1", NULL, false)                                    \
    X(I2_SHELL, "I2_SHELL", 8, 1, 1, BITS, "int2", NULL, false)                                    \
    X(I3_SHELL, "I3_SHELL", 8, 1, 1, BITS, "int3", NULL, false)                                    \
    X(I4_SHELL, "I4_SHELL", 8, 1, 1, BITS, "int4", NULL, false)                                    \
    X(I5_SHELL, "I5_SHELL", 8, 1, 1, BITS, "int5", NULL, false)                                    \
    X(I6_SHELL, "I6_SHELL", 8, 1, 1, BITS, "int6", NULL, false)                                    \
    X(I7_SHELL, "I7_SHELL", 8, 1, 1, BITS, "int7", NULL, false)                                    \
    X(U1_SHELL, "U1_SHELL", 8, 1, 1, BITS, "uint1", NULL, false)                                   \
    X(U2_SHELL, "U2_SHELL", 8, 1, 1, BITS, "uint2", NULL, false)                                   \
    X(U3_SHELL, "U3_SHELL", 8, 1, 1, BITS, "uint3", NULL, false)                                   \
    X(U4_SHELL, "U4_SHELL", 8, 1, 1, BITS, "uint4", NULL, false)                                   \
    X(U5_SHELL, "U5_SHELL", 8, 1, 1, BITS, "uint5", NULL, false)                                   \
    X(U6_SHELL, "U6_SHELL", 8, 1, 1, BITS, "uint6", NULL, false)                                   \
    X(U7_SHELL, "U7_SHELL", 8, 1, 1, BITS, "uint7", NULL, false)                                   \
    X(BITS8, "BITS8", 8, 1, 1, BITS, "bits8", NULL, false)                                         \
    X(BITS16, "BITS16", 16, 2, 2, BITS, "bits16", NULL, false)                                     \
    X(BITS1X8, "BITS1X8", 8, 1, 1, BITS, "bits1x8", NULL, false)                                   \
    X(BITS2X4, "BITS2X4", 8, 1, 1, BITS, "bits2x4", NULL, false)                                   \
    X(BITS4X2, "BITS4X2", 8, 1, 1, BITS, "bits4x2", NULL, false)                                   \
    X(DATETIME64, "DATETIME64", 64, 8, 8, BITS, NULL, NULL, false)                                 \
    X(TIMEDELTA64, "TIMEDELTA64", 64, 8, 8, BITS, NULL, NULL, false)                               \
    X(TEXT_BYTES, "S", 0, 0, 1, BITS, NULL, NULL, false)                                           \
    X(TEXT_UCS4, "U", 0, 0, 4, BITS, NULL, NULL, false)                                            \
    X(VOID, "V", 0, 0, 1, BITS, NULL, NULL, false)

enum mlp_dtype {
    MLP_DTYPE_NONE = 0,
#define MLP_DTYPE_ENUM(code, name, bits, item, part, kind, torch, numpy, in_file) MLP_DTYPE_##code,
    MLP_DTYPE_TABLE(MLP_DTYPE_ENUM)
#undef MLP_DTYPE_ENUM
        MLP_DTYPE_END
};

struct mlp_dtype_info {
    enum mlp_dtype dtype;
    const char *name;
    unsigned bits;
    unsigned item_len; /* 0: the view says */
    unsigned part_len;
    enum mlp_dtype_kind kind;
    const char *torch_name; /* without "torch."; NULL where torch has none */
    const char *numpy_name; /* dtype.name; NULL where it is not fixed (dates, text, long double) */
    bool in_safetensors;
};

#define MLP_DTYPE_NAME_MAX 48
#define MLP_DTYPE_UNIT_MAX 24 /* "[2147483647ns]" and the end */

/* Returns: the row of a code, or NULL for a number that is none. */
const struct mlp_dtype_info *mlp_dtype_info(int dtype);

/* The code of a name, as a safetensors header spells it (_from_file), as str(dtype) without
 * "torch." (_from_torch), as dtype.name of NumPy and ml_dtypes (_from_numpy).
 * Returns: enum mlp_dtype, MLP_DTYPE_NONE for a name that is none.
 */
int mlp_dtype_from_file(const char *name, size_t name_len);
int mlp_dtype_from_torch(const char *name, size_t name_len);
int mlp_dtype_from_numpy(const char *name, size_t name_len);

/* The type of NumPy's long double (kind 'f') or complex long double ('c') of this machine.
 * Returns: MLP_DTYPE_F80/C160 (x87), F128/C256 (binary128), or NONE for any other item_len.
 */
int mlp_dtype_long_double(char kind, size_t item_len);

#endif
