#include "tensor/inputs.h"

#include "tensor/canonical.h"

#include <stdlib.h>

/* A strided view as the hash sees it. */
struct strided {
    struct mlp_hash_source source; /* the first member: freed by its address */
    struct mlp_canonical_reader reader;
    struct mlp_view view;
};

static int add_strided(struct mlp_hash_input *input, const struct mlp_view_set *views, size_t index,
                       struct mlp_error *error)
{
    struct strided *strided = malloc(sizeof *strided);
    if (strided == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to read a strided tensor");
    mlp_view_set_get(&strided->view, views, index);
    mlp_canonical_reader_init(&strided->reader, &strided->view);
    strided->source.read = mlp_canonical_read;
    strided->source.context = &strided->reader;
    strided->source.piece_len = mlp_canonical_piece_len(&strided->reader);
    input->source = &strided->source;
    return 0;
}

static bool is_in_place(const struct mlp_view *view, bool unread)
{
    return !(unread && view->dtype == MLP_DTYPE_BOOL) && mlp_canonical_in_place(view);
}

static int add_input(struct mlp_hash_input *input, const struct mlp_view_set *views, size_t index,
                     bool unread, struct mlp_error *error)
{
    struct mlp_view view;
    mlp_view_set_get(&view, views, index);
    if (view.stage != NULL)
        return 0;
    input->len = (size_t)views->lens[index]; /* mlp_view_check: below 2^63 */
    if (input->len > 0 && !is_in_place(&view, unread))
        return add_strided(input, views, index, error);
    input->data = view.data;
    return 0;
}

int mlp_tensor_inputs_new(struct mlp_hash_input **inputs_out, const struct mlp_view_set *views,
                          bool unread, struct mlp_error *error)
{
    struct mlp_hash_input *inputs = calloc(views->count + 1, sizeof *inputs);
    if (inputs == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "no memory to list %zu tensors", views->count);
    int status = 0;
    for (size_t i = 0; i < views->count && status == 0; i++)
        status = add_input(&inputs[i], views, i, unread, error);
    if (status == 0)
        *inputs_out = inputs;
    else
        mlp_tensor_inputs_free(inputs, views->count);
    return status;
}

size_t mlp_tensor_inputs_size(const struct mlp_hash_input *inputs, size_t inputs_count)
{
    size_t size = (inputs_count + 1) * sizeof *inputs;
    for (size_t i = 0; i < inputs_count; i++)
        size += inputs[i].source != NULL ? sizeof(struct strided) : 0;
    return size;
}

void mlp_tensor_inputs_free(struct mlp_hash_input *inputs, size_t inputs_count)
{
    if (inputs == NULL)
        return;
    for (size_t i = 0; i < inputs_count; i++)
        free((void *)inputs[i].source);
    free(inputs);
}
