/* Private creation, whole replacement, what is not opened. */
#include "base/bytes.h"
#include "base/file.h"
#include "check.h"
#include "directory_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void what_is_no_file_of_its_own_is_not_opened(void)
{
    int fd = -1;
    struct mlp_error error;
    CHECK(mlp_file_make_private_directory(directory, "a", NULL) == 0);
    CHECK(mlp_file_make_private_directory(directory, "a", NULL) == 0);
    CHECK(mlp_file_make_private_directory(directory, "a/b", NULL) == 0 && mode_of("a/b") == 0700);
    put_file("a/b/f", "data", 4);
    CHECK(symlinkat("b", directory, "a/link") == 0 && symlinkat("f", directory, "a/b/link") == 0);
    CHECK(mlp_file_open_read(&fd, directory, "a/b/link", &error) == MLP_E_IO);
    CHECK(error.system_errno == ELOOP);
    CHECK(mlp_file_open_read(&fd, directory, "a/b", &error) == MLP_E_IO);
    CHECK(error.system_errno == EINVAL);
    CHECK(mlp_file_open_read(&fd, directory, "a/none/f", &error) == MLP_E_NOT_FOUND);
    CHECK(mlp_file_make_private_directory(directory, "a/link", &error) == MLP_E_IO);
    CHECK(fd == -1);
    CHECK(mlp_file_open_read(&fd, directory, "a/b/f", NULL) == 0);
    mlp_file_close(&fd);
}

static void a_replaced_file_is_whole_and_private(void)
{
    struct mlp_buffer bytes = {0};
    put_file("state", "old", 3);
    CHECK(mlp_file_replace(directory, "state", "newer", 5, NULL) == 0 && mode_of("state") == 0600);
    CHECK(mlp_file_read_path(&bytes, directory, "state", 4, NULL) == MLP_E_MALFORMED);
    CHECK(bytes.len == 0);
    CHECK(mlp_file_read_path(&bytes, directory, "state", 5, NULL) == 0);
    CHECK(bytes.len == 5 && memcmp(bytes.data, "newer", 5) == 0);
    CHECK(mlp_file_replace(directory, "a", "x", 1, NULL) != 0); /* a directory stands there */
    CHECK(mlp_file_replace(directory, "gone/state", "x", 1, NULL) == MLP_E_NOT_FOUND);
    mlp_buffer_clear(&bytes);
}

static void a_read_beyond_the_end_says_that_the_file_changed(void)
{
    uint8_t out[8];
    int fd = -1;
    put_file("ten", "0123456789", 10);
    CHECK(mlp_file_open_read(&fd, directory, "ten", NULL) == 0);
    CHECK(mlp_file_read_at(fd, 2, out, 8, "ten", NULL) == 0 && memcmp(out, "23456789", 8) == 0);
    CHECK(mlp_file_read_at(fd, 3, out, 8, "ten", NULL) == MLP_E_CHANGED);
    CHECK(mlp_file_read_at(fd, UINT64_MAX, out, 8, "ten", NULL) == MLP_E_RANGE);
    mlp_file_close(&fd);
}

static void writing_to_a_full_device_says_so(void)
{
    struct mlp_error error;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        SKIP("no /dev/full here");
        return;
    }
    CHECK(mlp_file_write_all(fd, "x", 1, "the test", &error) == MLP_E_FULL);
    CHECK(error.system_errno == ENOSPC);
    CHECK(strstr(error.message, "the test: No space left on device; free space and try again"));
    mlp_file_close(&fd);
}

int main(void)
{
    if (!make_directory())
        return 1;
    RUN(what_is_no_file_of_its_own_is_not_opened);
    RUN(a_replaced_file_is_whole_and_private);
    RUN(a_read_beyond_the_end_says_that_the_file_changed);
    RUN(writing_to_a_full_device_says_so);
    remove_directory();
    return check_finish();
}
