#include "files/safetensors_head.h"

static int append_bytes(struct mlp_buffer *head, const struct mlp_reader *reader, size_t len,
                        struct mlp_error *error)
{
    if (mlp_buffer_reserve(head, len) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "reading the header of %s (%zu bytes): out of memory",
                        reader->path, len);
    int status = mlp_reader_at(reader, head->len, head->data + head->len, len, error);
    if (status == 0)
        head->len += len;
    return status;
}

int mlp_file_safetensors_head(struct mlp_safetensors *file, struct mlp_buffer *head,
                              const struct mlp_reader *reader, struct mlp_error *error)
{
    const uint64_t file_len = reader->facts.len;
    const size_t prefix_len =
        file_len < MLP_SAFETENSORS_PREFIX_LEN ? (size_t)file_len : MLP_SAFETENSORS_PREFIX_LEN;
    size_t header_len = 0;
    int status = append_bytes(head, reader, prefix_len, error);
    if (status != 0)
        return status;
    status = mlp_safetensors_header_len(&header_len, head->data, prefix_len, file_len, error);
    if (status != 0)
        return mlp_fail_in(error, status, "%s", reader->path);
    status = append_bytes(head, reader, header_len, error);
    if (status == 0)
        status = mlp_reader_check(reader, error);
    if (status != 0)
        return status;
    status = mlp_safetensors_parse(file, head->data + prefix_len, header_len, file_len, error);
    return status == 0 ? 0 : mlp_fail_in(error, status, "%s", reader->path);
}
