#include "sign/key_file.h"

#include "base/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int mlp_key_file_create(int directory_fd, const char *path, const void *bytes, size_t bytes_len,
                        struct mlp_error *error)
{
    int fd;
    struct mlp_error detail;
    int status = mlp_file_create_private(&fd, directory_fd, path, &detail);
    if (status != 0 && detail.system_errno == EEXIST)
        return mlp_fail(error, MLP_E_KEY,
                        "cannot create the key file %s: it exists already, and a key is never "
                        "overwritten; choose another name or move it away",
                        path);
    if (status == 0) {
        status = mlp_file_write_all(fd, bytes, bytes_len, path, &detail);
        if (status == 0)
            status = mlp_file_sync(fd, path, &detail);
        mlp_file_close(&fd);
        if (status == 0)
            status = mlp_file_sync_parent(directory_fd, path, &detail);
        if (status != 0)
            mlp_file_unlink_quietly(directory_fd, path);
    }
    if (status != 0 && error != NULL)
        *error = detail;
    return status;
}

/* Who may read or change the file; asked of the open descriptor, so nobody can swap it in between.
 */
static int check_private(int fd, const char *path, struct mlp_error *error)
{
    struct stat facts;
    if (fstat(fd, &facts) != 0)
        return mlp_fail_errno(error, errno, "cannot stat the key file %s", path);
    if (facts.st_uid != geteuid() && facts.st_uid != 0)
        return mlp_fail(error, MLP_E_KEY,
                        "refused the key file %s: it belongs to user %lu, not to you (user %lu)",
                        path, (unsigned long)facts.st_uid, (unsigned long)geteuid());
    if ((facts.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return mlp_fail(
            error, MLP_E_KEY,
            "refused the key file %s: others may use it (mode %04o, expected 0600); run "
            "chmod 600 on it, and replace the key if somebody may have read it",
            path, (unsigned)(facts.st_mode & 07777));
    return 0;
}

int mlp_key_file_read(struct mlp_buffer *bytes, int directory_fd, const char *path,
                      struct mlp_error *error)
{
    int fd;
    struct mlp_error detail;
    int status = mlp_file_open_read(&fd, directory_fd, path, &detail);
    if (status == 0) {
        status = check_private(fd, path, &detail);
        if (status == 0)
            status = mlp_file_read_capped(bytes, fd, MLP_KEY_FILE_MAX, path, &detail);
        mlp_file_close(&fd);
    } else if (detail.system_errno == ELOOP) {
        status =
            mlp_fail(&detail, MLP_E_KEY,
                     "refused the key file %s: it is a symbolic link; name the file itself", path);
    } else if (detail.system_errno == EINVAL) {
        status = mlp_fail(&detail, MLP_E_KEY, "refused the key file %s: not a regular file", path);
    }
    if (status == MLP_E_MALFORMED)
        status = mlp_fail(&detail, MLP_E_KEY, "refused the key file %s: larger than %d bytes", path,
                          MLP_KEY_FILE_MAX);
    if (status != 0 && error != NULL)
        *error = detail;
    return status;
}
