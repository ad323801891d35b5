#include "tensor/safetensors.h"

#include "base/bytes.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The deepest valid header: object, entry, shape array. */
#define HEADER_DEPTH_MAX 3
#define METADATA_KEY     "__metadata__"
#define WHAT_MAX         160

int mlp_safetensors_header_len(size_t *header_len, const uint8_t *prefix, size_t prefix_len,
                               uint64_t file_len, struct mlp_error *error)
{
    if (prefix_len < MLP_SAFETENSORS_PREFIX_LEN || file_len < MLP_SAFETENSORS_PREFIX_LEN)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "not a safetensors file: %llu bytes, the header's length alone takes 8",
                        (unsigned long long)file_len);
    uint64_t len = mlp_load_le64(prefix);
    if (len > MLP_SAFETENSORS_HEADER_MAX)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "not a safetensors file: a header of %llu bytes: at most %d are allowed",
                        (unsigned long long)len, MLP_SAFETENSORS_HEADER_MAX);
    if (len > file_len - MLP_SAFETENSORS_PREFIX_LEN)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "safetensors file cut short: a header of %llu bytes in a file of %llu",
                        (unsigned long long)len, (unsigned long long)file_len);
    *header_len = (size_t)len;
    return 0;
}

void mlp_safetensors_clear(struct mlp_safetensors *file)
{
    for (size_t i = 0; i < file->entries_count; i++) {
        free(file->entries[i].name);
        free(file->entries[i].shape);
    }
    for (size_t i = 0; i < file->metadata_count; i++) {
        free(file->metadata[i].key);
        free(file->metadata[i].value);
    }
    free(file->entries);
    free(file->metadata);
    memset(file, 0, sizeof *file);
}

static char *copy_text(const char *text, size_t text_len, struct mlp_error *error)
{
    char *copy = malloc(text_len + 1);
    if (copy == NULL) {
        (void)mlp_fail(error, MLP_E_MEMORY, "no memory for a safetensors header");
        return NULL;
    }
    memcpy(copy, text, text_len);
    copy[text_len] = '\0';
    return copy;
}

static int compare_texts(const char *left, size_t left_len, const char *right, size_t right_len)
{
    int order = memcmp(left, right, left_len < right_len ? left_len : right_len);
    return order != 0 ? order : (left_len > right_len) - (left_len < right_len);
}

/* ---- __metadata__ ---- */

static int compare_metadata(const void *left, const void *right)
{
    const struct mlp_safetensors_text *one = left;
    const struct mlp_safetensors_text *other = right;
    return compare_texts(one->key, one->key_len, other->key, other->key_len);
}

