#include "files/hashing.h"

static int take_whole(void *context, const void *piece, size_t piece_len, size_t threads,
                      struct mlp_error *error)
{
    return mlp_hasher_update_by(context, piece, piece_len, threads, error);
}

static int take_ranges(void *context, const void *piece, size_t piece_len, size_t threads,
                       struct mlp_error *error)
{
    (void)threads;
    return mlp_ranges_take(context, piece, piece_len, error);
}

static int add_hashers(struct mlp_hashing *hashing, const struct mlp_hash_request *requests,
                       size_t requests_count, bool of_blake3, struct mlp_error *error)
{
    for (size_t i = 0; i < requests_count; i++) {
        if ((requests[i].algorithm == MLP_BLAKE3) != of_blake3)
            continue;
        int status =
            mlp_hasher_new(&hashing->hashers[hashing->count], requests[i].algorithm, NULL, error);
        if (status != MLP_OK)
            return status;
        hashing->digests[hashing->count++] = requests[i].digests;
    }
    return MLP_OK;
}

int mlp_hashing_init(struct mlp_hashing *hashing, const struct mlp_hash_request *requests,
                     size_t requests_count, const struct mlp_file_ranges *ranges,
                     struct mlp_error *error)
{
    *hashing = (struct mlp_hashing){.ranges.ranges = ranges};
    int status = add_hashers(hashing, requests, requests_count, false, error);
    return status != MLP_OK ? status : add_hashers(hashing, requests, requests_count, true, error);
}

/* Ranges by SHA-2 are slow too, and come last: the digest of the whole is as slow. */
size_t mlp_hashing_takers(struct mlp_hashing *hashing, struct mlp_taker *takers)
{
    size_t count = 0;
    for (; count < hashing->count; count++)
        takers[count] = (struct mlp_taker){take_whole, hashing->hashers[count]};
    if (hashing->ranges.ranges != NULL && hashing->ranges.ranges->count > 0)
        takers[count++] = (struct mlp_taker){take_ranges, &hashing->ranges};
    return count;
}

int mlp_hashing_finish(struct mlp_hashing *hashing, struct mlp_error *error)
{
    int status = MLP_OK;
    for (size_t i = 0; status == MLP_OK && i < hashing->count; i++)
        status = mlp_hasher_digest(hashing->hashers[i], hashing->digests[i], error);
    if (status == MLP_OK && hashing->ranges.ranges != NULL)
        status = mlp_ranges_finish(&hashing->ranges, error);
    return status;
}

void mlp_hashing_clear(struct mlp_hashing *hashing)
{
    for (size_t i = 0; i < hashing->count; i++)
        mlp_hasher_free(hashing->hashers[i]);
    mlp_ranges_clear(&hashing->ranges);
}
