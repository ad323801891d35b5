#include "store/store_internal.h"

#include "base/file.h"
#include "store/lock.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the directory ---- */

/* A store that somebody else can write could lead us to sign or publish what he likes, and its
 * database is parsed by SQLite: only our own is opened. */
static int check_owner(const struct stat *facts, const char *path, const char *name,
                       struct mlp_error *error)
{
    if (facts->st_uid != geteuid())
        return mlp_fail(error, MLP_E_CONFIG,
                        "refused the store %s%s: it belongs to user %ld, not to %ld who runs this; "
                        "use a store of your own (MLPROV_STORE)",
                        path, name, (long)facts->st_uid, (long)geteuid());
    if ((facts->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return mlp_fail(error, MLP_E_CONFIG,
                        "refused the store %s%s: others can write to it (mode %04o); chmod go-w it",
                        path, name, (unsigned)facts->st_mode & 07777U);
    return 0;
}

static bool is_own_name(const char *name)
{
    static const char *const own[] = {".", "..", "keys", "trees", "log", "imports", ".gitignore"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcmp(name, own[i]) == 0)
            return true;
    }
    return strncmp(name, MLP_STORE_DATABASE, strlen(MLP_STORE_DATABASE)) == 0 ||
           strncmp(name, ".tmp-", 5) == 0;
}

/* A directory that holds other things is somebody's, not a store to be. */
static int check_nothing_else(const struct mlp_store *store, struct mlp_error *error)
{
    int fd = -1;
    int status = mlp_file_open_directory(&fd, store->directory_fd, ".", error);
    if (status != 0)
        return status;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        status = mlp_fail_errno(error, errno, "cannot list %s", store->path);
        mlp_file_close(&fd);
        return status;
    }
    const struct dirent *entry;
    while (status == 0 && (entry = readdir(directory)) != NULL) {
        if (!is_own_name(entry->d_name))
            status = mlp_fail(error, MLP_E_CONFIG,
                              "refused to make a store in %s: it holds other things (\"%s\"); name "
                              "a directory of its own, such as .mlprov",
                              store->path, entry->d_name);
    }
    (void)closedir(directory);
    return status;
}

static int make_folders(const struct mlp_store *store, struct mlp_error *error)
{
    static const char *const folders[] = {"keys", "trees", "log", "imports"};
    int status = 0;
    for (size_t i = 0; status == 0 && i < sizeof folders / sizeof folders[0]; i++)
        status = mlp_file_make_private_directory(store->directory_fd, folders[i], error);
    struct stat facts;
    if (status == 0 && fstatat(store->directory_fd, ".gitignore", &facts, AT_SYMLINK_NOFOLLOW) != 0)
        status = mlp_file_replace(store->directory_fd, ".gitignore", "*\n", 2, error);
    if (status == 0)
        status = mlp_file_sync_parent(store->directory_fd, "keys", error);
    return mlp_store_explain(store, status, error);
}

static int open_directory(struct mlp_store *store, const char *path, bool create,
                          struct mlp_error *error)
{
    int status = mlp_file_open_directory(&store->directory_fd, AT_FDCWD, path, error);
    if (status == MLP_E_NOT_FOUND && create) {
        status = mlp_file_make_private_directory(AT_FDCWD, path, error);
        if (status == 0)
            status = mlp_file_sync_parent(AT_FDCWD, path, error);
        if (status == 0)
            status = mlp_file_open_directory(&store->directory_fd, AT_FDCWD, path, error);
    }
    if (status != 0)
        return status;
    struct stat facts;
    store->path = realpath(path, NULL);
    if (store->path == NULL || fstat(store->directory_fd, &facts) != 0)
        return mlp_fail_errno(error, errno, "cannot resolve the store's path %s", path);
    return check_owner(&facts, store->path, "", error);
}

/* ---- the database ---- */

static int exists(const struct mlp_store *store, bool *there, const char *name, struct stat *facts,
                  struct mlp_error *error)
{
    *there = fstatat(store->directory_fd, name, facts, AT_SYMLINK_NOFOLLOW) == 0;
    if (!*there && errno != ENOENT)
        return mlp_fail_errno(error, errno, "cannot look for %s/%s", store->path, name);
    return 0;
}

/* Looked at by name, never opened: store.h, "Processes". */
static int find_database(const struct mlp_store *store, bool *there, struct mlp_error *error)
{
    struct stat facts;
    int status = exists(store, there, MLP_STORE_DATABASE, &facts, error);
    if (status != 0 || !*there)
        return status;
    if (!S_ISREG(facts.st_mode))
        return mlp_fail(error, MLP_E_CONFIG,
                        "refused the store %s: " MLP_STORE_DATABASE " is not a regular file",
                        store->path);
    return check_owner(&facts, store->path, "/" MLP_STORE_DATABASE, error);
}

