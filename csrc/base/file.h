/* file.h - the few file operations that everything durable or private is made of.
 *
 * A path is always relative to a directory descriptor: pass AT_FDCWD for the working directory; an
 * absolute path ignores it. Descriptors are close-on-exec. Every call that the kernel may interrupt
 * is taken up again. Functions whose name has "private" make files 0600 and directories 0700
 * whatever the umask.
 *
 * Threads: functions touch only what they are given (and the file system).
 * Errors: where nothing else is said: MLP_E_IO, MLP_E_FULL, MLP_E_READONLY, MLP_E_NOT_FOUND,
 * MLP_E_MEMORY as mlp_fail_errno maps errno; error->system_errno has errno itself.
 */
#ifndef MLP_BASE_FILE_H
#define MLP_BASE_FILE_H

#include "base/bytes.h"
#include "base/status.h"

#include <fcntl.h> /* AT_FDCWD */
#include <stddef.h>
#include <stdint.h>

/* ---- opening ---- */

/* Creates a new regular file for writing, mode 0600: O_CREAT | O_EXCL | O_NOFOLLOW, then fchmod. A
 * file or link that is already there is never touched.
 * Returns: 0 (*fd is the caller's), or an error; an existing name is MLP_E_IO with system_errno
 *          EEXIST.
 */
int mlp_file_create_private(int *fd, int directory_fd, const char *path, struct mlp_error *error);

/* Makes a directory, mode 0700. One that is already there is left alone. Does not make parents.
 * Returns: 0; MLP_E_IO with ENOTDIR (a file or a link stands there).
 */
int mlp_file_make_private_directory(int directory_fd, const char *path, struct mlp_error *error);

/* Opens a directory for use as directory_fd. Links in the path are followed (a home directory may
 * be one): for paths that the user typed, never for names that come from evidence.
 * Returns: 0 (*fd is the caller's).
 */
int mlp_file_open_directory(int *fd, int directory_fd, const char *path, struct mlp_error *error);

/* Opens a regular file for reading; a FIFO or device is refused without waiting.
 * Returns: 0 (*fd is the caller's); MLP_E_IO with ELOOP (the last component is a link) or EINVAL
 *          (no regular file).
 */
int mlp_file_open_read(int *fd, int directory_fd, const char *path, struct mlp_error *error);

/* ---- reading ---- */

/* Appends everything from fd's position to its end to bytes.
 * In:      what: names the file in the error text.
 * Returns: 0; MLP_E_MALFORMED when there is more than max_len (bytes is as before); MLP_E_MEMORY.
 */
int mlp_file_read_capped(struct mlp_buffer *bytes, int fd, size_t max_len, const char *what,
                         struct mlp_error *error);

/* mlp_file_open_read, mlp_file_read_capped and close in one.
 * Returns: as those.
 */
int mlp_file_read_path(struct mlp_buffer *bytes, int directory_fd, const char *path, size_t max_len,
                       struct mlp_error *error);

/* Reads exactly out_len bytes at offset, moving no position: for random access into one descriptor.
 * Returns: 0; MLP_E_CHANGED when the file ends before (out is then undefined).
 */
int mlp_file_read_at(int fd, uint64_t offset, void *out, size_t out_len, const char *what,
                     struct mlp_error *error);

/* ---- writing ---- */

/* Writes all bytes at fd's position, however many calls that takes.
 * In:      what: names the file in the error text.
 * Returns: 0.
 */
int mlp_file_write_all(int fd, const void *bytes, size_t bytes_len, const char *what,
                       struct mlp_error *error);

/* fsync of a file or a directory descriptor.
 * Returns: 0.
 */
int mlp_file_sync(int fd, const char *what, struct mlp_error *error);

/* fsync of the directory that holds path, so that a name just made in it survives a crash.
 * Returns: 0.
 */
int mlp_file_sync_parent(int directory_fd, const char *path, struct mlp_error *error);

/* Renames within directory_fd (replacing new_path), then fsyncs the directory of new_path. The
 * file's own bytes must have been synced by the caller.
 * Returns: 0.
 */
int mlp_file_rename_durable(int directory_fd, const char *old_path, const char *new_path,
                            struct mlp_error *error);

/* Makes path hold exactly bytes, whole or not at all: a private temporary file beside it (a random
 * name with prefix ".tmp-"), written, fsynced, renamed onto path, the directory fsynced. After a
 * failure or a crash path is as before or new, never short; a failed call removes its temporary
 * file.
 * Returns: 0.
 */
int mlp_file_replace(int directory_fd, const char *path, const void *bytes, size_t bytes_len,
                     struct mlp_error *error);

/* ---- closing ---- */

/* Closes *fd when it is >= 0 and sets it to -1; errors of close are ignored: sync first. */
void mlp_file_close(int *fd);

/* Removes a name if it is there; errors are ignored (for clean-up after an earlier failure). */
void mlp_file_unlink_quietly(int directory_fd, const char *path);

#endif
