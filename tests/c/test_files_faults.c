/* Files that fail or change under the reader, at every call and at chosen moments: an error that says
 * so, never a digest of what was not there.
 */
#include <stdlib.h> /* says which libc it is */

#if !defined(__linux__) || !defined(__GLIBC__)
#include "check.h"

int main(void)
{
    SKIP("failing system calls are put in place of glibc's on Linux only");
    return 77;
}
#else

#include "read_faults.h"

#include "check.h"
#include "directory_fixture.h"
#include "files/digest.h"
#include "hash/pool.h"

#include <string.h>

#define MIB       ((size_t)1 << 20)
#define INPUT_LEN (3 * MIB + 1025)

static uint8_t *input;
static char path[64];

/* ---- what is played again and again, on one thread ---- */

enum way { BY_PARTS, BY_PIECES, WITH_RANGES, WAYS_COUNT };

static int digest_in(enum way way, uint8_t rows[3][MLP_HASH_MAX_LEN], struct mlp_error *error)
{
    const struct mlp_hash_request requests[] = {{MLP_BLAKE3, rows[0]}, {MLP_SHA256, rows[1]}};
    const struct mlp_file_range range = {1000, 2 * MIB + 1};
    const struct mlp_file_ranges ranges = {MLP_BLAKE3, &range, 1, rows[2]};
    uint64_t len;
    return mlp_file_digest(requests, way == BY_PARTS ? 1 : 2, way == WITH_RANGES ? &ranges : NULL,
                           &len, path, 1, NULL, error);
}

static bool are_right(enum way way, uint8_t rows[3][MLP_HASH_MAX_LEN])
{
    uint8_t expected[32];
    mlp_blake3(expected, input, INPUT_LEN);
    bool right = memcmp(rows[0], expected, 32) == 0;
    if (way != BY_PARTS)
        right = right && mlp_hash(MLP_SHA256, expected, input, INPUT_LEN, NULL) == 0 &&
                memcmp(rows[1], expected, 32) == 0;
    mlp_blake3(expected, input + 1000, 2 * MIB + 1 - 1000);
    return right && (way != WITH_RANGES || memcmp(rows[2], expected, 32) == 0);
}

static void begin_failing(enum kind kind, long n, int system_errno)
{
    fault_errno = system_errno;
    fault_happened = false;
    calls_to_go = n;
    failing = kind;
}

/* ---- calls that fail ---- */

/* Fails every call in turn. Returns: how many failures there were. */
static unsigned sweep_one(enum way way, enum kind kind, int system_errno, int status)
{
    for (unsigned n = 0;; n++) {
        uint8_t rows[3][MLP_HASH_MAX_LEN];
        struct mlp_error error = {0};
        begin_failing(kind, (long)n, system_errno);
        int answer = digest_in(way, rows, &error);
        failing = NOTHING;
        CHECK(answer == 0 ? are_right(way, rows) : answer == status && error.message[0] != '\0');
        CHECK(answer != 0 || !fault_happened || kind == ALLOCATIONS); /* it does with less memory */
        if (!fault_happened || check_failures_here > 10)
            return n;
    }
}

static void a_call_that_fails_is_an_error_of_the_file(void)
{
    put_file("file", input, INPUT_LEN);
    for (enum way way = BY_PARTS; way < WAYS_COUNT; way++) {
        CHECK(sweep_one(way, READING_CALLS, EIO, MLP_E_IO) >= 6);
        CHECK(sweep_one(way, READING_CALLS, ENOMEM, MLP_E_MEMORY) >= 6);
    }
}

static void a_call_that_a_signal_ends_is_made_again(void)
{
    put_file("file", input, INPUT_LEN);
    for (unsigned n = 0; n < 4; n++) {
        uint8_t rows[3][MLP_HASH_MAX_LEN];
        begin_failing(READING_CALLS, n == 1 ? 0 : (long)n, EINTR); /* not fstat: it never waits */
        CHECK(digest_in(BY_PIECES, rows, NULL) == 0 && are_right(BY_PIECES, rows));
        failing = NOTHING;
    }
}

static void an_allocation_that_fails_is_an_error_or_does_not_matter(void)
{
    if (!ALLOCATIONS_CAN_FAIL) {
        SKIP("a sanitizer has the allocator");
        return;
    }
    put_file("file", input, INPUT_LEN);
    for (enum way way = BY_PARTS; way < WAYS_COUNT; way++) {
        uint8_t rows[3][MLP_HASH_MAX_LEN];
        CHECK(digest_in(way, rows, NULL) == 0); /* OpenSSL keeps what it makes at first use */
        for (unsigned n = 0;; n++) {
            begin_failing(ALLOCATIONS, (long)n, ENOMEM);
            int answer = digest_in(way, rows, NULL);
            failing = NOTHING;
            CHECK(answer == 0 ? are_right(way, rows)
                              : answer == MLP_E_MEMORY || answer == MLP_E_CRYPTO);
            if (!fault_happened || check_failures_here > 10)
                break;
        }
    }
}

