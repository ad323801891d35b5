#include "anchor/tiles.h"

#include "base/file.h"
#include "store/log_rows.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WIDTH MLP_LOG_TILE_WIDTH

/* ---- names ---- */

/* The index in groups of three digits: 1234067 is x001/x234/067. */
static void format_index(char *text, size_t text_size, uint64_t index)
{
    unsigned groups[7]; /* 2^64 has 20 digits */
    size_t count = 0;
    do {
        groups[count++] = (unsigned)(index % 1000);
        index /= 1000;
    } while (index > 0);
    size_t len = 0;
    while (count-- > 0)
        len += (size_t)snprintf(text + len, text_size - len, count > 0 ? "x%03u/" : "%03u",
                                groups[count]);
}

void mlp_tile_path(char path[MLP_TILE_PATH_MAX], int level, uint64_t index, unsigned width)
{
    char level_text[12] = "entries";
    char index_text[48];
    char partial[12] = "";
    if (level != MLP_TILE_ENTRIES)
        (void)snprintf(level_text, sizeof level_text, "%d", level);
    format_index(index_text, sizeof index_text, index);
    if (width < WIDTH)
        (void)snprintf(partial, sizeof partial, ".p/%u", width);
    (void)snprintf(path, MLP_TILE_PATH_MAX, "log/tile/%s/%s%s", level_text, index_text, partial);
}

/* ---- directories ---- */

/* Makes the directories of path; each that is new is synced into the one above it. */
static int make_parents(int directory_fd, const char *path, struct mlp_error *error)
{
    char part[MLP_TILE_PATH_MAX];
    struct stat facts;
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        size_t len = (size_t)(slash - path);
        memcpy(part, path, len);
        part[len] = '\0';
        if (fstatat(directory_fd, part, &facts, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(facts.st_mode))
            continue;
        int status = mlp_file_make_private_directory(directory_fd, part, error);
        if (status == 0)
            status = mlp_file_sync_parent(directory_fd, part, error);
        if (status != 0)
            return status;
    }
    return 0;
}

/* "Logs MAY delete any partial tile once the corresponding full tile is available." What cannot be
 * deleted does no harm. */
static void remove_partials(int directory_fd, int level, uint64_t index)
{
    char path[MLP_TILE_PATH_MAX];
    struct stat facts;
    mlp_tile_path(path, level, index, 1);
    char *last_slash = strrchr(path, '/');
    *last_slash = '\0';
    if (fstatat(directory_fd, path, &facts, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(facts.st_mode))
        return;
    for (unsigned width = 1; width < WIDTH; width++) {
        mlp_tile_path(path, level, index, width);
        mlp_file_unlink_quietly(directory_fd, path);
    }
    *last_slash = '\0';
    (void)unlinkat(directory_fd, path, AT_REMOVEDIR);
}

/* ---- content ---- */

static int read_tile(struct mlp_buffer *content, struct mlp_store *store, int level, uint64_t index,
                     unsigned width, struct mlp_error *error)
{
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    if (level == MLP_TILE_ENTRIES) {
        status = mlp_store_log_bundle(store, content, index * WIDTH, width, error);
    } else if (mlp_buffer_reserve(content, (size_t)width * 32) != 0) {
        status = mlp_fail(error, MLP_E_MEMORY, "cannot read the store log: out of memory");
    } else {
        status = mlp_store_log_hashes(store, content->data, (unsigned)level, index * WIDTH, width,
                                      error);
        content->len = (size_t)width * 32;
    }
    return mlp_store_end(store, status, error);
}

static int write_tile(struct mlp_store *store, int directory_fd, int level, uint64_t index,
                      unsigned width, struct mlp_error *error)
{
    char path[MLP_TILE_PATH_MAX];
    struct mlp_buffer content;
    mlp_buffer_init(&content);
    mlp_tile_path(path, level, index, width);
    int status = read_tile(&content, store, level, index, width, error);
    if (status == 0)
        status = mlp_store_explain(store, make_parents(directory_fd, path, error), error);
    if (status == 0)
        status = mlp_store_explain(
            store, mlp_file_replace(directory_fd, path, content.data, content.len, error), error);
    mlp_buffer_clear(&content);
    if (status == 0 && width == WIDTH)
        remove_partials(directory_fd, level, index);
    return status;
}

/* The tiles of one level that change when it grows from `from` hashes to `to`. */
static int write_level(struct mlp_store *store, int directory_fd, int level, uint64_t from,
                       uint64_t to, struct mlp_error *error)
{
    int status = 0;
    for (uint64_t index = from / WIDTH; status == 0 && index * WIDTH < to; index++) {
        uint64_t rest = to - index * WIDTH;
        unsigned width = rest < WIDTH ? (unsigned)rest : WIDTH;
        status = write_tile(store, directory_fd, level, index, width, error);
    }
    return status;
}

int mlp_tiles_write(struct mlp_store *store, int directory_fd, uint64_t from, uint64_t to,
                    struct mlp_error *error)
{
    if (from == to)
        return 0;
    int status = write_level(store, directory_fd, MLP_TILE_ENTRIES, from, to, error);
    for (int level = 0; status == 0 && from < to; level++) {
        status = write_level(store, directory_fd, level, from, to, error);
        /* A hash of the next level is the root of a full tile of this one. */
        from /= WIDTH;
        to /= WIDTH;
    }
    return status;
}
