#include "merkle/slice.h"

#include "base/bytes.h"

#define GROUP_CHUNKS MLP_BLAKE3_GROUP_CHUNKS
#define READ_MAX     ((size_t)GROUP_CHUNKS / 2 * MLP_BLAKE3_CHUNK_LEN)

/* What the three numbers determine. Chunks are those that hold the slice; an empty slice is held by the
 * chunk of the byte after it, or by the last one. */
struct layout {
    uint64_t total_len;
    uint64_t chunks_count;
    uint64_t first; /* chunk */
    uint64_t end;   /* chunk after the last */
    size_t head_len;
    size_t tail_len;
};

/* Where chunk begins, or the input ends. */
static uint64_t chunk_offset(const struct layout *layout, uint64_t chunk)
{
    return chunk < layout->chunks_count ? chunk * MLP_BLAKE3_CHUNK_LEN : layout->total_len;
}

static int check_range(uint64_t total_len, uint64_t start, uint64_t slice_len, int bad_status,
                       struct mlp_error *error)
{
    if (start <= total_len && slice_len <= total_len - start)
        return MLP_OK;
    return mlp_fail(error, bad_status,
                    "a slice of %llu bytes from byte %llu on reaches beyond the input's %llu bytes",
                    (unsigned long long)slice_len, (unsigned long long)start,
                    (unsigned long long)total_len);
}

static struct layout lay_out(uint64_t total_len, uint64_t start, uint64_t slice_len)
{
    struct layout layout = {.total_len = total_len};
    uint64_t slice_end = start + slice_len;
    uint64_t last_chunk = total_len > 0 ? (total_len - 1) / MLP_BLAKE3_CHUNK_LEN : 0;
    uint64_t first = start / MLP_BLAKE3_CHUNK_LEN;
    layout.chunks_count = last_chunk + 1;
    layout.first = first < last_chunk ? first : last_chunk;
    layout.end = slice_len > 0 ? (slice_end - 1) / MLP_BLAKE3_CHUNK_LEN + 1 : layout.first + 1;
    layout.head_len = (size_t)(start - chunk_offset(&layout, layout.first));
    layout.tail_len = (size_t)(chunk_offset(&layout, layout.end) - slice_end);
    return layout;
}

/* ---- proving ---- */

struct prover {
    const struct layout *layout;
    const uint8_t *group_cvs;
    const struct mlp_slice_source *source;
};

/* Whether a span is whole groups; else it is a part of one that holds an end of the slice. */
static bool has_groups(const struct layout *layout, const struct mlp_blake3_span *span)
{
    return layout->chunks_count > GROUP_CHUNKS && span->first % GROUP_CHUNKS == 0 &&
           (span->count >= GROUP_CHUNKS || span->first + span->count == layout->chunks_count);
}

static int span_value(const struct prover *prover, uint8_t cv32[32],
                      const struct mlp_blake3_span *span, struct mlp_error *error)
{
    if (has_groups(prover->layout, span)) {
        mlp_blake3_subtree_of_groups(
            cv32, prover->group_cvs + span->first / GROUP_CHUNKS * MLP_BLAKE3_OUT_LEN,
            (size_t)((span->count - 1) / GROUP_CHUNKS + 1));
        return MLP_OK;
    }
    uint8_t bytes[READ_MAX];
    uint64_t offset = chunk_offset(prover->layout, span->first);
    size_t len = (size_t)(chunk_offset(prover->layout, span->first + span->count) - offset);
    int status = prover->source->read(prover->source->context, bytes, len, offset, error);
    if (status != MLP_OK)
        return status;
    return mlp_blake3_subtree(cv32, bytes, len, span->first, NULL, error);
}

static int read_ends(struct mlp_slice_proof *proof, const struct layout *layout, uint64_t slice_end,
                     const struct mlp_slice_source *source, struct mlp_error *error)
{
    int status = MLP_OK;
    proof->head_len = layout->head_len;
    proof->tail_len = layout->tail_len;
    if (proof->head_len > 0)
        status = source->read(source->context, proof->head, proof->head_len,
                              chunk_offset(layout, layout->first), error);
    if (status == MLP_OK && proof->tail_len > 0)
        status = source->read(source->context, proof->tail, proof->tail_len, slice_end, error);
    return status;
}

int mlp_slice_prove(struct mlp_slice_proof *proof, uint64_t total_len, uint64_t start,
                    uint64_t slice_len, const uint8_t *group_cvs, size_t group_cvs_len,
                    const struct mlp_slice_source *source, struct mlp_error *error)
{
    int status = check_range(total_len, start, slice_len, MLP_E_RANGE, error);
    if (status != MLP_OK)
        return status;
    uint64_t groups_count = mlp_blake3_groups_count(total_len);
    if (group_cvs_len % MLP_BLAKE3_OUT_LEN != 0 ||
        group_cvs_len / MLP_BLAKE3_OUT_LEN != groups_count)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "an input of %llu bytes has %llu groups of 16 KiB, 32 bytes for each; got "
                        "%zu bytes",
                        (unsigned long long)total_len, (unsigned long long)groups_count,
                        group_cvs_len);
    struct mlp_blake3_span spans[MLP_BLAKE3_SPANS_MAX];
    const struct layout layout = lay_out(total_len, start, slice_len);
    const struct prover prover = {&layout, group_cvs, source};
    status = read_ends(proof, &layout, start + slice_len, source, error);
    proof->path_count =
        mlp_blake3_spans_around(spans, layout.first, layout.end, layout.chunks_count);
    for (size_t i = 0; status == MLP_OK && i < proof->path_count; i++)
        status = span_value(&prover, proof->path + i * MLP_BLAKE3_OUT_LEN, &spans[i], error);
    return status;
}

/* ---- verification ---- */

int mlp_slice_verify(const uint8_t digest32[32], uint64_t total_len, uint64_t start,
                     const void *slice, size_t slice_len, const struct mlp_slice_proof *proof,
                     struct mlp_error *error)
{
    int status = check_range(total_len, start, slice_len, MLP_E_MALFORMED, error);
    if (status != MLP_OK)
        return status;
    const struct layout layout = lay_out(total_len, start, slice_len);
    struct mlp_blake3_span spans[MLP_BLAKE3_SPANS_MAX];
    size_t path_count =
        mlp_blake3_spans_around(spans, layout.first, layout.end, layout.chunks_count);
    if (proof->head_len != layout.head_len || proof->tail_len != layout.tail_len ||
        proof->path_count != path_count)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "the slice proof has a head of %zu bytes, %zu hashes and a tail of %zu "
                        "bytes: %zu, %zu and %zu are needed for %zu bytes from byte %llu on",
                        proof->head_len, proof->path_count, proof->tail_len, layout.head_len,
                        path_count, layout.tail_len, slice_len, (unsigned long long)start);
    const struct mlp_hash_input parts[] = {{.data = proof->head, .len = proof->head_len},
                                           {.data = slice, .len = slice_len},
                                           {.data = proof->tail, .len = proof->tail_len}};
    uint8_t seen32[MLP_BLAKE3_OUT_LEN];
    mlp_blake3_root_around(seen32, proof->path, layout.first, layout.end, layout.chunks_count,
                           parts, sizeof parts / sizeof parts[0]);
    if (mlp_bytes_equal(seen32, digest32, sizeof seen32))
        return MLP_OK;
    return mlp_fail(error, MLP_E_MISMATCH,
                    "the slice of %zu bytes from byte %llu on leads to another digest", slice_len,
                    (unsigned long long)start);
}