/* ---- many ---- */

#define FILES_COUNT 20

static char many_paths[FILES_COUNT][64];

static size_t len_of(size_t index)
{
    return index == 5 ? 600000 : index * 700;
}

static void put_many(void)
{
    for (size_t i = 0; i < FILES_COUNT; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "m%zu", i);
        put_file(name, input, len_of(i));
        (void)snprintf(many_paths[i], sizeof many_paths[i], "%s/%s", directory_path, name);
    }
}

static int digest_many(struct mlp_file_entry *entries)
{
    memset(entries, 0, FILES_COUNT * sizeof *entries);
    for (size_t i = 0; i < FILES_COUNT; i++)
        entries[i].path = many_paths[i];
    return mlp_file_digest_many(entries, FILES_COUNT, MLP_BLAKE3, 1, NULL, NULL);
}

/* Returns: how many failed; those that did not are right. */
static unsigned count_failed(const struct mlp_file_entry *entries)
{
    unsigned failed = 0;
    for (size_t i = 0; i < FILES_COUNT; i++) {
        uint8_t expected[32];
        mlp_blake3(expected, input, len_of(i));
        if (entries[i].outcome == MLP_FILE_FAILED)
            failed++;
        else
            CHECK(entries[i].len == len_of(i) && memcmp(entries[i].digest, expected, 32) == 0);
    }
    return failed;
}

static void a_file_that_fails_leaves_the_others_hashed(void)
{
    for (long n = 0;; n++) {
        struct mlp_file_entry entries[FILES_COUNT];
        begin_failing(READING_CALLS, n, EIO);
        CHECK(digest_many(entries) == 0);
        failing = NOTHING;
        CHECK(count_failed(entries) == (fault_happened ? 1 : 0));
        mlp_file_entries_clear(entries, FILES_COUNT);
        if (!fault_happened || check_failures_here > 10) {
            CHECK(n >= 4 * FILES_COUNT);
            return;
        }
    }
}

static void without_memory_for_a_list_there_is_an_error(void)
{
    if (!ALLOCATIONS_CAN_FAIL) {
        SKIP("a sanitizer has the allocator");
        return;
    }
    for (long n = 0;; n++) {
        struct mlp_file_entry entries[FILES_COUNT];
        begin_failing(ALLOCATIONS, n, ENOMEM);
        int answer = digest_many(entries);
        failing = NOTHING;
        CHECK(answer == 0 ? count_failed(entries) <= 1 : answer == MLP_E_MEMORY);
        mlp_file_entries_clear(entries, FILES_COUNT);
        if (!fault_happened || check_failures_here > 10)
            return;
    }
}

static void a_failure_without_memory_for_its_text_is_a_failure_still(void)
{
    struct mlp_file_entry entry = {.path = "/no/such/file"};
    if (!ALLOCATIONS_CAN_FAIL) {
        SKIP("a sanitizer has the allocator");
        return;
    }
    begin_failing(ALLOCATIONS, 2, ENOMEM); /* after the two of the pieces */
    CHECK(mlp_file_digest_many(&entry, 1, MLP_BLAKE3, 1, NULL, NULL) == 0);
    failing = NOTHING;
    CHECK(fault_happened && entry.outcome == MLP_FILE_FAILED && entry.error == NULL);
}

/* ---- files that change ---- */

static void cut_short(void)
{
    CHECK(truncate(path, 100) == 0);
}

static void cut_and_restore(void)
{
    CHECK(truncate(path, 100) == 0 && truncate(path, (off_t)INPUT_LEN) == 0);
}

static void grow(void)
{
    int fd = openat(directory, "file", O_WRONLY | O_APPEND | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "more", 4) == 4);
    mlp_file_close(&fd);
}

static void overwrite(void)
{
    int fd = openat(directory, "file", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, "!", 1, 5) == 1);
    mlp_file_close(&fd);
}

static void take_its_name(void)
{
    CHECK(renameat(directory, "other", directory, "file") == 0);
}

static void vanish(void)
{
    CHECK(unlink(path) == 0);
}

static void change_rights(void)
{
    CHECK(chmod(path, 0640) == 0);
}

/* A time long ago: a change within the clock's tick could not be seen. */
static void put_old_file(void)
{
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    put_file("other", input, INPUT_LEN);
    put_file("file", input, INPUT_LEN);
    CHECK(utimensat(directory, "file", times, 0) == 0);
}

