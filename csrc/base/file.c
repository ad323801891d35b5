#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_CHUNK ((size_t)65536)
/* Linux reads and writes at most 0x7ffff000 bytes in one call; 1 GiB is within every system's
 * limit. */
#define WRITE_CHUNK ((size_t)1 << 30)

static int open_retrying(int directory_fd, const char *path, int flags, mode_t mode)
{
    int fd;
    do {
        fd = openat(directory_fd, path, flags | O_CLOEXEC | O_NOCTTY, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

void mlp_file_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* never retried: after EINTR Linux has closed it */
    *fd = -1;
}

void mlp_file_unlink_quietly(int directory_fd, const char *path)
{
    (void)unlinkat(directory_fd, path, 0);
}

int mlp_file_create_private(int *fd, int directory_fd, const char *path, struct mlp_error *error)
{
    int created = open_retrying(directory_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (created < 0)
        return mlp_fail_errno(error, errno, "cannot create %s", path);
    /* The umask may have taken bits away from the owner; it can never have added any. */
    if (fchmod(created, 0600) != 0) {
        int status = mlp_fail_errno(error, errno, "cannot set the mode of %s to 0600", path);
        mlp_file_close(&created);
        mlp_file_unlink_quietly(directory_fd, path);
        return status;
    }
    *fd = created;
    return 0;
}

int mlp_file_make_private_directory(int directory_fd, const char *path, struct mlp_error *error)
{
    bool made = mkdirat(directory_fd, path, 0700) == 0;
    if (!made && errno != EEXIST)
        return mlp_fail_errno(error, errno, "cannot make the directory %s", path);
    int fd = open_retrying(directory_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0)
        return mlp_fail_errno(error, errno, "cannot use %s as a directory of mlprov's own", path);
    int status = 0;
    if (made && fchmod(fd, 0700) != 0)
        status = mlp_fail_errno(error, errno, "cannot set the mode of %s to 0700", path);
    mlp_file_close(&fd);
    return status;
}

int mlp_file_open_directory(int *fd, int directory_fd, const char *path, struct mlp_error *error)
{
    int opened = open_retrying(directory_fd, path, O_RDONLY | O_DIRECTORY, 0);
    if (opened < 0)
        return mlp_fail_errno(error, errno, "cannot open the directory %s", path);
    *fd = opened;
    return 0;
}

int mlp_file_open_read(int *fd, int directory_fd, const char *path, struct mlp_error *error)
{
    /* O_NONBLOCK: opening a FIFO would wait for a writer; regular files do not notice it. */
    int opened = open_retrying(directory_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (opened < 0)
        return mlp_fail_errno(error, errno, "cannot open %s", path);
    struct stat facts;
    int status = 0;
    if (fstat(opened, &facts) != 0)
        status = mlp_fail_errno(error, errno, "cannot stat %s", path);
    else if (!S_ISREG(facts.st_mode))
        status = mlp_fail_errno(error, EINVAL, "cannot read %s: not a regular file", path);
    if (status != 0)
        mlp_file_close(&opened);
    else
        *fd = opened;
    return status;
}

/* ---- reading ---- */

int mlp_file_read_capped(struct mlp_buffer *bytes, int fd, size_t max_len, const char *what,
                         struct mlp_error *error)
{
    size_t before = bytes->len;
    for (;;) {
        /* One byte beyond the cap is asked for, so that "more than max_len" is seen. */
        size_t room = max_len - (bytes->len - before);
        size_t wanted = room < READ_CHUNK ? room + 1 : READ_CHUNK;
        if (mlp_buffer_reserve(bytes, wanted) != 0) {
            bytes->len = before;
            return mlp_fail(error, MLP_E_MEMORY, "cannot read %s: out of memory", what);
        }
        ssize_t got = read(fd, bytes->data + bytes->len, wanted);
        if (got == 0)
            return 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            bytes->len = before;
            return mlp_fail_errno(error, errno, "cannot read %s", what);
        }
        if ((size_t)got > room) {
            bytes->len = before;
            return mlp_fail(error, MLP_E_MALFORMED,
                            "refused %s: it is larger than the %zu bytes allowed", what, max_len);
        }
        bytes->len += (size_t)got;
    }
}

int mlp_file_read_path(struct mlp_buffer *bytes, int directory_fd, const char *path, size_t max_len,
                       struct mlp_error *error)
{
    int fd;
    int status = mlp_file_open_read(&fd, directory_fd, path, error);
    if (status != 0)
        return status;
    status = mlp_file_read_capped(bytes, fd, max_len, path, error);
    mlp_file_close(&fd);
    return status;
}

int mlp_file_read_at(int fd, uint64_t offset, void *out, size_t out_len, const char *what,
                     struct mlp_error *error)
{
    if (offset > (uint64_t)INT64_MAX - out_len || out_len > (size_t)INT64_MAX)
        return mlp_fail(error, MLP_E_RANGE, "cannot read %s: offset beyond 2^63", what);
    uint8_t *next = out;
    while (out_len > 0) {
        size_t wanted = out_len < WRITE_CHUNK ? out_len : WRITE_CHUNK;
        ssize_t got = pread(fd, next, wanted, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mlp_fail_errno(error, errno, "cannot read %s", what);
        if (got == 0)
            return mlp_fail(
                error, MLP_E_CHANGED,
                "%s ends at byte %llu, %zu bytes before it should: truncated, or changed "
                "while it was read",
                what, (unsigned long long)offset, out_len);
        next += got;
        out_len -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

/* ---- writing ---- */

int mlp_file_write_all(int fd, const void *bytes, size_t bytes_len, const char *what,
                       struct mlp_error *error)
{
    const uint8_t *next = bytes;
    while (bytes_len > 0) {
        ssize_t put = write(fd, next, bytes_len < WRITE_CHUNK ? bytes_len : WRITE_CHUNK);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return mlp_fail_errno(error, errno, "cannot write %s", what);
        next += put;
        bytes_len -= (size_t)put;
    }
    return 0;
}

int mlp_file_sync(int fd, const char *what, struct mlp_error *error)
{
    int answer;
    do {
        answer = fsync(fd);
    } while (answer != 0 && errno == EINTR);
    if (answer != 0)
        return mlp_fail_errno(error, errno, "cannot fsync %s", what);
    return 0;
}

/* Writes the directory part of path, "." where it has none. */
static int parent_of(char parent[PATH_MAX], const char *path, struct mlp_error *error)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (len >= PATH_MAX)
        return mlp_fail_errno(error, ENAMETOOLONG, "cannot use a path of %zu bytes", strlen(path));
    if (len == 0) {
        memcpy(parent, ".", 2);
        return 0;
    }
    memcpy(parent, path, len);
    parent[len] = '\0';
    return 0;
}

int mlp_file_sync_parent(int directory_fd, const char *path, struct mlp_error *error)
{
    char parent[PATH_MAX];
    int fd = -1;
    int status = parent_of(parent, path, error);
    if (status == 0)
        status = mlp_file_open_directory(&fd, directory_fd, parent, error);
    if (status != 0)
        return status;
    struct mlp_error detail;
    status = mlp_file_sync(fd, parent, &detail);
    mlp_file_close(&fd);
    /* Some network file systems cannot sync a directory and say EINVAL (fsync(2)): there a name is
     * as durable as that system makes it, and nothing more can be done about it. */
    if (status == 0 || detail.system_errno == EINVAL)
        return 0;
    if (error != NULL)
        *error = detail;
    return status;
}

int mlp_file_rename_durable(int directory_fd, const char *old_path, const char *new_path,
                            struct mlp_error *error)
{
    if (renameat(directory_fd, old_path, directory_fd, new_path) != 0)
        return mlp_fail_errno(error, errno, "cannot rename %s to %s", old_path, new_path);
    return mlp_file_sync_parent(directory_fd, new_path, error);
}

/* A name in path's directory that nobody has: 64 random bits. */
static int temporary_path(char temporary[PATH_MAX], const char *path, struct mlp_error *error)
{
    uint64_t number;
    if (getentropy(&number, sizeof number) != 0)
        return mlp_fail_errno(error, errno, "cannot get random bytes for a temporary name");
    const char *slash = strrchr(path, '/');
    size_t directory_len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    int written = directory_len < PATH_MAX
                      ? snprintf(temporary, PATH_MAX, "%.*s.tmp-%016llx", (int)directory_len, path,
                                 (unsigned long long)number)
                      : PATH_MAX;
    if (written < 0 || written >= PATH_MAX)
        return mlp_fail_errno(error, ENAMETOOLONG, "cannot use a path of %zu bytes", strlen(path));
    return 0;
}

int mlp_file_replace(int directory_fd, const char *path, const void *bytes, size_t bytes_len,
                     struct mlp_error *error)
{
    char temporary[PATH_MAX];
    int fd;
    int status = temporary_path(temporary, path, error);
    if (status == 0)
        status = mlp_file_create_private(&fd, directory_fd, temporary, error);
    if (status != 0)
        return status;
    status = mlp_file_write_all(fd, bytes, bytes_len, path, error);
    /* fsync before rename: after a crash path holds the old bytes or the new, never a short file.
     */
    if (status == 0)
        status = mlp_file_sync(fd, path, error);
    mlp_file_close(&fd);
    if (status == 0 && renameat(directory_fd, temporary, directory_fd, path) != 0)
        status = mlp_fail_errno(error, errno, "cannot rename a temporary file to %s", path);
    if (status != 0) {
        mlp_file_unlink_quietly(directory_fd, temporary);
        return status;
    }
    return mlp_file_sync_parent(directory_fd, path, error);
}
