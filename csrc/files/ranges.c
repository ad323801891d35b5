#include "files/ranges.h"

static const struct mlp_file_range *current(const struct mlp_ranges_hashing *hashing)
{
    return &hashing->ranges->items[hashing->index];
}

/* Closes the range that ends here. */
static int finish_range(struct mlp_ranges_hashing *hashing, struct mlp_error *error)
{
    int algorithm = hashing->ranges->algorithm;
    uint8_t *row = hashing->ranges->digests + hashing->index * mlp_algorithm_digest_len(algorithm);
    int status = hashing->hasher == NULL ? mlp_hash(algorithm, row, NULL, 0, error)
                                         : mlp_hasher_digest(hashing->hasher, row, error);
    mlp_hasher_free(hashing->hasher);
    hashing->hasher = NULL;
    hashing->index++;
    return status;
}

/* Feeds the current range from the piece, which ends at byte piece_end of the file. */
static int feed_range(struct mlp_ranges_hashing *hashing, const uint8_t *piece, uint64_t piece_end,
                      struct mlp_error *error)
{
    const struct mlp_file_range *range = current(hashing);
    uint64_t at = hashing->done;
    uint64_t begin = range->begin > at ? range->begin : at;
    uint64_t end = range->end < piece_end ? range->end : piece_end;
    if (begin >= end)
        return MLP_OK;
    int status = MLP_OK;
    if (hashing->hasher == NULL)
        status = mlp_hasher_new(&hashing->hasher, hashing->ranges->algorithm, NULL, error);
    if (status == MLP_OK)
        status = mlp_hasher_update_by(hashing->hasher, piece + (begin - at), (size_t)(end - begin),
                                      1, error);
    return status;
}

int mlp_ranges_take(struct mlp_ranges_hashing *hashing, const void *piece, size_t piece_len,
                    struct mlp_error *error)
{
    uint64_t piece_end = hashing->done + piece_len;
    while (hashing->index < hashing->ranges->count) {
        const struct mlp_file_range *range = current(hashing);
        if (range->begin >= piece_end && range->end > piece_end)
            break;
        int status = feed_range(hashing, piece, piece_end, error);
        if (status != MLP_OK)
            return status;
        if (range->end > piece_end)
            break;
        status = finish_range(hashing, error);
        if (status != MLP_OK)
            return status;
    }
    hashing->done = piece_end;
    return MLP_OK;
}

int mlp_ranges_finish(struct mlp_ranges_hashing *hashing, struct mlp_error *error)
{
    int status = MLP_OK;
    while (status == MLP_OK && hashing->index < hashing->ranges->count)
        status = finish_range(hashing, error);
    return status;
}

void mlp_ranges_clear(struct mlp_ranges_hashing *hashing)
{
    mlp_hasher_free(hashing->hasher);
    hashing->hasher = NULL;
}
