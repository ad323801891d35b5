#include "tensor/safetensors_write.h"

#include "codec/jcs.h"
#include "tensor/dtype.h"
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

#define METADATA_KEY "__metadata__"
#define ALIGN        8 /* where the data begin */

/* The order of the reference's enum Dtype, last one first ("so that the data are aligned"). */
static const int file_order[] = {
    MLP_DTYPE_U64,         MLP_DTYPE_I64,     MLP_DTYPE_F64,     MLP_DTYPE_C64,
    MLP_DTYPE_F32,         MLP_DTYPE_U32,     MLP_DTYPE_I32,     MLP_DTYPE_BF16,
    MLP_DTYPE_F16,         MLP_DTYPE_U16,     MLP_DTYPE_I16,     MLP_DTYPE_F8_E5M2FNUZ,
    MLP_DTYPE_F8_E4M3FNUZ, MLP_DTYPE_F8_E8M0, MLP_DTYPE_F8_E4M3, MLP_DTYPE_F8_E5M2,
    MLP_DTYPE_I8,          MLP_DTYPE_U8,      MLP_DTYPE_F6_E3M2, MLP_DTYPE_F6_E2M3,
    MLP_DTYPE_F4,          MLP_DTYPE_BOOL,
};

#define FILE_ORDER_COUNT (sizeof file_order / sizeof file_order[0])

static size_t rank_of(int dtype)
{
    size_t rank = 0;
    while (rank < FILE_ORDER_COUNT && file_order[rank] != dtype)
        rank++;
    return rank;
}

int mlp_safetensors_check(const struct mlp_safetensors_item *item, struct mlp_error *error)
{
    if (rank_of(item->dtype) == FILE_ORDER_COUNT)
        return mlp_fail(error, MLP_E_CONFIG,
                        "tensor \"%.96s\" is of type %s, which safetensors does not have",
                        item->name, mlp_dtype_info(item->dtype)->name);
    if (item->name_len == strlen(METADATA_KEY) &&
        memcmp(item->name, METADATA_KEY, item->name_len) == 0)
        return mlp_fail(error, MLP_E_CONFIG,
                        "a tensor cannot be named " METADATA_KEY
                        " in safetensors: that is the file's own entry");
    return 0;
}

static int compare_items(const void *left, const void *right)
{
    const struct mlp_safetensors_item *one = left;
    const struct mlp_safetensors_item *other = right;
    size_t one_rank = rank_of(one->dtype), other_rank = rank_of(other->dtype);
    if (one_rank != other_rank)
        return one_rank < other_rank ? -1 : 1;
    size_t shorter = one->name_len < other->name_len ? one->name_len : other->name_len;
    int order = memcmp(one->name, other->name, shorter);
    return order != 0 ? order
                      : (one->name_len > other->name_len) - (one->name_len < other->name_len);
}

void mlp_safetensors_sort(struct mlp_safetensors_item *items, size_t items_count)
{
    if (items_count > 1)
        qsort(items, items_count, sizeof *items, compare_items);
}

/* ---- the JSON ---- */

static int append_metadata(struct mlp_buffer *json, const struct mlp_safetensors_pair *pairs,
                           size_t pairs_count, struct mlp_error *error)
{
    mlp_buffer_append_text(json, "\"" METADATA_KEY "\":{");
    for (size_t i = 0; i < pairs_count; i++) {
        if (i > 0)
            mlp_buffer_append_text(json, ",");
        int status = mlp_jcs_append_string(json, pairs[i].key, pairs[i].key_len, error);
        if (status != 0)
            return status;
        mlp_buffer_append_text(json, ":");
        status = mlp_jcs_append_string(json, pairs[i].value, pairs[i].value_len, error);
        if (status != 0)
            return status;
    }
    mlp_buffer_append_text(json, "}");
    return 0;
}

static int append_item(struct mlp_buffer *json, const struct mlp_safetensors_item *item,
                       uint64_t begin, struct mlp_error *error)
{
    int status = mlp_jcs_append_string(json, item->name, item->name_len, error);
    if (status != 0)
        return status;
    mlp_buffer_append_text(json, ":{\"dtype\":\"");
    mlp_buffer_append_text(json, mlp_dtype_info(item->dtype)->name);
    mlp_buffer_append_text(json, "\",\"shape\":[");
    for (int i = 0; i < item->ndim; i++) {
        if (i > 0)
            mlp_buffer_append_text(json, ",");
        mlp_buffer_append_u64(json, (uint64_t)item->shape[i]);
    }
    mlp_buffer_append_text(json, "],\"data_offsets\":[");
    mlp_buffer_append_u64(json, begin);
    mlp_buffer_append_text(json, ",");
    mlp_buffer_append_u64(json, begin + item->len);
    mlp_buffer_append_text(json, "]}");
    return 0;
}

static int append_object(struct mlp_buffer *json, const struct mlp_safetensors_item *items,
                         size_t items_count, const struct mlp_safetensors_pair *pairs,
                         size_t pairs_count, struct mlp_error *error)
{
    mlp_buffer_append_text(json, "{");
    int status = pairs != NULL ? append_metadata(json, pairs, pairs_count, error) : 0;
    uint64_t begin = 0;
    for (size_t i = 0; i < items_count && status == 0; i++) {
        if (i > 0 || pairs != NULL)
            mlp_buffer_append_text(json, ",");
        status = append_item(json, &items[i], begin, error);
        begin += items[i].len;
    }
    mlp_buffer_append_text(json, "}");
    return status;
}

int mlp_safetensors_head_append(struct mlp_buffer *head, const struct mlp_safetensors_item *items,
                                size_t items_count, const struct mlp_safetensors_pair *pairs,
                                size_t pairs_count, struct mlp_error *error)
{
    uint8_t prefix[MLP_SAFETENSORS_PREFIX_LEN] = {0};
    size_t start = head->len;
    mlp_buffer_append(head, prefix, sizeof prefix);
    int status = append_object(head, items, items_count, pairs, pairs_count, error);
    while (status == 0 && mlp_buffer_status(head) == 0 && (head->len - start) % ALIGN != 0)
        mlp_buffer_append_text(head, " ");
    if (status == 0 && mlp_buffer_status(head) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "no memory for a safetensors header");
    if (status != 0)
        return status;
    uint64_t header_len = head->len - start - sizeof prefix;
    if (header_len > MLP_SAFETENSORS_HEADER_MAX)
        return mlp_fail(error, MLP_E_CONFIG,
                        "a safetensors header of %llu bytes: readers take at most %d",
                        (unsigned long long)header_len, MLP_SAFETENSORS_HEADER_MAX);
    memcpy(head->data + start, &header_len, sizeof prefix); /* little-endian, as the host is */
    return 0;
}
