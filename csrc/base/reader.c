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

static int ask(const struct mlp_reader_calls *calls)
{
    return calls != NULL && calls->interrupted != NULL ? calls->interrupted(calls->context) : 0;
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
        return mlp_fail_errno(error, EINVAL, "cannot read %s: not a regular file", reader->path);
    reader->facts = facts_of(&found);
    return 0;
}

int mlp_reader_open(struct mlp_reader *reader, const char *path, bool only_regular,
                    const struct mlp_reader_calls *calls, struct mlp_error *error)
{
    struct mlp_reader opened = {.fd = -1, .path = path};
    int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (only_regular ? O_NONBLOCK : 0);
    while ((opened.fd = open(path, flags)) < 0) {
        if (errno != EINTR)
            return mlp_fail_errno(error, errno, "cannot open %s", path);
        int answer = ask(calls);
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

int mlp_reader_check(const struct mlp_reader *reader, struct mlp_error *error)
{
    if (!reader->is_regular)
        return 0;
    struct stat found;
    if (fstat(reader->fd, &found) != 0)
        return mlp_fail_errno(error, errno, "cannot stat %s", reader->path);
    struct mlp_reader_facts now = facts_of(&found);
    if (now.len != reader->facts.len)
        return fail_changed(reader, "another length", error);
    if (now.mtime_ns != reader->facts.mtime_ns)
        return fail_changed(reader, "it was written to", error);
    if (now.ctime_ns != reader->facts.ctime_ns)
        return fail_changed(reader, "it was replaced, renamed or given other rights", error);
    if (stat(reader->path, &found) != 0 || (uint64_t)found.st_dev != reader->facts.device ||
        (uint64_t)found.st_ino != reader->facts.inode)
        return fail_changed(reader, "another file took its name", error);
    return 0;
}

/* ---- reading ---- */

/* One read of at most out_len bytes. Returns: 0 and *got (0 at the end), or what ends the reading.
 */
static int read_piece(struct mlp_reader *reader, size_t *got, void *out, size_t out_len,
                      uint64_t offset, const struct mlp_reader_calls *calls,
                      struct mlp_error *error)
{
    for (;;) {
        ssize_t count = reader->is_regular ? pread(reader->fd, out, out_len, (off_t)offset)
                                           : read(reader->fd, out, out_len);
        if (count >= 0) {
            *got = (size_t)count;
            return 0;
        }
        if (errno != EINTR)
            return mlp_fail_errno(error, errno, "cannot read %s", reader->path);
        int answer = ask(calls);
        if (answer != 0)
            return answer;
    }
}

/* A regular file is read to the length that it had; one of length 0 (as those of /proc say) and
 * everything else to the end. */
static size_t wanted(const struct mlp_reader *reader, uint64_t done)
{
    if (!reader->is_regular || reader->facts.len == 0)
        return MLP_READER_PIECE;
    uint64_t left = reader->facts.len - done;
    return left < MLP_READER_PIECE ? (size_t)left : MLP_READER_PIECE;
}

static int run(struct mlp_reader *reader, uint64_t *len, uint8_t *piece,
               const struct mlp_reader_calls *calls, struct mlp_error *error)
{
    uint64_t done = 0;
    uint64_t ask_at = MLP_READER_ASK_LEN;
    for (size_t piece_len; (piece_len = wanted(reader, done)) > 0;) {
        size_t got = 0;
        int status = read_piece(reader, &got, piece, piece_len, done, calls, error);
        if (status == 0 && got > 0)
            status = calls->take(calls->context, piece, got, error);
        if (status != 0)
            return status;
        if (got == 0 && reader->facts.len > done)
            return fail_changed(reader, "it became shorter", error);
        if (got == 0)
            break;
        done += got;
        if (done >= ask_at) {
            ask_at = done + MLP_READER_ASK_LEN;
            status = ask(calls);
            if (status != 0)
                return status;
        }
    }
    *len = done;
    return 0;
}

int mlp_reader_run(struct mlp_reader *reader, uint64_t *len, const struct mlp_reader_calls *calls,
                   struct mlp_error *error)
{
    uint8_t *piece = malloc(MLP_READER_PIECE);
    if (piece == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "reading %s: out of memory", reader->path);
    if (reader->is_regular)
        (void)posix_fadvise(reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    uint64_t done = 0;
    int status = run(reader, &done, piece, calls, error);
    if (status == 0)
        status = mlp_reader_check(reader, error);
    if (status == 0)
        *len = done;
    free(piece);
    return status;
}

int mlp_reader_at(struct mlp_reader *reader, uint64_t offset, void *out, size_t out_len,
                  struct mlp_error *error)
{
    return mlp_file_read_at(reader->fd, offset, out, out_len, reader->path, error);
}