static void check_changed(enum way way, void (*change)(void), long at, const char *says)
{
    uint8_t rows[3][MLP_HASH_MAX_LEN];
    struct mlp_error error = {0};
    put_old_file();
    reads_to_go = at;
    before_read = change;
    int status = digest_in(way, rows, &error);
    before_read = NULL;
    CHECK(status == MLP_E_CHANGED && reads_to_go < 0);
    if (!CHECK(strstr(error.message, says) != NULL))
        printf("  way %d, read %ld: %s\n", way, at, error.message);
}

static void a_file_that_changes_at_any_read_is_refused(void)
{
    for (enum way way = BY_PARTS; way < WAYS_COUNT; way++) {
        for (long at = 0; at < 3; at++) {
            check_changed(way, cut_short, at, at == 0 && way == BY_PARTS ? "" : "changed while");
            check_changed(way, grow, at, "another length");
            check_changed(way, overwrite, at, "it was written to");
            check_changed(way, cut_and_restore, at, "it was written to");
            check_changed(way, take_its_name, at, "it was replaced");
            check_changed(way, vanish, at, "it was replaced");
            check_changed(way, change_rights, at, "other rights");
        }
    }
}

/* The file itself is as it was: only the path leads elsewhere. */
static void lead_elsewhere(void)
{
    CHECK(renameat(directory, "folder", directory, "folder-before") == 0);
    CHECK(renameat(directory, "folder-after", directory, "folder") == 0);
}

static void a_path_that_leads_to_another_file_by_then_is_refused(void)
{
    uint8_t digest[32];
    const struct mlp_hash_request request = {MLP_BLAKE3, digest};
    struct mlp_error error = {0};
    char inside[64];
    uint64_t len;
    CHECK(mlp_file_make_private_directory(directory, "folder", NULL) == 0);
    CHECK(mlp_file_make_private_directory(directory, "folder-after", NULL) == 0);
    put_file("folder/file", input, 1000);
    put_file("folder-after/file", input, 1000);
    (void)snprintf(inside, sizeof inside, "%s/folder/file", directory_path);
    reads_to_go = 0;
    before_read = lead_elsewhere;
    CHECK(mlp_file_digest(&request, 1, NULL, &len, inside, 1, NULL, &error) == MLP_E_CHANGED);
    before_read = NULL;
    CHECK(strstr(error.message, "another file took its name") != NULL);
}

/* Whether the seventh of many, cut short at the read that comes so late, is refused. */
static bool is_refused_alone(long at)
{
    struct mlp_file_entry entries[FILES_COUNT];
    bool is_refused = true;
    put_many();
    reads_to_go = at;
    before_read = cut_short;
    CHECK(digest_many(entries) == 0);
    before_read = NULL;
    for (size_t i = 0; i < FILES_COUNT; i++)
        is_refused = is_refused && (entries[i].outcome == MLP_FILE_FAILED) == (i == 6);
    CHECK(!is_refused || entries[6].error->status == MLP_E_CHANGED);
    mlp_file_entries_clear(entries, FILES_COUNT);
    return is_refused;
}

/* Before it is opened it may still change, afterwards it has been read. */
static void one_of_many_that_changes_is_refused_alone(void)
{
    unsigned refused = 0;
    (void)snprintf(path, sizeof path, "%s/m6", directory_path);
    for (long at = 0; at < FILES_COUNT; at++)
        refused += is_refused_alone(at) ? 1 : 0;
    CHECK(refused == 1);
    (void)snprintf(path, sizeof path, "%s/file", directory_path);
}

int main(void)
{
    uint32_t word = 1;
    input = malloc(INPUT_LEN);
    if (!CHECK(input != NULL) || !make_directory())
        return 1;
    for (size_t i = 0; i < INPUT_LEN; i++) {
        word = word * 1664525U + 1013904223U; /* Numerical Recipes, section 7.1 */
        input[i] = (uint8_t)(word >> 24);
    }
    (void)snprintf(path, sizeof path, "%s/file", directory_path);
    (void)mlp_pool_threads(); /* reads files of its own, once */
    put_many();
    RUN(a_call_that_fails_is_an_error_of_the_file);
    RUN(a_call_that_a_signal_ends_is_made_again);
    RUN(an_allocation_that_fails_is_an_error_or_does_not_matter);
    RUN(a_file_that_fails_leaves_the_others_hashed);
    RUN(without_memory_for_a_list_there_is_an_error);
    RUN(a_failure_without_memory_for_its_text_is_a_failure_still);
    RUN(a_file_that_changes_at_any_read_is_refused);
    RUN(a_path_that_leads_to_another_file_by_then_is_refused);
    RUN(one_of_many_that_changes_is_refused_alone);
    remove_directory();
    free(input);
    return check_finish();
}
#endif
