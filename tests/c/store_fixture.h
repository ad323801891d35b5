/* store_fixture.h - a store in a temporary directory, and runs to put into it. */
#ifndef MLP_TESTS_STORE_FIXTURE_H
#define MLP_TESTS_STORE_FIXTURE_H

#include "anchor/runlog.h"
#include "anchor/tlog.h"
#include "base/bytes.h"
#include "check.h"
#include "merkle/merkle.h"
#include "store/store.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Shows the message where a call that must succeed did not. */
static inline bool fine(int status, const struct mlp_error *error, const char *file, int line)
{
    if (status != 0)
        printf("  %s:%d: status %d: %s\n", file, line, status, error->message);
    return check_that(status == 0, "status == 0", file, line);
}
#define FINE(call) fine((call), &error, __FILE__, __LINE__)
#define SAYS(text)                                                                                 \
    CHECK(strstr(error.message, (text)) != NULL || (printf("  %s\n", error.message), 0))

static inline void remove_tree(const char *path)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char name[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int len = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (len < (int)sizeof name && unlink(name) != 0)
            remove_tree(name);
    }
    if (directory != NULL)
        (void)closedir(directory);
    (void)rmdir(path);
}

/* path: PATH_MAX bytes; <a new temporary directory>/<name>; remove_tree(parent_of_fixture). */
static inline void fixture_path(char *path, const char *name)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL) /* memory, where there is such a file system: thousands of fsyncs */
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(path, PATH_MAX, "%s/mlp-test-XXXXXX", base);
    if (mkdtemp(path) == NULL) {
        perror("mkdtemp");
        exit(2);
    }
    size_t len = strlen(path);
    (void)snprintf(path + len, PATH_MAX - len, "/%s", name);
}

static inline void fixture_remove(const char *path)
{
    char parent[PATH_MAX];
    (void)snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    remove_tree(parent);
}

static inline void beneath(char out[PATH_MAX], const char *store_path, const char *name)
{
    int len = snprintf(out, PATH_MAX, "%s/%s", store_path, name);
    if (len < 0 || len >= PATH_MAX)
        exit(2);
}

static inline bool file_exists(const char *store_path, const char *name)
{
    char path[PATH_MAX];
    struct stat facts;
    beneath(path, store_path, name);
    return lstat(path, &facts) == 0;
}

static inline struct mlp_store *open_store(const char *path, unsigned flags)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    if (!FINE(mlp_store_open(&store, path, flags, &error)))
        exit(1);
    return store;
}

/* The n-th run id of a test: a UUIDv7 in shape. */
static inline const char *run_id(unsigned n)
{
    static char text[4][40];
    static unsigned next;
    char *id = text[next++ % 4];
    (void)snprintf(id, 40, "0190a5b0-%04x-7abc-8def-%012x", n >> 16 & 0xFFFF, n);
    return id;
}

/* Time of the n-th record: strictly increasing. */
static inline const char *time_text(uint64_t n)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "2026-11-21T%02u:%02u:%02u.%03uZ",
                   (unsigned)(n / 3600000 % 24), (unsigned)(n / 60000 % 60),
                   (unsigned)(n / 1000 % 60), (unsigned)(n % 1000));
    return text;
}

/* Appends one record of a type; its bytes name its seq. */
static inline int add_record(struct mlp_runlog *log, const char *type, struct mlp_error *error)
{
    char record[128];
    uint64_t seq = mlp_runlog_size(log);
    int len = snprintf(record, sizeof record, "{\"seq\":%llu,\"type\":\"%s\"}",
                       (unsigned long long)seq, type);
    return mlp_runlog_append(log, seq, record, (size_t)len, type, time_text(seq), error);
}

/* One number that a query answers; -1 where it fails or answers none. */
static inline int64_t query_number(struct mlp_store *store, const char *sql)
{
    struct mlp_error error = {0};
    struct mlp_rows *rows = NULL;
    if (!FINE(mlp_store_query(&rows, store, sql, strlen(sql), NULL, 0, &error)))
        return -1;
    int64_t number = mlp_rows_count(rows) == 1 ? mlp_rows_at(rows, 0, 0)->integer : -1;
    mlp_rows_free(rows);
    return number;
}

static inline bool write_file(const char *store_path, const char *name, const void *bytes,
                              size_t len)
{
    char path[PATH_MAX];
    beneath(path, store_path, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return false;
    bool written = fwrite(bytes, 1, len, file) == len;
    return fclose(file) == 0 && written;
}

/* Appends a whole file. Returns: whether it could be read. */
static inline bool read_file(struct mlp_buffer *bytes, const char *store_path, const char *name)
{
    char path[PATH_MAX];
    char block[4096];
    beneath(path, store_path, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return false;
    for (size_t got; (got = fread(block, 1, sizeof block, file)) > 0;)
        mlp_buffer_append(bytes, block, got);
    (void)fclose(file);
    return true;
}

#endif
