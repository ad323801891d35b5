/* reader.h - reading a file of the user's while others may write to it.
 *
 * Files are read by pread into memory of our own, never mapped: a file that is truncated meanwhile
 * is an error and no SIGBUS. Size, mtime and ctime (ns), device and inode are taken before and
 * compared after; what differs, and a path that leads to another file by then, is MLP_E_CHANGED. (A
 * write within the clock tick of the opening that keeps the size cannot be seen by anybody.)
 *
 * Links are followed: these are paths that the user typed. file.h reads paths from evidence.
 *
 * Threads: a struct mlp_reader belongs to one thread at a time, but for mlp_reader_at, which
 * several may call at once.
 * Errors: as file.h, where nothing else is said.
 */
#ifndef MLP_BASE_READER_H
#define MLP_BASE_READER_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mlp_reader_facts {
    uint64_t device;
    uint64_t inode;
    uint64_t len;
    int64_t mtime_ns;
    int64_t ctime_ns;
};

struct mlp_reader {
    int fd;           /* -1 when closed */
    const char *path; /* the caller's, as long as the reader is open */
    bool is_regular;  /* otherwise a pipe or device: no length, read once, from where it stands */
    bool has_len;     /* facts.len is how many bytes will be read; otherwise only reading tells */
    struct mlp_reader_facts facts; /* at the opening */
    uint64_t at;                   /* what mlp_reader_next has read */
};

/* Whom to ask when a signal ends a call that waits. */
struct mlp_reader_ask {
    int (*interrupted)(
        void *context); /* anything but 0 ends the reading, and is returned as it is */
    void *context;
};

/* Opens path for reading. Close with mlp_reader_close.
 * In:      only_regular: refuse pipes and devices without waiting; otherwise opening a FIFO waits
 *          for its writer.
 *          ask: NULL: a call that a signal ended is taken up again.
 * Returns: 0; MLP_E_CONFIG (a pipe or device, only_regular); MLP_E_IO with EISDIR (a directory);
 *          what ask returned.
 */
int mlp_reader_open(struct mlp_reader *reader, const char *path, bool only_regular,
                    const struct mlp_reader_ask *ask, struct mlp_error *error);

/* The bytes after those that earlier calls read. A regular file is read to the length that it had at
 * the opening; everything else to the end, and so is what has a length without a block to keep it in:
 * 0 or 4096 is what the files of /proc and /sys say, whatever they hold (proc(5), sysfs(5)).
 * Returns: 0 and *got, which is less than out_len at the end alone; MLP_E_CHANGED (it became
 *          shorter); what ask returned.
 */
int mlp_reader_next(struct mlp_reader *reader, size_t *got, void *out, size_t out_len,
                    const struct mlp_reader_ask *ask, struct mlp_error *error);

/* Returns: how many bytes will be read; 0 where only reading tells. */
uint64_t mlp_reader_len(const struct mlp_reader *reader);

/* Exactly out_len bytes at offset of a regular file.
 * Returns: 0, MLP_E_CHANGED (it ends before).
 */
int mlp_reader_at(const struct mlp_reader *reader, uint64_t offset, void *out, size_t out_len,
                  struct mlp_error *error);

/* Tells the system that a regular file will be read from front to back. */
void mlp_reader_expect_sequence(const struct mlp_reader *reader);

/* Whether the file is still what was opened, and stands under its path. Nothing is checked for
 * pipes and devices.
 * Returns: 0 or MLP_E_CHANGED.
 */
int mlp_reader_check(const struct mlp_reader *reader, struct mlp_error *error);

void mlp_reader_close(struct mlp_reader *reader); /* a second call does nothing */

#endif
