#include "store/lock.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && !defined(F_OFD_SETLK)
/* The headers hide it without _GNU_SOURCE; the number is the kernel's on every architecture
 * (include/uapi/asm-generic/fcntl.h). */
#define F_OFD_SETLK 37
#endif

#define PAUSE_FIRST_NS 500000L   /* 0.5 ms, doubled up to */
#define PAUSE_MAX_NS   20000000L /* 20 ms */

/* Returns: 0, or -1 with errno. */
static int try_lock(int fd)
{
#ifdef F_OFD_SETLK
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &whole);
#else
    return flock(fd, LOCK_EX | LOCK_NB);
#endif
}

static void unlock(int fd)
{
#ifdef F_OFD_SETLK
    struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    (void)fcntl(fd, F_OFD_SETLK, &whole);
#else
    (void)flock(fd, LOCK_UN);
#endif
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int mlp_lock_descriptor(int fd, const char *path, int timeout_ms, struct mlp_error *error)
{
    int64_t deadline = now_ms() + timeout_ms;
    long pause_ns = PAUSE_FIRST_NS;
    while (try_lock(fd) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EACCES)
            return mlp_fail_errno(error, errno, "cannot lock %s", path);
        if (now_ms() >= deadline)
            return mlp_fail(error, MLP_E_BUSY,
                            "cannot lock %s: another process or thread has held it for %d ms; try "
                            "again later",
                            path, timeout_ms);
        struct timespec pause = {.tv_sec = 0, .tv_nsec = pause_ns};
        (void)nanosleep(&pause, NULL);
        pause_ns = pause_ns * 2 < PAUSE_MAX_NS ? pause_ns * 2 : PAUSE_MAX_NS;
    }
    return 0;
}

int mlp_lock_acquire(int *fd, int directory_fd, const char *path, int timeout_ms,
                     struct mlp_error *error)
{
    int opened;
    do {
        opened =
            openat(directory_fd, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
    } while (opened < 0 && errno == EINTR);
    if (opened < 0)
        return mlp_fail_errno(error, errno, "cannot open the lock file %s", path);
    int status = mlp_lock_descriptor(opened, path, timeout_ms, error);
    if (status != 0)
        mlp_file_close(&opened);
    else
        *fd = opened;
    return status;
}

void mlp_lock_release(int *fd)
{
    if (*fd >= 0)
        unlock(*fd);
    mlp_file_close(fd);
}
