#include "tensor/leaf.h"

#include "codec/jcs.h"
#include "hash/hash.h"

#include <stdlib.h>
#include <string.h>

/* Length of the buffer before the object, to be restored when the object fails. */
static int finish(struct mlp_buffer *out, size_t start, int status, struct mlp_error *error)
{
    if (status == 0 && mlp_buffer_status(out) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "no memory to write a tensor leaf");
    if (status != 0)
        out->len = start;
    return status;
}

static int append_number(struct mlp_buffer *out, uint64_t number, const char *what,
                         struct mlp_error *error)
{
    if (number > (UINT64_C(1) << 53) - 1) /* RFC 7493 section 2.2: what JSON carries exactly */
        return mlp_fail(error, MLP_E_ARGUMENT, "%s %llu of a tensor leaf is above 2^53 - 1", what,
                        (unsigned long long)number);
    mlp_buffer_append_u64(out, number);
    return 0;
}

/* null_allowed: -1 is written as null. */
static int append_shape(struct mlp_buffer *out, const int64_t *shape, int ndim, bool null_allowed,
                        struct mlp_error *error)
{
    int status = 0;
    mlp_buffer_append_text(out, "\"shape\":[");
    for (int i = 0; i < ndim && status == 0; i++) {
        if (i > 0)
            mlp_buffer_append_text(out, ",");
        if (null_allowed && shape[i] == -1)
            mlp_buffer_append_text(out, "null");
        else
            status = append_number(out, (uint64_t)shape[i], "dimension", error);
    }
    mlp_buffer_append_text(out, "]");
    return status;
}

static int append_name(struct mlp_buffer *out, const char *name, size_t name_len,
                       struct mlp_error *error)
{
    mlp_buffer_append_text(out, "\"name\":");
    int status = mlp_jcs_append_string(out, name, name_len, error);
    if (status == MLP_E_MALFORMED)
        return mlp_fail(error, MLP_E_ARGUMENT, "a tensor's name is not valid UTF-8");
    mlp_buffer_append_text(out, ",");
    return status;
}

/* Keys in the order of RFC 8785 section 3.2.3: digest, dtype, len, name, shape. */
static int append_object(struct mlp_buffer *out, const struct mlp_leaf *leaf, bool with_name,
                         struct mlp_error *error)
{
    const char *algorithm = mlp_algorithm_name(leaf->algorithm);
    if (algorithm == NULL)
        return mlp_fail(error, MLP_E_ARGUMENT, "unknown digest algorithm %d", leaf->algorithm);
    mlp_buffer_append_text(out, "{\"digest\":\"");
    mlp_buffer_append_text(out, algorithm);
    mlp_buffer_append_text(out, ":");
    mlp_buffer_append_hex(out, leaf->digest, mlp_algorithm_digest_len(leaf->algorithm));
    mlp_buffer_append_text(out, "\",\"dtype\":");
    int status = mlp_jcs_append_string(out, leaf->dtype, strlen(leaf->dtype), error);
    mlp_buffer_append_text(out, ",\"len\":");
    if (status == 0)
        status = append_number(out, leaf->len, "length", error);
    mlp_buffer_append_text(out, ",");
    if (status == 0 && with_name && leaf->name != NULL)
        status = append_name(out, leaf->name, leaf->name_len, error);
    if (status == 0)
        status = append_shape(out, leaf->shape, leaf->ndim, false, error);
    mlp_buffer_append_text(out, "}");
    return status;
}

int mlp_leaf_append(struct mlp_buffer *out, const struct mlp_leaf *leaf, struct mlp_error *error)
{
    size_t start = out->len;
    return finish(out, start, append_object(out, leaf, true, error), error);
}

/* ---- composites ---- */

/* A member of the composite's object: one of the fixed four, or a field. */
struct member {
    const char *key;
    const char *value; /* a field's text; NULL for the fixed ones */
};

static int compare_members(const void *left, const void *right)
{
    return strcmp(((const struct member *)left)->key, ((const struct member *)right)->key);
}

static int compare_parts(const void *left, const void *right)
{
    const struct mlp_leaf_part *const *left_part = left;
    const struct mlp_leaf_part *const *right_part = right;
    return strcmp((*left_part)->name, (*right_part)->name);
}

static int append_key(struct mlp_buffer *out, const char *key, struct mlp_error *error)
{
    int status = mlp_jcs_append_string(out, key, strlen(key), error);
    mlp_buffer_append_text(out, ":");
    return status;
}