static int read_metadata(struct mlp_safetensors *file, const struct mlp_json_value *object,
                         struct mlp_error *error)
{
    if (mlp_json_type(object) != MLP_JSON_OBJECT)
        return mlp_fail(error, MLP_E_MALFORMED, "safetensors header: __metadata__ is %s",
                        mlp_json_type_name(mlp_json_type(object)));
    file->metadata = calloc(mlp_json_count(object) + 1, sizeof *file->metadata);
    if (file->metadata == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory for a safetensors header");
    struct mlp_json_member member = {0};
    while (mlp_json_next(object, &member)) {
        if (mlp_json_type(member.value) != MLP_JSON_STRING)
            return mlp_fail(error, MLP_E_MALFORMED,
                            "safetensors header: __metadata__ \"%.64s\" is %s, not a string",
                            member.key, mlp_json_type_name(mlp_json_type(member.value)));
        struct mlp_safetensors_text *text = &file->metadata[file->metadata_count++];
        const char *value = mlp_json_string(member.value, &text->value_len);
        text->key_len = member.key_len;
        text->key = copy_text(member.key, member.key_len, error);
        text->value = copy_text(value, text->value_len, error);
        if (text->key == NULL || text->value == NULL)
            return MLP_E_MEMORY;
    }
    qsort(file->metadata, file->metadata_count, sizeof *file->metadata, compare_metadata);
    return 0;
}

/* ---- entries ---- */

static int read_dtype(struct mlp_safetensors_entry *entry, const struct mlp_json_value *object,
                      const char *what, struct mlp_error *error)
{
    const char *name;
    size_t name_len;
    int status = mlp_json_require_string(&name, &name_len, object, "dtype", what, error);
    if (status != 0)
        return status;
    entry->dtype = mlp_dtype_from_file(name, name_len);
    if (entry->dtype == MLP_DTYPE_NONE)
        return mlp_fail(error, MLP_E_MALFORMED, "%s: unknown dtype \"%.32s\"", what, name);
    return 0;
}

static int read_unsigned(uint64_t *number, const struct mlp_json_value *value, const char *what,
                         const char *member, struct mlp_error *error)
{
    if (value == NULL || mlp_json_type(value) != MLP_JSON_INTEGER || mlp_json_integer(value) < 0)
        return mlp_fail(error, MLP_E_MALFORMED, "%s: %s holds something else than whole numbers",
                        what, member);
    *number = (uint64_t)mlp_json_integer(value);
    return 0;
}

static int read_shape(struct mlp_safetensors_entry *entry, const struct mlp_json_value *object,
                      const char *what, struct mlp_error *error)
{
    const struct mlp_json_value *shape;
    int status = mlp_json_require(&shape, object, "shape", MLP_JSON_ARRAY, what, error);
    if (status != 0)
        return status;
    size_t count = mlp_json_count(shape);
    if (count > MLP_VIEW_DIMS_MAX)
        return mlp_fail(error, MLP_E_MALFORMED, "%s: %zu dimensions: at most %d are allowed", what,
                        count, MLP_VIEW_DIMS_MAX);
    entry->ndim = (int)count;
    entry->shape = calloc(count + 1, sizeof *entry->shape);
    if (entry->shape == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory for a safetensors header");
    for (size_t i = 0; i < count; i++) {
        uint64_t length = 0;
        status = read_unsigned(&length, mlp_json_at(shape, i), what, "shape", error);
        if (status != 0)
            return status;
        entry->shape[i] = (int64_t)length;
    }
    return 0;
}

/* begin and end come counted from the start of the data; parse makes them count from the file's. */
static int read_offsets(struct mlp_safetensors_entry *entry, const struct mlp_json_value *object,
                        const char *what, struct mlp_error *error)
{
    const struct mlp_json_value *offsets;
    int status = mlp_json_require(&offsets, object, "data_offsets", MLP_JSON_ARRAY, what, error);
    if (status != 0)
        return status;
    if (mlp_json_count(offsets) != 2)
        return mlp_fail(error, MLP_E_MALFORMED, "%s: data_offsets has %zu numbers, not 2", what,
                        mlp_json_count(offsets));
    status = read_unsigned(&entry->begin, mlp_json_at(offsets, 0), what, "data_offsets", error);
    if (status == 0)
        status = read_unsigned(&entry->end, mlp_json_at(offsets, 1), what, "data_offsets", error);
    if (status == 0 && entry->begin > entry->end)
        status = mlp_fail(error, MLP_E_MALFORMED, "%s: begins at %llu, after its end at %llu", what,
                          (unsigned long long)entry->begin, (unsigned long long)entry->end);
    return status;
}

/* As the reference reader's: shape and dtype say how long the data is, and it must be that long.
 * The product is taken in the order of the shape: a later 0 does not hide an overflow. */
static int check_len(const struct mlp_safetensors_entry *entry, const char *what,
                     struct mlp_error *error)
{
    uint64_t bits = mlp_dtype_info(entry->dtype)->bits;
    uint64_t count = 1;
    for (int i = 0; i < entry->ndim; i++) {
        if (__builtin_mul_overflow(count, (uint64_t)entry->shape[i], &count))
            return mlp_fail(error, MLP_E_MALFORMED,
                            "%s: the shape has more elements than 64 bits can count", what);
    }
    if (__builtin_mul_overflow(count, bits, &bits) || bits % 8 != 0 || bits > INT64_MAX)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "%s: %llu elements of %s are no whole number of bytes below 2^60", what,
                        (unsigned long long)count, mlp_dtype_info(entry->dtype)->name);
    if (bits / 8 != entry->end - entry->begin)
        return mlp_fail(
            error, MLP_E_MALFORMED, "%s: shape and dtype make %llu bytes, data_offsets %llu", what,
            (unsigned long long)(bits / 8), (unsigned long long)(entry->end - entry->begin));
    return 0;
}

static int read_entry(struct mlp_safetensors_entry *entry, const struct mlp_json_member *member,
                      struct mlp_error *error)
{
    char what[WHAT_MAX];
    (void)snprintf(what, sizeof what, "safetensors header, tensor \"%.*s\"",
                   (int)(member->key_len < 96 ? member->key_len : 96), member->key);
    entry->name_len = member->key_len;
    entry->name = copy_text(member->key, member->key_len, error);
    if (entry->name == NULL)
        return MLP_E_MEMORY;
    if (mlp_json_type(member->value) != MLP_JSON_OBJECT)
        return mlp_fail(error, MLP_E_MALFORMED, "%s is %s, not an object", what,
                        mlp_json_type_name(mlp_json_type(member->value)));
    int status = read_dtype(entry, member->value, what, error);
    if (status == 0)
        status = read_shape(entry, member->value, what, error);
    if (status == 0)
        status = read_offsets(entry, member->value, what, error);
    if (status == 0 && mlp_json_count(member->value) != 3)
        status = mlp_fail(error, MLP_E_MALFORMED,
                          "%s has members beside dtype, shape and data_offsets", what);
    return status == 0 ? check_len(entry, what, error) : status;
}

/* ---- the whole header ---- */

static int compare_places(const void *left, const void *right)
{
    const struct mlp_safetensors_entry *one = left;
    const struct mlp_safetensors_entry *other = right;
    if (one->begin != other->begin)
        return one->begin < other->begin ? -1 : 1;
    return (one->end > other->end) - (one->end < other->end);
}

static int compare_names(const void *left, const void *right)
{
    const struct mlp_safetensors_entry *one = left;
    const struct mlp_safetensors_entry *other = right;
    return compare_texts(one->name, one->name_len, other->name, other->name_len);
}

/* The tensors follow each other from the first byte of the data to the last of the file. */
static int check_places(struct mlp_safetensors *file, uint64_t data_len, struct mlp_error *error)
{
    uint64_t expected = 0;
    qsort(file->entries, file->entries_count, sizeof *file->entries, compare_places);
    for (size_t i = 0; i < file->entries_count; i++) {
        const struct mlp_safetensors_entry *entry = &file->entries[i];
        if (entry->begin != expected)
            return mlp_fail(error, MLP_E_MALFORMED,
                            "safetensors header, tensor \"%.96s\": begins at data byte %llu, the "
                            "tensor before it ends at %llu (%s)",
                            entry->name, (unsigned long long)entry->begin,
                            (unsigned long long)expected,
                            entry->begin > expected ? "a hole" : "an overlap");
        expected = entry->end;
    }
    if (expected != data_len)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "safetensors file: the tensors end at data byte %llu, the file at %llu "
                        "(%s)",
                        (unsigned long long)expected, (unsigned long long)data_len,
                        expected < data_len ? "bytes after the last tensor" : "cut short");
    return 0;
}

