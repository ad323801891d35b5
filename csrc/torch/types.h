/* types.h - torch's element types and layouts in mlprov's words. C++, for bridge.cpp alone.
 *
 * Source: c10/core/ScalarType.h and Layout.h of the torch that is built against.
 *
 * Threads: pure functions.
 */
#ifndef MLP_TORCH_TYPES_H
#define MLP_TORCH_TYPES_H

#include "tensor/dtype.h"

#include <ATen/ATen.h>

#include <cstddef>

namespace mlprov
{

// Returns: enum mlp_dtype, MLP_DTYPE_NONE for a type that mlprov does not know.
inline int dtype_of(at::ScalarType type)
{
    switch (type) {
#define TORCH_DTYPE(torch_type, code)                                                              \
    case at::ScalarType::torch_type:                                                               \
        return MLP_DTYPE_##code;
        TORCH_DTYPE(Bool, BOOL)
        TORCH_DTYPE(Char, I8)
        TORCH_DTYPE(Short, I16)
        TORCH_DTYPE(Int, I32)
        TORCH_DTYPE(Long, I64)
        TORCH_DTYPE(Byte, U8)
        TORCH_DTYPE(UInt16, U16)
        TORCH_DTYPE(UInt32, U32)
        TORCH_DTYPE(UInt64, U64)
        TORCH_DTYPE(Double, F64)
        TORCH_DTYPE(Float, F32)
        TORCH_DTYPE(Half, F16)
        TORCH_DTYPE(BFloat16, BF16)
        TORCH_DTYPE(Float8_e4m3fn, F8_E4M3)
        TORCH_DTYPE(Float8_e5m2, F8_E5M2)
        TORCH_DTYPE(Float8_e8m0fnu, F8_E8M0)
        TORCH_DTYPE(Float8_e4m3fnuz, F8_E4M3FNUZ)
        TORCH_DTYPE(Float8_e5m2fnuz, F8_E5M2FNUZ)
        TORCH_DTYPE(Float4_e2m1fn_x2, F4)
        TORCH_DTYPE(ComplexFloat, C64)
        TORCH_DTYPE(ComplexDouble, C128)
        TORCH_DTYPE(ComplexHalf, C32)
        TORCH_DTYPE(Int1, I1_SHELL)
        TORCH_DTYPE(Int2, I2_SHELL)
        TORCH_DTYPE(Int3, I3_SHELL)
        TORCH_DTYPE(Int4, I4_SHELL)
        TORCH_DTYPE(Int5, I5_SHELL)
        TORCH_DTYPE(Int6, I6_SHELL)
        TORCH_DTYPE(Int7, I7_SHELL)
        TORCH_DTYPE(UInt1, U1_SHELL)
        TORCH_DTYPE(UInt2, U2_SHELL)
        TORCH_DTYPE(UInt3, U3_SHELL)
        TORCH_DTYPE(UInt4, U4_SHELL)
        TORCH_DTYPE(UInt5, U5_SHELL)
        TORCH_DTYPE(UInt6, U6_SHELL)
        TORCH_DTYPE(UInt7, U7_SHELL)
        TORCH_DTYPE(Bits8, BITS8)
        TORCH_DTYPE(Bits16, BITS16)
        TORCH_DTYPE(Bits1x8, BITS1X8)
        TORCH_DTYPE(Bits2x4, BITS2X4)
        TORCH_DTYPE(Bits4x2, BITS4X2)
#undef TORCH_DTYPE
    default:
        return MLP_DTYPE_NONE;
    }
}

// Returns: a layout that has parts, as docs/format.md section 2 spells it; nullptr for any other.
inline const char *layout_name(const at::Tensor &tensor)
{
    if (tensor.is_quantized())
        return "quantized";
    if (tensor.is_nested())
        return "nested";
    switch (tensor.layout()) {
    case at::kSparse:
        return "sparse_coo";
    case at::kSparseCsr:
        return "sparse_csr";
    case at::kSparseCsc:
        return "sparse_csc";
    case at::kSparseBsr:
        return "sparse_bsr";
    case at::kSparseBsc:
        return "sparse_bsc";
    case at::kMkldnn:
        return "mkldnn";
    case at::kJagged:
        return "jagged";
    default:
        return nullptr;
    }
}

// Returns: the type that moves elements of item_len bytes as they are.
inline at::ScalarType integer_of_width(size_t item_len)
{
    switch (item_len) {
    case 1:
        return at::kByte;
    case 2:
        return at::kShort;
    case 4:
        return at::kInt;
    case 8:
        return at::kLong;
    default:
        return at::kComplexDouble; // 16 bytes
    }
}

} // namespace mlprov

#endif
