/* key_file.h - files that hold a private key: made once, private to their owner, read with suspicion.
 *
 * Files are refused that are a symbolic link, not a regular file, larger than 64 KiB, readable or
 * writable by group or others, or owned by anybody but the effective user or root.
 *
 * Threads: functions touch only what they are given (and the file).
 * Errors: MLP_E_KEY says why a file cannot be used and what to do.
 */
#ifndef MLP_SIGN_KEY_FILE_H
#define MLP_SIGN_KEY_FILE_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>

#define MLP_KEY_FILE_MAX 65536

/* Writes a new file: O_CREAT | O_EXCL | O_NOFOLLOW, 0600 whatever the umask, file and directory
 * fsynced. An existing path is never overwritten.
 * In:      path: relative to directory_fd (AT_FDCWD: the working directory) or absolute.
 * Returns: 0; MLP_E_KEY (path exists already); MLP_E_IO, MLP_E_FULL, MLP_E_READONLY, MLP_E_NOT_FOUND
 *          (the directory). After a failure no file is left.
 */
int mlp_key_file_create(int directory_fd, const char *path, const void *bytes, size_t bytes_len,
                        struct mlp_error *error);

/* Appends a file's bytes. Reserve 2 x (MLP_KEY_FILE_MAX + 1) bytes before: a buffer that grows leaves
 * copies behind.
 * Returns: 0; MLP_E_NOT_FOUND; MLP_E_KEY (any refusal named above); MLP_E_IO, MLP_E_READONLY (not
 *          allowed to read it); MLP_E_MEMORY.
 */
int mlp_key_file_read(struct mlp_buffer *bytes, int directory_fd, const char *path,
                      struct mlp_error *error);

#endif