static int read_header(struct mlp_safetensors *file, const struct mlp_json_value *root,
                       struct mlp_error *error)
{
    if (mlp_json_type(root) != MLP_JSON_OBJECT)
        return mlp_fail(error, MLP_E_MALFORMED, "safetensors header is %s, not an object",
                        mlp_json_type_name(mlp_json_type(root)));
    file->entries = calloc(mlp_json_count(root) + 1, sizeof *file->entries);
    if (file->entries == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory for a safetensors header");
    struct mlp_json_member member = {0};
    while (mlp_json_next(root, &member)) {
        int status;
        if (member.key_len == strlen(METADATA_KEY) &&
            memcmp(member.key, METADATA_KEY, member.key_len) == 0)
            status = read_metadata(file, member.value, error);
        else
            status = read_entry(&file->entries[file->entries_count++], &member, error);
        if (status != 0)
            return status;
    }
    return 0;
}

int mlp_safetensors_parse(struct mlp_safetensors *file, const uint8_t *header, size_t header_len,
                          uint64_t file_len, struct mlp_error *error)
{
    struct mlp_safetensors parsed = {0};
    struct mlp_json_document *document = NULL;
    uint64_t data_start = MLP_SAFETENSORS_PREFIX_LEN + (uint64_t)header_len;
    if (data_start > file_len)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "safetensors file cut short: a header of %zu bytes in a file of %llu",
                        header_len, (unsigned long long)file_len);
    int status = mlp_json_read(&document, header, header_len, MLP_SAFETENSORS_HEADER_MAX,
                               HEADER_DEPTH_MAX, error);
    if (status != 0)
        return status;
    status = read_header(&parsed, mlp_json_root(document), error);
    if (status == 0)
        status = check_places(&parsed, file_len - data_start, error);
    mlp_json_free(document);
    if (status != 0) {
        mlp_safetensors_clear(&parsed);
        return status;
    }
    for (size_t i = 0; i < parsed.entries_count; i++) {
        parsed.entries[i].begin += data_start;
        parsed.entries[i].end += data_start;
    }
    qsort(parsed.entries, parsed.entries_count, sizeof *parsed.entries, compare_names);
    *file = parsed;
    return 0;
}
