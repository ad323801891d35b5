/* read_faults.h - system calls that open, look at and read files, made to fail; and files that change
 * under a reader at a moment that the test chooses.
 *
 * As system_faults.h, whose counters it uses with the kind READING_CALLS.
 */
#ifndef MLP_TESTS_READ_FAULTS_H
#define MLP_TESTS_READ_FAULTS_H

#include "system_faults.h"

#include <stddef.h>

#define READ_FAULT fault(READING_CALLS)

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000 /* the headers hide it without _GNU_SOURCE (open(2)) */
#endif

/* Called before the read that finds reads_to_go at 0, if it is not NULL; in a test of one thread. */
static void (*before_read)(void);
static long reads_to_go;

static inline void come_to_read(void)
{
    if (before_read != NULL && reads_to_go-- == 0)
        before_read();
}

SEAM int open(const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return READ_FAULT ? -1 : (int)syscall(SYS_openat, AT_FDCWD, name, flags, mode);
}

SEAM int fstat(int fd, struct stat *facts)
{
    return READ_FAULT ? -1 : fstatat(fd, "", facts, AT_EMPTY_PATH);
}

SEAM int stat(const char *name, struct stat *facts)
{
    return READ_FAULT ? -1 : fstatat(AT_FDCWD, name, facts, 0);
}

SEAM ssize_t read(int fd, void *bytes, size_t len)
{
    come_to_read();
    return READ_FAULT ? -1 : (ssize_t)syscall(SYS_read, fd, bytes, len);
}

SEAM ssize_t pread(int fd, void *bytes, size_t len, off_t offset)
{
    come_to_read();
    return READ_FAULT ? -1 : (ssize_t)syscall(SYS_pread64, fd, bytes, len, offset);
}

#if ALLOCATIONS_CAN_FAIL
extern void *__libc_memalign(size_t alignment, size_t size);

SEAM void *aligned_alloc(size_t alignment, size_t size)
{
    return fault(ALLOCATIONS) ? NULL : __libc_memalign(alignment, size);
}
#endif

#endif
