/* log_audit.h - reads a published store log as any client of C2SP tlog-tiles would: from log/
 * alone. */
#ifndef MLP_TESTS_LOG_AUDIT_H
#define MLP_TESTS_LOG_AUDIT_H

#include "store_fixture.h"

#include "sign/checkpoint.h"
#include "sign/key.h"
#include "sign/note.h"

/* "x001/x234/067" written a second time, independently of anchor/tiles.c. */
static inline void audit_tile_name(char *name, size_t name_size, const char *level, uint64_t index,
                                   unsigned width)
{
    char number[32] = "";
    char partial[16] = "";
    if (index >= 1000000)
        (void)snprintf(number, sizeof number, "x%03u/x%03u/%03u", (unsigned)(index / 1000000),
                       (unsigned)(index / 1000 % 1000), (unsigned)(index % 1000));
    else if (index >= 1000)
        (void)snprintf(number, sizeof number, "x%03u/%03u", (unsigned)(index / 1000),
                       (unsigned)(index % 1000));
    else
        (void)snprintf(number, sizeof number, "%03u", (unsigned)index);
    if (width < 256)
        (void)snprintf(partial, sizeof partial, ".p/%u", width);
    (void)snprintf(name, name_size, "log/tile/%s/%s%s", level, number, partial);
}

/* The signed checkpoint in log/checkpoint. Returns: whether it is there and holds. */
static inline bool audit_checkpoint(const char *store_path, const char *vkey_text, uint64_t *size,
                                    uint8_t root32[32])
{
    struct mlp_buffer bytes = {0};
    struct mlp_error error = {0};
    struct mlp_vkey vkey;
    struct mlp_note note;
    struct mlp_checkpoint checkpoint;
    bool holds = read_file(&bytes, store_path, "log/checkpoint") &&
                 FINE(mlp_vkey_decode(&vkey, vkey_text, strlen(vkey_text), &error)) &&
                 FINE(mlp_note_parse(&note, bytes.data, bytes.len, &error)) &&
                 FINE(mlp_note_verify(NULL, &note, &vkey, 1, &error)) &&
                 FINE(mlp_checkpoint_decode(&checkpoint, note.text, note.text_len, &error)) &&
                 CHECK(checkpoint.origin_len == vkey.name_len &&
                       memcmp(checkpoint.origin, vkey.name, vkey.name_len) == 0);
    if (holds) {
        *size = checkpoint.size;
        memcpy(root32, checkpoint.root32, 32);
    }
    mlp_buffer_clear(&bytes);
    return holds;
}

/* One tile of a log of count hashes at this level. Returns: whether it holds them. */
static inline bool audit_tile(const char *store_path, unsigned level, const uint8_t *hashes,
                              uint64_t count, uint64_t index)
{
    char level_text[8];
    char name[128];
    struct mlp_buffer tile = {0};
    uint64_t rest = count - index * 256;
    unsigned width = rest < 256 ? (unsigned)rest : 256;
    (void)snprintf(level_text, sizeof level_text, "%u", level);
    audit_tile_name(name, sizeof name, level_text, index, width);
    bool holds = read_file(&tile, store_path, name) && tile.len == (size_t)width * 32 &&
                 memcmp(tile.data, hashes + index * 256 * 32, tile.len) == 0;
    mlp_buffer_clear(&tile);
    if (!holds)
        printf("  %s does not hold\n", name);
    return CHECK(holds);
}

/* Every tile of every level, from leaf hashes that are reduced in place. */
static inline bool audit_levels(const char *store_path, uint8_t *hashes, uint64_t count)
{
    bool holds = true;
    for (unsigned level = 0; count > 0; level++) {
        for (uint64_t index = 0; index * 256 < count; index++)
            holds = audit_tile(store_path, level, hashes, count, index) && holds;
        count /= 256;
        for (uint64_t i = 0; i < count; i++)
            holds = mlp_merkle_root(hashes + 32 * i, hashes + 8192 * i, 256, NULL) == 0 && holds;
    }
    return holds;
}

/* The leaf hashes of every entry bundle, appended. */
static inline bool audit_entries(const char *store_path, uint64_t size, struct mlp_buffer *hashes)
{
    struct mlp_buffer bundle = {0};
    char name[128];
    for (uint64_t index = 0; index * 256 < size; index++) {
        uint64_t rest = size - index * 256;
        unsigned width = rest < 256 ? (unsigned)rest : 256;
        audit_tile_name(name, sizeof name, "entries", index, width);
        bundle.len = 0;
        if (!CHECK(read_file(&bundle, store_path, name)))
            break;
        size_t offset = 0;
        while (width > 0 && offset + 2 <= bundle.len) {
            size_t len = (size_t)bundle.data[offset] << 8 | bundle.data[offset + 1];
            uint8_t hash32[32];
            if (len > bundle.len - offset - 2)
                break;
            CHECK(mlp_merkle_leaf_hash(hash32, bundle.data + offset + 2, len, NULL) == 0);
            mlp_buffer_append(hashes, hash32, 32);
            offset += 2 + len;
            width--;
        }
        CHECK(width == 0 && offset == bundle.len);
    }
    mlp_buffer_clear(&bundle);
    return CHECK(hashes->len == size * 32);
}

/* The whole published log. *size: its entries, 0 where nothing is published. */
static inline bool audit_log(const char *store_path, const char *vkey_text, uint64_t *size)
{
    struct mlp_buffer hashes = {0};
    uint8_t said32[32];
    uint8_t root32[32];
    *size = 0;
    if (!file_exists(store_path, "log/checkpoint"))
        return true;
    if (!audit_checkpoint(store_path, vkey_text, size, said32))
        return false;
    bool holds = audit_entries(store_path, *size, &hashes) &&
                 mlp_merkle_root(root32, hashes.data, *size, NULL) == 0 &&
                 CHECK(memcmp(root32, said32, 32) == 0) &&
                 audit_levels(store_path, hashes.data, *size);
    mlp_buffer_clear(&hashes);
    return holds;
}

#endif