/* A log that was published without a database beside it: something was lost, and a new log under
 * the same directory would hide it. */
static int check_no_orphan(struct mlp_store *store, const char *state, struct mlp_error *error)
{
    struct stat facts;
    bool there = false;
    int status = exists(store, &there, "log/checkpoint", &facts, error);
    if (status == 0 && there)
        status = mlp_fail(error, MLP_E_CORRUPT,
                          "%s/" MLP_STORE_DATABASE " is %s, but log/checkpoint beside it was "
                          "published: the database was lost; restore it from a backup, or move the "
                          "store aside and begin a new one",
                          store->path, state);
    return status;
}

/* Under the lock. */
static int create_file(struct mlp_store *store, struct mlp_error *error)
{
    bool there = false;
    int fd = -1;
    int status = find_database(store, &there, error);
    if (status != 0 || there)
        return status;
    status = check_no_orphan(store, "missing", error);
    if (status == 0)
        status = mlp_file_create_private(&fd, store->directory_fd, MLP_STORE_DATABASE, error);
    mlp_file_close(&fd);
    return status;
}

/* An empty database: our own, not finished, or something else. */
static int check_empty(struct mlp_store *store, bool create, struct mlp_error *error)
{
    int64_t application_id = 0;
    int64_t objects = 0;
    int status = mlp_sqlite_number(store, &application_id, error, "PRAGMA application_id", "");
    if (status == 0)
        status =
            mlp_sqlite_number(store, &objects, error, "SELECT count(*) FROM sqlite_master", "");
    if (status == 0 && (application_id != 0 || objects != 0))
        status = mlp_store_corrupt(store, error, "not a database of mlprov");
    if (status == 0)
        status = check_no_orphan(store, "empty", error);
    if (status == 0 && !create)
        status = mlp_store_corrupt(store, error, "the database is empty");
    return status;
}

static int check_version(struct mlp_store *store, bool create, int64_t *version,
                         struct mlp_error *error)
{
    int status = mlp_sqlite_number(store, version, error, "PRAGMA user_version", "");
    if (status == 0 && *version == 0 && create && store->read_only)
        return mlp_fail(error, MLP_E_READONLY,
                        "cannot make the store %s: its " MLP_STORE_DATABASE " cannot be opened for "
                        "writing",
                        store->path);
    if (status == 0 && *version == 0)
        return check_empty(store, create, error);
    int64_t application_id = 0;
    if (status == 0)
        status = mlp_sqlite_number(store, &application_id, error, "PRAGMA application_id", "");
    if (status == 0 && (application_id != MLP_STORE_APPLICATION_ID || *version < 0))
        status = mlp_store_corrupt(store, error, "not a database of mlprov (application id %08x)",
                                   (unsigned)application_id);
    if (status == 0 && *version > MLP_STORE_VERSION) {
        store->newer = true;
        store->read_only = true;
    }
    return status;
}

/* In one transaction: another process may be making the database. */
static int read_version(struct mlp_store *store, bool create, int64_t *version,
                        struct mlp_error *error)
{
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    return mlp_store_end(store, check_version(store, create, version, error), error);
}

static int read_id(struct mlp_store *store, struct mlp_error *error)
{
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = mlp_store_meta_get(store, store->id, sizeof store->id, "store_id", error);
    if (status == MLP_E_NOT_FOUND ||
        (status == 0 && strspn(store->id, "0123456789abcdef") != MLP_STORE_ID_LEN))
        status = mlp_store_corrupt(store, error, "it has no store id");
    return mlp_store_end(store, status, error);
}

static int open_database(struct mlp_store *store, bool create, struct mlp_error *error)
{
    int64_t version = 0;
    int status = mlp_database_open(store, error);
    if (status == 0)
        status = read_version(store, create, &version, error);
    if (status == 0 && version < MLP_STORE_VERSION && !store->read_only)
        status = mlp_database_migrate(store, mlp_store_migrations, MLP_STORE_VERSION, error);
    if (status == 0 && store->read_only)
        status = mlp_sqlite_execute(store, error, "PRAGMA query_only = ON", "");
    if (status == 0)
        status = read_id(store, error);
    return status;
}

/* ---- opening and closing ---- */

