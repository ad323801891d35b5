/* Errors: what was seen and what to do stay apart, whatever the names in them hold. */
#include "base/status.h"
#include "check.h"
#include "system_faults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LONG_LEN 4095 /* PATH_MAX without the NUL */

static bool has(const struct mlp_error *error, const char *what, const char *remedy)
{
    size_t what_len = mlp_error_what_len(error);
    return what_len == strlen(what) && memcmp(error->message, what, what_len) == 0 &&
           strcmp(mlp_error_remedy(error), remedy) == 0;
}

static bool ends_with(const struct mlp_error *error, const char *end)
{
    size_t len = mlp_error_what_len(error), end_len = strlen(end);
    return len >= end_len && memcmp(error->message + len - end_len, end, end_len) == 0;
}

static const char *long_path(void)
{
    static char path[LONG_LEN + 1];
    memset(path, 'p', LONG_LEN);
    memcpy(path, "/first/", 7);
    memcpy(path + LONG_LEN - 5, "/last", 5);
    return path;
}

static void a_semicolon_in_a_name_separates_nothing(void)
{
    struct mlp_error error;
    (void)mlp_fail(&error, MLP_E_IO, "cannot read %s: no; read it %s", "a; b", "again; or not");
    CHECK(has(&error, "cannot read a; b: no", "read it again; or not"));
    (void)mlp_fail(&error, MLP_E_IO, "cannot read %s", "a; b");
    CHECK(has(&error, "cannot read a; b", ""));
    CHECK(mlp_fail_errno(&error, ENOENT, "cannot open %s", "a; b") == MLP_E_NOT_FOUND);
    CHECK(has(&error, "cannot open a; b: No such file or directory", "check the path"));
    CHECK(strcmp(error.message, "cannot open a; b: No such file or directory; check the path") ==
          0);
}

static void an_empty_remedy_is_none(void)
{
    struct mlp_error error;
    (void)mlp_fail(&error, MLP_E_IO, "cannot %s; %s", "read", "");
    CHECK(has(&error, "cannot read", "") && strcmp(error.message, "cannot read") == 0);
}

static void a_long_name_swallows_neither_reason_nor_remedy(void)
{
    struct mlp_error error;
    (void)mlp_fail_errno(&error, EACCES, "cannot rename %s to %s", long_path(), long_path());
    CHECK(strncmp(error.message, "cannot rename /first/", 21) == 0);
    CHECK(ends_with(&error, "p/last: Permission denied"));
    CHECK(strstr(error.message, "p\xE2\x80\xA6p") != NULL);
    CHECK(strncmp(mlp_error_remedy(&error), "change its permissions", 22) == 0);
    (void)mlp_fail(&error, MLP_E_CHANGED, "%s changed; %s", long_path(), long_path());
    CHECK(ends_with(&error, "/last changed"));
    CHECK(strncmp(mlp_error_remedy(&error), "/first/", 7) == 0);
    CHECK(strlen(error.message) < MLP_ERROR_MAX);
}

/* Then the end is lost, wherever it falls: before, within or behind what separates the two. */
static void without_memory_a_long_text_keeps_its_beginning(void)
{
    if (!ALLOCATIONS_CAN_FAIL) {
        SKIP("the sanitizer's allocator stands where allocations would be made to fail");
        return;
    }
    for (int len = MLP_ERROR_MAX - 8; len < MLP_ERROR_MAX + 8; len++) {
        struct mlp_error error;
        failing = ALLOCATIONS;
        calls_to_go = 0;
        (void)mlp_fail(&error, MLP_E_IO, "%.*s; again", len, long_path());
        failing = NOTHING;
        CHECK(strncmp(error.message, "/first/", 7) == 0);
        CHECK(mlp_error_what_len(&error) > MLP_ERROR_WHAT_MAX - 8);
        CHECK(strncmp(mlp_error_remedy(&error), "again", strlen(mlp_error_remedy(&error))) == 0);
    }
}

static void a_text_is_never_cut_within_a_character(void)
{
    static const char *const characters[] = {"\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\xA6\x8A"};
    for (size_t i = 0; i < 3; i++) {
        char name[LONG_LEN + 1] = "";
        size_t len = strlen(characters[i]);
        for (size_t at = 0; at + len < LONG_LEN; at += len)
            memcpy(name + at, characters[i], len + 1);
        for (int shift = 0; shift < 4; shift++) {
            struct mlp_error error;
            (void)mlp_fail(&error, MLP_E_IO, "%.*s%s", shift, "xxx", name);
            size_t seen = strlen(error.message) - 3 - (size_t)(shift < 3 ? shift : 3);
            CHECK(seen % len == 0 && seen > MLP_ERROR_WHAT_MAX / 2);
        }
    }
}

static void bytes_that_are_no_characters_are_cut_like_others(void)
{
    struct mlp_error error;
    char name[LONG_LEN + 1];
    memset(name, 0xBF, LONG_LEN);
    name[LONG_LEN] = '\0';
    (void)mlp_fail(&error, MLP_E_IO, "cannot read %s: broken", name);
    CHECK(ends_with(&error, ": broken") && mlp_error_what_len(&error) > MLP_ERROR_WHAT_MAX - 16);
}

static void an_error_may_be_put_into_the_place_where_it_happened(void)
{
    struct mlp_error error;
    (void)mlp_fail_errno(&error, ENOENT, "cannot open %s", "b; c");
    CHECK(mlp_fail_in(&error, MLP_E_NOT_FOUND, "%s", "a; store") == MLP_E_NOT_FOUND);
    CHECK(has(&error, "a; store: cannot open b; c: No such file or directory", "check the path"));
    CHECK(error.system_errno == ENOENT);
    CHECK(mlp_fail_in(NULL, MLP_E_IO, "x") == MLP_E_IO);
    CHECK(mlp_fail(NULL, MLP_E_IO, "x") == MLP_E_IO);
    CHECK(mlp_fail_errno(NULL, ENOENT, "x") == MLP_E_NOT_FOUND);
}

int main(void)
{
    RUN(a_semicolon_in_a_name_separates_nothing);
    RUN(an_empty_remedy_is_none);
    RUN(a_long_name_swallows_neither_reason_nor_remedy);
    RUN(without_memory_a_long_text_keeps_its_beginning);
    RUN(a_text_is_never_cut_within_a_character);
    RUN(bytes_that_are_no_characters_are_cut_like_others);
    RUN(an_error_may_be_put_into_the_place_where_it_happened);
    return check_finish();
}
