/* What a leaf says of a tensor: the names of element types, the shape, and the object's text. */
#include "base/bytes.h"
#include "check.h"
#include "hash/hash.h"
#include "tensor/dtype.h"
#include "tensor/leaf.h"
#include "tensor_reference.h"

#include <string.h>

/* ---- names, shapes ---- */

static void names_carry_their_parameter(void)
{
    char name[MLP_DTYPE_NAME_MAX];
    struct mlp_view view = {.dtype = MLP_DTYPE_TEXT_UCS4, .item_len = 12};
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "U3_UCS4") == 0);
    view.dtype = MLP_DTYPE_TEXT_BYTES;
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "S12") == 0);
    view.dtype = MLP_DTYPE_DATETIME64;
    memcpy(view.unit, "[25s]", 6);
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "DATETIME64[25s]") == 0);
    view.dtype = MLP_DTYPE_NONE;
    view.unit[0] = '\0';
    mlp_view_dtype_name(name, &view);
    CHECK(strcmp(name, "") == 0);
}

static void every_dtype_is_found_again_by_its_names(void)
{
    for (int dtype = 1; dtype < MLP_DTYPE_END; dtype++) {
        const struct mlp_dtype_info *info = mlp_dtype_info(dtype);
        if (!CHECK(info != NULL && (int)info->dtype == dtype))
            return;
        CHECK(mlp_dtype_from_file(info->name, strlen(info->name)) ==
              (info->in_safetensors ? dtype : MLP_DTYPE_NONE));
        if (info->torch_name != NULL)
            CHECK(mlp_dtype_from_torch(info->torch_name, strlen(info->torch_name)) == dtype);
        if (info->numpy_name != NULL)
            CHECK(mlp_dtype_from_numpy(info->numpy_name, strlen(info->numpy_name)) == dtype);
        CHECK(info->item_len == 0 || info->item_len % info->part_len == 0);
    }
    CHECK(mlp_dtype_info(0) == NULL && mlp_dtype_info(-1) == NULL &&
          mlp_dtype_info(MLP_DTYPE_END) == NULL);
    CHECK(mlp_dtype_from_torch("float3", 6) == MLP_DTYPE_NONE);
    CHECK(mlp_dtype_from_file("F32x", 4) == MLP_DTYPE_NONE);
    CHECK(mlp_dtype_long_double('f', 8) == MLP_DTYPE_NONE);
    CHECK(mlp_dtype_long_double('i', 16) == MLP_DTYPE_NONE);
}

static void packed_float4_has_the_shape_that_safetensors_writes(void)
{
    int64_t shape[MLP_VIEW_DIMS_MAX];
    struct mlp_view view = view_of(arena, MLP_DTYPE_F4, 2, (int64_t[]){2, 3});
    CHECK(mlp_view_leaf_shape(shape, &view) == 2 && shape[0] == 2 && shape[1] == 6);
    view.ndim = 0;
    CHECK(mlp_view_leaf_shape(shape, &view) == 1 && shape[0] == 2);
    view = view_of(arena, MLP_DTYPE_U8, 2, (int64_t[]){2, 3});
    CHECK(mlp_view_leaf_shape(shape, &view) == 2 && shape[1] == 3);
}

/* ---- leaves ---- */

static const uint8_t digest_of_ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                           1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
#define ONES "0101010101010101010101010101010101010101010101010101010101010101"

static bool holds_text(const struct mlp_buffer *buffer, const char *text)
{
    bool holds = buffer->len == strlen(text) && memcmp(buffer->data, text, buffer->len) == 0;
    if (!holds)
        printf("  seen: %.*s\n", (int)buffer->len, (const char *)buffer->data);
    return holds;
}

static struct mlp_tensor_leaf example_leaf(const int64_t *shape)
{
    struct mlp_tensor_leaf leaf = {"conv1.weight", 12,    MLP_BLAKE3, digest_of_ones,
                                   "F32",          37632, 4,          shape};
    return leaf;
}

static void a_leaf_is_the_jcs_object_of_the_specification(void)
{
    static const int64_t shape[] = {64, 3, 7, 7};
    struct mlp_tensor_leaf leaf = example_leaf(shape);
    struct mlp_buffer out;
    mlp_buffer_init(&out);
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == 0);
    CHECK(holds_text(&out, "{\"digest\":\"blake3:" ONES "\",\"dtype\":\"F32\",\"len\":37632,"
                           "\"name\":\"conv1.weight\",\"shape\":[64,3,7,7]}"));
    out.len = 0;
    leaf.name = "a\"\\\n\xc3\xa9\x01";
    leaf.name_len = 7;
    leaf.algorithm = MLP_SHA256;
    leaf.ndim = 0;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == 0);
    CHECK(holds_text(&out, "{\"digest\":\"sha256:" ONES "\",\"dtype\":\"F32\",\"len\":37632,"
                           "\"name\":\"a\\\"\\\\\\n\xc3\xa9\\u0001\",\"shape\":[]}"));
    out.len = 0;
    leaf.name = NULL;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == 0);
    CHECK(holds_text(&out, "{\"digest\":\"sha256:" ONES "\",\"dtype\":\"F32\",\"len\":37632,"
                           "\"shape\":[]}"));
    mlp_buffer_clear(&out);
}

static void a_leaf_that_json_cannot_carry_leaves_the_buffer_as_it_was(void)
{
    static const int64_t shape[] = {1};
    static const int64_t huge[] = {INT64_C(1) << 53};
    struct mlp_tensor_leaf leaf = example_leaf(shape);
    struct mlp_buffer out;
    mlp_buffer_init(&out);
    mlp_buffer_append_text(&out, "before");
    leaf.ndim = 1;
    leaf.name = "\xff";
    leaf.name_len = 1;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    leaf = example_leaf(shape);
    leaf.ndim = 1;
    leaf.algorithm = 99;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    leaf = example_leaf(shape);
    leaf.ndim = 1;
    leaf.len = UINT64_C(1) << 53;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    leaf = example_leaf(huge);
    leaf.ndim = 1;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_ARGUMENT);
    CHECK(holds_text(&out, "before"));
    leaf = example_leaf(shape);
    leaf.ndim = 1;
    out.failed = 1;
    CHECK(mlp_tensor_leaf_append(&out, &leaf, NULL) == MLP_E_MEMORY);
    mlp_buffer_clear(&out);
}

int main(void)
{
    RUN(names_carry_their_parameter);
    RUN(every_dtype_is_found_again_by_its_names);
    RUN(packed_float4_has_the_shape_that_safetensors_writes);
    RUN(a_leaf_is_the_jcs_object_of_the_specification);
    RUN(a_leaf_that_json_cannot_carry_leaves_the_buffer_as_it_was);
    return check_finish();
}
