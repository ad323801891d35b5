#include "base/reader.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static struct mlp_reader_facts facts_of(const struct stat *found)
{
    return (struct mlp_reader_facts){
        .device = (uint64_t)found->st_dev,
        .inode = (uint64_t)found->st_ino,
        .len = S_ISREG(found->st_mode) ? (uint64_t)found->st_size : 0,
        .mtime_ns = nanoseconds(&found->st_mtim),
        .ctime_ns = nanoseconds(&found->st_ctim),
    };
}

static int ask_whether_to_go_on(const struct mlp_reader_ask *ask)
{
    return ask != NULL ? ask->interrupted(ask->context) : 0;
}

/* ---- opening ---- */

static int take_facts(struct mlp_reader *reader, bool only_regular, struct mlp_error *error)
{
    struct stat found;
    if (fstat(reader->fd, &found) != 0)
        return mlp_fail_errno(error, errno, "cannot stat %s", reader->path);
    if (S_ISDIR(found.st_mode))
        return mlp_fail_errno(error, EISDIR, "cannot read %s as a file", reader->path);
    reader->is_regular = S_ISREG(found.st_mode);
    if (only_regular && !reader->is_regular)
        return mlp_fail(error, MLP_E_CONFIG,
                        "cannot read %s: it is a pipe or device; name a regular file",
                        reader->path);
    reader->facts = facts_of(&found);
    reader->has_len = reader->is_regular && found.st_size > 0 && found.st_blocks > 0;
    return 0;
}

int mlp_reader_open(struct mlp_reader *reader, const char *path, bool only_regular,
                    const struct mlp_reader_ask *ask, struct mlp_error *error)
{
    struct mlp_reader opened = {.fd = -1, .path = path};
    int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (only_regular ? O_NONBLOCK : 0);
    while ((opened.fd = open(path, flags)) < 0) {
        if (errno != EINTR)
            return mlp_fail_errno(error, errno, "cannot open %s", path);
        int answer = ask_whether_to_go_on(ask);
        if (answer != 0)
            return answer;
    }
    int status = take_facts(&opened, only_regular, error);
    if (status != 0) {
        mlp_reader_close(&opened);
        return status;
    }
    *reader = opened;
    return 0;
}

void mlp_reader_close(struct mlp_reader *reader)
{
    mlp_file_close(&reader->fd);
}

/* ---- what changed ---- */

static int fail_changed(const struct mlp_reader *reader, const char *what, struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_CHANGED,
                    "%s changed while it was read (%s); read it again when nothing writes to it",
                    reader->path, what);
}

/* What differs, of two looks at one file. Returns: NULL where nothing does. */
static const char *difference(const struct mlp_reader_facts *before,
                              const struct mlp_reader_facts *now)
{
    if (now->len != before->len)
        return "another length";
    if (now->mtime_ns != before->mtime_ns)
        return "it was written to";
    if (now->ctime_ns != before->ctime_ns)
        return "it was replaced, renamed or given other rights";
    return NULL;
}

/* Whether the path leads to the file. Returns: 0 and *is_there, and what was found if it is. */
static int look_at_path(const struct mlp_reader *reader, bool *is_there, struct stat *found,
                        struct mlp_error *error)
{
    bool exists = stat(reader->path, found) == 0;
    if (!exists && errno != ENOENT && errno != ENOTDIR)
        return mlp_fail_errno(error, errno, "cannot stat %s", reader->path);
    *is_there = exists && (uint64_t)found->st_dev == reader->facts.device &&
                (uint64_t)found->st_ino == reader->facts.inode;
    return 0;
}

/* Where nothing changed, the look at the path is the only one. */
int mlp_reader_check(const struct mlp_reader *reader, struct mlp_error *error)
{
    struct stat found;
    bool is_there = true;
    if (!reader->is_regular)
        return 0;
    int status = look_at_path(reader, &is_there, &found, error);
    if (status != 0)
        return status;
    if (!is_there && fstat(reader->fd, &found) != 0)
        return mlp_fail_errno(error, errno, "cannot stat %s", reader->path);
    struct mlp_reader_facts now = facts_of(&found);
    const char *what = difference(&reader->facts, &now);
    if (what == NULL && !is_there)
        what = "another file took its name";
    return what == NULL ? 0 : fail_changed(reader, what, error);
}

/* ---- reading ---- */

/* One read. Returns: 0 and *got (0 at the end), or what ends the reading. */
static int read_once(struct mlp_reader *reader, size_t *got, void *out, size_t out_len,
                     const struct mlp_reader_ask *ask, struct mlp_error *error)
{
    for (;;) {
        ssize_t count = reader->is_regular ? pread(reader->fd, out, out_len, (off_t)reader->at)
                                           : read(reader->fd, out, out_len);
        if (count >= 0) {
            *got = (size_t)count;
            return 0;
        }
        if (errno != EINTR)
            return mlp_fail_errno(error, errno, "cannot read %s", reader->path);
        int answer = ask_whether_to_go_on(ask);
        if (answer != 0)
            return answer;
    }
}

/* How many of wanted bytes are still to come, where that is known. */
static size_t bytes_to_come(const struct mlp_reader *reader, size_t wanted)
{
    if (!reader->has_len)
        return wanted;
    uint64_t left = reader->facts.len - reader->at;
    return left < wanted ? (size_t)left : wanted;
}

int mlp_reader_next(struct mlp_reader *reader, size_t *got, void *out, size_t out_len,
                    const struct mlp_reader_ask *ask, struct mlp_error *error)
{
    uint8_t *next = out;
    size_t done = 0, wanted = bytes_to_come(reader, out_len);
    while (done < wanted) {
        size_t count = 0;
        int status = read_once(reader, &count, next + done, wanted - done, ask, error);
        if (status != 0)
            return status;
        if (count == 0 && reader->has_len)
            return fail_changed(reader, "it became shorter", error);
        if (count == 0)
            break;
        done += count;
        reader->at += count;
    }
    *got = done;
    return 0;
}

uint64_t mlp_reader_len(const struct mlp_reader *reader)
{
    return reader->has_len ? reader->facts.len : 0;
}

int mlp_reader_at(const struct mlp_reader *reader, uint64_t offset, void *out, size_t out_len,
                  struct mlp_error *error)
{
    return mlp_file_read_at(reader->fd, offset, out, out_len, reader->path, error);
}

void mlp_reader_expect_sequence(const struct mlp_reader *reader)
{
    if (reader->is_regular)
        (void)posix_fadvise(reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}
