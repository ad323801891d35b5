/* system_faults.h - system calls that write, and allocations, made to fail or to be a process's
 * last.
 *
 * A program that includes this defines write, fsync, rename, malloc, ... itself; the linker then
 * takes them for its own objects and for the shared libraries alike (SQLite, OpenSSL). Each counts
 * down, and the call that finds 0 does not happen. Linux with glibc; include it in one file of a
 * program.
 */
#ifndef MLP_TESTS_SYSTEM_FAULTS_H
#define MLP_TESTS_SYSTEM_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { NOTHING, SYSTEM_CALLS, ALLOCATIONS, READING_CALLS };

static enum kind failing; /* what is counted */
static long calls_to_go;  /* the call that fails is the one that finds 0 here */
static int fault_errno;   /* with what */
static bool fault_dies;   /* the call does not fail, it is the process's last */
static bool fault_happened;
static enum kind fault_kind __attribute__((unused)); /* of the sweep */

static inline bool fault(enum kind kind)
{
    if (failing != kind || calls_to_go-- != 0)
        return false;
    if (fault_dies)
        (void)syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    fault_happened = true;
    errno = kind == ALLOCATIONS ? ENOMEM : fault_errno;
    return true;
}

#define SEAM  __attribute__((visibility("default")))
#define FAULT fault(SYSTEM_CALLS)

/* Half of it reaches the file: a full disk takes what fits. */
SEAM ssize_t write(int fd, const void *bytes, size_t len)
{
    if (failing == SYSTEM_CALLS && calls_to_go == 0)
        (void)syscall(SYS_write, fd, bytes, len / 2);
    return FAULT ? -1 : (ssize_t)syscall(SYS_write, fd, bytes, len);
}

SEAM ssize_t pwrite64(int fd, const void *bytes, size_t len, int64_t offset);
SEAM ssize_t pwrite64(int fd, const void *bytes, size_t len, int64_t offset)
{
    if (failing == SYSTEM_CALLS && calls_to_go == 0)
        (void)syscall(SYS_pwrite64, fd, bytes, len / 2, offset);
    return FAULT ? -1 : (ssize_t)syscall(SYS_pwrite64, fd, bytes, len, offset);
}

/* Nobody pulls the plug: not waiting for the disk makes the sweep fast. */
SEAM int fsync(int fd)
{
    (void)fd;
    return FAULT ? -1 : 0;
}

SEAM int fdatasync(int fd)
{
    (void)fd;
    return FAULT ? -1 : 0;
}

static inline int open_at(int directory, const char *name, int flags, mode_t mode)
{
    return FAULT ? -1 : (int)syscall(SYS_openat, directory, name, flags, mode);
}

#define OPEN_WITH(directory, name, flags)                                                          \
    va_list arguments;                                                                             \
    va_start(arguments, flags);                                                                    \
    mode_t mode = ((flags)&O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;                          \
    va_end(arguments);                                                                             \
    return open_at(directory, name, flags, mode)

SEAM int openat(int directory, const char *name, int flags, ...)
{
    OPEN_WITH(directory, name, flags);
}

SEAM int open64(const char *name, int flags, ...);
SEAM int open64(const char *name, int flags, ...)
{
    OPEN_WITH(AT_FDCWD, name, flags);
}

SEAM int renameat(int from, const char *old_name, int to, const char *new_name)
{
    return FAULT ? -1 : (int)syscall(SYS_renameat2, from, old_name, to, new_name, 0);
}

SEAM int mkdirat(int directory, const char *name, mode_t mode)
{
    return FAULT ? -1 : (int)syscall(SYS_mkdirat, directory, name, mode);
}

SEAM int unlink(const char *name)
{
    return FAULT ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0);
}

SEAM int ftruncate(int fd, off_t len)
{
    return FAULT ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

SEAM int ftruncate64(int fd, int64_t len);
SEAM int ftruncate64(int fd, int64_t len)
{
    return FAULT ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

SEAM int fchmod(int fd, mode_t mode)
{
    return FAULT ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOCATIONS_CAN_FAIL 0 /* the sanitizer's own allocator stands there */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ALLOCATIONS_CAN_FAIL 0
#endif
#endif
#ifndef ALLOCATIONS_CAN_FAIL
#define ALLOCATIONS_CAN_FAIL 1
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);

SEAM void *malloc(size_t size)
{
    return fault(ALLOCATIONS) ? NULL : __libc_malloc(size);
}

SEAM void *calloc(size_t count, size_t size)
{
    return fault(ALLOCATIONS) ? NULL : __libc_calloc(count, size);
}

SEAM void *realloc(void *memory, size_t size)
{
    return fault(ALLOCATIONS) ? NULL : __libc_realloc(memory, size);
}
#endif

#endif