static int open_all(struct mlp_store *store, const char *path, bool create, struct mlp_error *error)
{
    bool there = false;
    int lock = -1;
    int status = open_directory(store, path, create, error);
    if (status == 0)
        status = find_database(store, &there, error);
    if (status == 0 && !there && !create)
        status = mlp_fail(error, MLP_E_NOT_FOUND,
                          "no mlprov store in %s: it has no " MLP_STORE_DATABASE "; make one with "
                          "`mlprov init`, or name another with MLPROV_STORE",
                          store->path);
    if (status == 0 && !there)
        status = check_nothing_else(store, error);
    if (status == 0 && create)
        status = make_folders(store, error);
    /* One process at a time makes a database; the others then find it. */
    if (status == 0 && !there)
        status = mlp_store_explain(
            store,
            mlp_lock_acquire(&lock, store->directory_fd, MLP_LOG_LOCK, MLP_STORE_BUSY_MS, error),
            error);
    if (status == 0 && !there)
        status = create_file(store, error);
    if (status == 0)
        status = open_database(store, create, error);
    mlp_lock_release(&lock);
    return status;
}

int mlp_store_open(struct mlp_store **store, const char *path, unsigned flags,
                   struct mlp_error *error)
{
    struct mlp_store *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot open the store %s: out of memory", path);
    opened->directory_fd = -1;
    opened->pid = getpid();
    opened->read_only = (flags & MLP_STORE_READ_ONLY) != 0;
    if (pthread_mutex_init(&opened->mutex, NULL) != 0) {
        free(opened);
        return mlp_fail(error, MLP_E_MEMORY, "cannot open the store %s: no mutex", path);
    }
    int status =
        open_all(opened, path, (flags & MLP_STORE_CREATE) != 0 && !opened->read_only, error);
    if (status != 0) {
        mlp_store_free(opened);
        return status;
    }
    *store = opened;
    return 0;
}

void mlp_store_close(struct mlp_store *store)
{
    /* In a child neither the handle nor the parent's locks and journal may be touched. */
    if (getpid() != store->pid)
        return;
    pthread_mutex_lock(&store->mutex);
    (void)sqlite3_close(store->db); /* no statement outlives its call */
    store->db = NULL;
    mlp_file_close(&store->directory_fd);
    pthread_mutex_unlock(&store->mutex);
}

void mlp_store_free(struct mlp_store *store)
{
    if (store == NULL || getpid() != store->pid)
        return;
    mlp_store_close(store);
    pthread_mutex_destroy(&store->mutex);
    free(store->path);
    free(store);
}

/* ---- facts ---- */

const char *mlp_store_path(const struct mlp_store *store)
{
    return store->path;
}

const char *mlp_store_id(const struct mlp_store *store)
{
    return store->id;
}

bool mlp_store_read_only(const struct mlp_store *store)
{
    return store->read_only;
}

bool mlp_store_newer(const struct mlp_store *store)
{
    return store->newer;
}

int mlp_store_usable(struct mlp_store *store, bool write, struct mlp_error *error)
{
    int status = mlp_store_hold(store, write, error);
    if (status == 0)
        mlp_store_let_go(store);
    return status;
}

int mlp_store_open_directory(struct mlp_store *store, int *fd, bool write, struct mlp_error *error)
{
    int status = mlp_store_hold(store, write, error);
    if (status != 0)
        return status;
    int copy = fcntl(store->directory_fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        status = mlp_fail_errno(error, errno, "cannot use the store %s", store->path);
    else
        *fd = copy;
    mlp_store_let_go(store);
    return status;
}

int mlp_store_explain(const struct mlp_store *store, int status, struct mlp_error *error)
{
    return status == 0 ? 0 : mlp_fail_in(error, status, "%s", store->path);
}

/* ---- meta ---- */

int mlp_store_meta_get(struct mlp_store *store, char *value, size_t value_size, const char *key,
                       struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(store, &statement, error,
                                    "SELECT value FROM meta WHERE key = ?1", "t", key);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    else
        return status;
    if (status > 0) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        status = 0;
        if (text == NULL || strlen(text) >= value_size)
            status = mlp_store_corrupt(store, error, "its \"%s\" is too long", key);
        else
            memcpy(value, text, strlen(text) + 1);
    } else if (status == 0) {
        status = MLP_E_NOT_FOUND;
    }
    sqlite3_finalize(statement);
    return status;
}

int mlp_store_meta_put(struct mlp_store *store, const char *key, const char *value,
                       struct mlp_error *error)
{
    return mlp_sqlite_execute(store, error,
                              "INSERT INTO meta(key, value) VALUES(?1, ?2)"
                              " ON CONFLICT(key) DO UPDATE SET value = excluded.value",
                              "tt", key, value);
}