static int append_sorted_parts(struct mlp_buffer *out, const struct mlp_leaf_part **sorted,
                               size_t count, struct mlp_error *error)
{
    int status = 0;
    mlp_buffer_append_text(out, "\"parts\":{");
    for (size_t i = 0; i < count && status == 0; i++) {
        if (i > 0 && strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return mlp_fail(error, MLP_E_ARGUMENT, "two parts of a tensor are called %s",
                            sorted[i]->name);
        if (i > 0)
            mlp_buffer_append_text(out, ",");
        status = append_key(out, sorted[i]->name, error);
        if (status == 0)
            status = append_object(out, &sorted[i]->leaf, false, error);
    }
    mlp_buffer_append_text(out, "}");
    return status;
}

static int append_parts(struct mlp_buffer *out, const struct mlp_leaf_composite *composite,
                        struct mlp_error *error)
{
    size_t count = composite->parts_count;
    const struct mlp_leaf_part **sorted = calloc(count + 1, sizeof *sorted);
    if (sorted == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to sort %zu parts", count);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &composite->parts[i];
    qsort(sorted, count, sizeof *sorted, compare_parts);
    int status = append_sorted_parts(out, sorted, count, error);
    free(sorted);
    return status;
}

static int append_member(struct mlp_buffer *out, const struct mlp_leaf_composite *composite,
                         const struct member *member, struct mlp_error *error)
{
    if (member->value == NULL && strcmp(member->key, "parts") == 0)
        return append_parts(out, composite, error);
    if (member->value == NULL && strcmp(member->key, "shape") == 0)
        return append_shape(out, composite->shape, composite->ndim, true, error);
    int status = append_key(out, member->key, error);
    if (status != 0)
        return status;
    if (member->value != NULL)
        mlp_buffer_append_text(out, member->value);
    else if (strcmp(member->key, "layout") == 0)
        status = mlp_jcs_append_string(out, composite->layout, strlen(composite->layout), error);
    else
        status = mlp_jcs_append_string(out, composite->name, composite->name_len, error);
    return status;
}

static int append_members(struct mlp_buffer *out, const struct mlp_leaf_composite *composite,
                          const struct member *members, size_t count, struct mlp_error *error)
{
    int status = 0;
    mlp_buffer_append_text(out, "{");
    for (size_t i = 0; i < count && status == 0; i++) {
        if (i > 0 && strcmp(members[i - 1].key, members[i].key) == 0)
            return mlp_fail(error, MLP_E_ARGUMENT, "two fields of a tensor leaf are called %s",
                            members[i].key);
        if (i > 0)
            mlp_buffer_append_text(out, ",");
        status = append_member(out, composite, &members[i], error);
    }
    mlp_buffer_append_text(out, "}");
    if (status == MLP_E_MALFORMED)
        status = mlp_fail(error, MLP_E_ARGUMENT, "a tensor's name is not valid UTF-8");
    return status;
}

int mlp_leaf_append_composite(struct mlp_buffer *out, const struct mlp_leaf_composite *composite,
                              struct mlp_error *error)
{
    size_t start = out->len;
    size_t count = 0;
    struct member *members = calloc(composite->fields_count + 4, sizeof *members);
    if (members == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to sort the fields of a tensor leaf");
    for (; count < composite->fields_count; count++) {
        members[count].key = composite->fields[count].name;
        members[count].value = composite->fields[count].value;
    }
    members[count++].key = "layout";
    members[count++].key = "parts";
    members[count++].key = "shape";
    if (composite->name != NULL)
        members[count++].key = "name";
    qsort(members, count, sizeof *members, compare_members);
    int status = append_members(out, composite, members, count, error);
    free(members);
    return finish(out, start, status, error);
}

int mlp_leaf_composite_digest(uint8_t *digest, const struct mlp_leaf_composite *composite,
                              int algorithm, struct mlp_error *error)
{
    struct mlp_leaf_composite nameless = *composite;
    struct mlp_buffer object;
    mlp_buffer_init(&object);
    nameless.name = NULL;
    int status = mlp_leaf_append_composite(&object, &nameless, error);
    if (status == 0)
        status = mlp_hash(algorithm, digest, object.data, object.len, error);
    mlp_buffer_clear(&object);
    return status;
}
