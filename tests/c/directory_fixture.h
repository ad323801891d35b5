/* directory_fixture.h - a fresh temporary directory for a test program. */
#ifndef MLP_TESTS_DIRECTORY_FIXTURE_H
#define MLP_TESTS_DIRECTORY_FIXTURE_H

#include "base/file.h"
#include "check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int directory = -1; /* between make_directory and remove_directory */
static char directory_path[] = "/tmp/mlprov-test-XXXXXX";

static inline bool make_directory(void)
{
    return CHECK(mkdtemp(directory_path) != NULL) &&
           CHECK(mlp_file_open_directory(&directory, AT_FDCWD, directory_path, NULL) == 0);
}

static inline void remove_directory(void)
{
    char command[64];
    mlp_file_close(&directory);
    (void)snprintf(command, sizeof command, "rm -rf %s", directory_path);
    if (system(command) != 0)
        printf("  cannot remove %s\n", directory_path);
}

static inline mode_t mode_of(const char *path)
{
    struct stat facts;
    return fstatat(directory, path, &facts, AT_SYMLINK_NOFOLLOW) == 0 ? facts.st_mode & 07777 : 0;
}

static inline void put_file(const char *path, const void *bytes, size_t bytes_len)
{
    mlp_file_unlink_quietly(directory, path);
    CHECK(mlp_file_replace(directory, path, bytes, bytes_len, NULL) == 0);
}

#endif
