#include "tensor/leaf.h"

#include "codec/jcs.h"
#include "hash/hash.h"

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

static int append_shape(struct mlp_buffer *out, const int64_t *shape, int ndim,
                        struct mlp_error *error)
{
    int status = 0;
    mlp_buffer_append_text(out, "\"shape\":[");
    for (int i = 0; i < ndim && status == 0; i++) {
        if (i > 0)
            mlp_buffer_append_text(out, ",");
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
static int append_object(struct mlp_buffer *out, const struct mlp_tensor_leaf *leaf,
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
    if (status == 0 && leaf->name != NULL)
        status = append_name(out, leaf->name, leaf->name_len, error);
    if (status == 0)
        status = append_shape(out, leaf->shape, leaf->ndim, error);
    mlp_buffer_append_text(out, "}");
    return status;
}

int mlp_tensor_leaf_append(struct mlp_buffer *out, const struct mlp_tensor_leaf *leaf,
                           struct mlp_error *error)
{
    size_t start = out->len;
    return finish(out, start, append_object(out, leaf, error), error);
}
