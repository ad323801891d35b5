/* reader.h - reading a whole file of the user's while others may write to it.
 *
 * Files are read by pread into memory of our own, never mapped: a file that is truncated meanwhile
 * is an error and no SIGBUS. Size, mtime and ctime (ns), device and inode are taken before and
 * compared after; what differs, and a path that leads to another file by then, is MLP_E_CHANGED. (A
 * write within the clock tick of the opening that keeps the size cannot be seen by anybody.)
 *
 * Links are followed: these are paths that the user typed. file.h reads paths from evidence.
 *
 * Threads: a struct mlp_reader belongs to one thread at a time.
 * Errors: as file.h, where nothing else is said.
 */
#ifndef MLP_BASE_READER_H
#define MLP_BASE_READER_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At most this many bytes at a time: half an L2 cache. */
#define MLP_READER_PIECE ((size_t)262144)

/* What is called while a file is read. interrupted: may be NULL; asked when a signal arrived, and
 * after every MLP_READER_ASK_LEN bytes; anything but 0 ends the reading and is returned as it is.
 */
struct mlp_reader_calls {
    /* The next bytes; valid during the call.
     * Returns: 0, or a status that ends the reading.
     */
    int (*take)(void *context, const void *bytes, size_t bytes_len, struct mlp_error *error);
    int (*interrupted)(void *context);
    void *context;
};

#define MLP_READER_ASK_LEN ((uint64_t)16777216)

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
    struct mlp_reader_facts facts; /* at the opening */
};

/* Opens path for reading. Close with mlp_reader_close.
 * In:      only_regular: refuse pipes and devices without waiting; otherwise opening a FIFO waits
 *          for its writer.
 *          calls: for interrupted alone; may be NULL.
 * Returns: 0; MLP_E_IO with EINVAL (only_regular) or EISDIR (a directory); what interrupted
 *          returned.
 */
int mlp_reader_open(struct mlp_reader *reader, const char *path, bool only_regular,
                    const struct mlp_reader_calls *calls, struct mlp_error *error);

/* Hands everything to calls->take, in order, then checks that nothing changed.
 * Returns: 0 and *len; MLP_E_CHANGED; what a call returned.
 */
int mlp_reader_run(struct mlp_reader *reader, uint64_t *len, const struct mlp_reader_calls *calls,
                   struct mlp_error *error);

/* Exactly out_len bytes at offset of a regular file.
 * Returns: 0, MLP_E_CHANGED (it ends before).
 */
int mlp_reader_at(struct mlp_reader *reader, uint64_t offset, void *out, size_t out_len,
                  struct mlp_error *error);

/* Whether the file is still what was opened, and stands under its path. Nothing is checked for
 * pipes and devices.
 * Returns: 0 or MLP_E_CHANGED.
 */
int mlp_reader_check(const struct mlp_reader *reader, struct mlp_error *error);

void mlp_reader_close(struct mlp_reader *reader); /* a second call does nothing */

#endif
