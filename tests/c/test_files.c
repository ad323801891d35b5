/* Digests of files (csrc/files/digest.h): against those of the same bytes in memory, on any number of
 * threads, one and many, and from pipes; who is asked meanwhile, and what that ends.
 */
#include "check.h"
#include "directory_fixture.h"
#include "files/digest.h"
#include "hash/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define KIB         ((size_t)1 << 10)
#define MIB         ((size_t)1 << 20)
#define INPUT_LEN   (17 * MIB + 3)
#define THREADS_MAX 8

static uint8_t *input; /* files are made of its first bytes */
static const int algorithms[] = {MLP_BLAKE3, MLP_SHA256, MLP_SHA384, MLP_SHA512};

static const char *path_of(const char *name)
{
    static _Thread_local char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory_path, name);
    return path;
}

static const char *put_input(const char *name, size_t len)
{
    put_file(name, input, len);
    return path_of(name);
}

/* ---- one file ---- */

struct digests {
    uint8_t rows[4][MLP_HASH_MAX_LEN];
};

static int digest_by(struct digests *digests, const int *by, size_t by_count, const char *path,
                     uint64_t *len, size_t threads, struct mlp_error *error)
{
    struct mlp_hash_request requests[4];
    for (size_t i = 0; i < by_count; i++)
        requests[i] = (struct mlp_hash_request){by[i], digests->rows[i]};
    return mlp_file_digest(requests, by_count, NULL, len, path, threads, NULL, error);
}

static bool is_digest(const uint8_t *digest, int algorithm, const void *data, size_t len)
{
    uint8_t expected[MLP_HASH_MAX_LEN];
    return mlp_hash(algorithm, expected, data, len, NULL) == 0 &&
           memcmp(digest, expected, mlp_algorithm_digest_len(algorithm)) == 0;
}

static void check_one(const int *by, size_t by_count, size_t file_len, size_t threads)
{
    struct digests digests;
    uint64_t len = 0;
    bool right = digest_by(&digests, by, by_count, path_of("one"), &len, threads, NULL) == 0 &&
                 len == file_len;
    for (size_t i = 0; i < by_count; i++)
        right = right && is_digest(digests.rows[i], by[i], input, file_len);
    if (!CHECK(right))
        printf("  %zu bytes, %zu threads, %zu algorithms\n", file_len, threads, by_count);
}

static void a_file_has_the_digests_of_its_bytes_on_any_number_of_threads(void)
{
    static const size_t lens[] = {0,   1,       1024,    1025,        256 * KIB - 1, 512 * KIB,
                                  MIB, MIB + 1, 4 * MIB, 8 * MIB + 1, 9 * MIB,       INPUT_LEN};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        put_input("one", lens[i]);
        for (size_t threads = 0; threads <= THREADS_MAX; threads++) {
            check_one(algorithms, 1, lens[i], threads);
            check_one(algorithms, 2, lens[i], threads);
        }
        check_one(algorithms, 4, lens[i], 3);
        check_one(algorithms + 1, 1, lens[i], 2);
    }
}

static void a_call_names_one_to_eight_algorithms(void)
{
    struct mlp_hash_request requests[MLP_HASH_REQUESTS_MAX + 1];
    struct mlp_error error;
    uint64_t len;
    put_input("one", 1);
    CHECK(mlp_file_digest(requests, 0, NULL, &len, path_of("one"), 0, NULL, &error) ==
          MLP_E_ARGUMENT);
    CHECK(mlp_file_digest(requests, MLP_HASH_REQUESTS_MAX + 1, NULL, &len, path_of("one"), 0, NULL,
                          &error) == MLP_E_ARGUMENT);
    requests[0] = (struct mlp_hash_request){99, NULL};
    CHECK(mlp_file_digest(requests, 1, NULL, &len, path_of("one"), 0, NULL, &error) ==
          MLP_E_ARGUMENT);
}

/* ---- ranges ---- */

static const struct mlp_file_range some_ranges[] = {
    {0, 0},
    {0, 1},
    {1, 3 * KIB},
    {256 * KIB - 1, 256 * KIB + 1},
    {512 * KIB, 512 * KIB},
    {MIB, 9 * MIB},
    {9 * MIB, 9 * MIB + 1},
    {INPUT_LEN - 5, INPUT_LEN},
    {INPUT_LEN, INPUT_LEN},
};
#define RANGES_COUNT (sizeof some_ranges / sizeof some_ranges[0])

static void check_ranges(int algorithm, size_t threads)
{
    uint8_t whole[MLP_HASH_MAX_LEN], rows[RANGES_COUNT * MLP_HASH_MAX_LEN];
    size_t row_len = mlp_algorithm_digest_len(algorithm);
    const struct mlp_hash_request request = {MLP_SHA256, whole};
    const struct mlp_file_ranges ranges = {algorithm, some_ranges, RANGES_COUNT, rows};
    uint64_t len;
    CHECK(mlp_file_digest(&request, 1, &ranges, &len, path_of("one"), threads, NULL, NULL) == 0);
    CHECK(len == INPUT_LEN && is_digest(whole, MLP_SHA256, input, INPUT_LEN));
    for (size_t i = 0; i < RANGES_COUNT; i++)
        CHECK(is_digest(rows + i * row_len, algorithm, input + some_ranges[i].begin,
                        (size_t)(some_ranges[i].end - some_ranges[i].begin)));
}

static void ranges_have_the_digests_of_their_bytes(void)
{
    put_input("one", INPUT_LEN);
    for (size_t threads = 1; threads <= 4; threads++) {
        check_ranges(MLP_BLAKE3, threads);
        check_ranges(MLP_SHA512, threads);
    }
}

static void a_range_behind_the_file_is_refused_before_it_is_read(void)
{
    uint8_t whole[32], row[32];
    const struct mlp_hash_request request = {MLP_BLAKE3, whole};
    const struct mlp_file_range item = {3, 11};
    const struct mlp_file_ranges ranges = {MLP_BLAKE3, &item, 1, row};
    struct mlp_error error;
    uint64_t len;
    put_input("one", 10);
    CHECK(mlp_file_digest(&request, 1, &ranges, &len, path_of("one"), 0, NULL, &error) ==
          MLP_E_RANGE);
    CHECK(strstr(error.message, "the last range ends at byte 11") != NULL);
}

/* ---- pipes, and what is no file ---- */

static void *write_input(void *unused)
{
    (void)unused;
    int fd = open(path_of("pipe"), O_WRONLY | O_CLOEXEC);
    for (size_t done = 0; fd >= 0 && done < INPUT_LEN;) {
        ssize_t count = write(fd, input + done, INPUT_LEN - done);
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    mlp_file_close(&fd);
    return NULL;
}

static void a_pipe_is_read_to_its_end(void)
{
    CHECK(mkfifoat(directory, "pipe", 0600) == 0);
    for (size_t threads = 1; threads <= 3; threads++) {
        for (size_t by_count = 1; by_count <= 2; by_count++) {
            struct digests digests;
            pthread_t writer;
            uint64_t len = 0;
            if (!CHECK(pthread_create(&writer, NULL, write_input, NULL) == 0))
                return;
            CHECK(digest_by(&digests, algorithms, by_count, path_of("pipe"), &len, threads, NULL) ==
                  0);
            CHECK(len == INPUT_LEN);
            for (size_t i = 0; i < by_count; i++)
                CHECK(is_digest(digests.rows[i], algorithms[i], input, INPUT_LEN));
            pthread_join(writer, NULL);
        }
    }
}

static void what_is_no_file_is_said(void)
{
    struct digests digests;
    struct mlp_error error;
    uint64_t len;
    CHECK(digest_by(&digests, algorithms, 1, path_of("missing"), &len, 0, &error) ==
          MLP_E_NOT_FOUND);
    CHECK(strstr(error.message, "missing: No such file") != NULL);
    CHECK(digest_by(&digests, algorithms, 1, directory_path, &len, 0, &error) == MLP_E_IO);
    CHECK(error.system_errno == EISDIR);
}

static void a_file_of_proc_is_read_to_its_end(void)
{
    struct digests digests, as_many;
    struct mlp_file_entry entry = {.path = "/proc/version"};
    uint64_t len = 0;
    if (access("/proc/version", R_OK) != 0) {
        SKIP("there is no /proc");
        return;
    }
    CHECK(digest_by(&digests, algorithms, 2, "/proc/version", &len, 2, NULL) == 0 && len > 10);
    CHECK(digest_by(&as_many, algorithms, 1, "/proc/version", &len, 2, NULL) == 0);
    CHECK(memcmp(digests.rows[0], as_many.rows[0], 32) == 0);
    CHECK(mlp_file_digest_many(&entry, 1, MLP_BLAKE3, 1, NULL, NULL) == 0);
    CHECK(entry.outcome == MLP_FILE_HASHED && entry.len == len);
    CHECK(memcmp(entry.digest, digests.rows[0], 32) == 0);
}

static void a_sparse_file_has_the_digest_of_its_zeros(void)
{
    const size_t sparse_len = 40 * MIB + 5;
    uint8_t *zeros = calloc(1, sparse_len);
    struct digests digests;
    uint64_t len = 0;
    put_input("sparse", 1);
    CHECK(truncate(path_of("sparse"), (off_t)sparse_len) == 0);
    if (CHECK(zeros != NULL)) {
        zeros[0] = input[0];
        CHECK(digest_by(&digests, algorithms, 1, path_of("sparse"), &len, 2, NULL) == 0);
        CHECK(len == sparse_len && is_digest(digests.rows[0], MLP_BLAKE3, zeros, sparse_len));
    }
    free(zeros);
}

/* ---- many ---- */

#define FILES_COUNT 700

/* Lengths of files: most are small, some are empty, some longer than what a task reads at once. */
static size_t len_of(size_t index)
{
    if (index % 100 == 7)
        return 300 * KIB + index;
    if (index % 50 == 9)
        return 256 * KIB - index % 2;
    return index % 10 == 3 ? 0 : index * 13 % 5000;
}

static char paths[FILES_COUNT][128];

static void put_files(void)
{
    for (size_t i = 0; i < FILES_COUNT; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%zu", i);
        (void)snprintf(paths[i], sizeof paths[i], "%s", put_input(name, len_of(i)));
    }
}

static void check_entries(const struct mlp_file_entry *entries, int algorithm)
{
    for (size_t i = 0; i < FILES_COUNT; i++) {
        bool right = entries[i].outcome == MLP_FILE_HASHED && entries[i].len == len_of(i) &&
                     is_digest(entries[i].digest, algorithm, input, len_of(i));
        if (!CHECK(right))
            printf("  file %zu of %zu bytes\n", i, len_of(i));
    }
}

static void many_files_have_the_digests_of_their_bytes_on_any_number_of_threads(void)
{
    for (size_t a = 0; a < 2; a++) {
        for (size_t threads = 0; threads <= THREADS_MAX; threads++) {
            struct mlp_file_entry entries[FILES_COUNT] = {{0}};
            for (size_t i = 0; i < FILES_COUNT; i++)
                entries[i].path = paths[i];
            CHECK(mlp_file_digest_many(entries, FILES_COUNT, algorithms[a], threads, NULL, NULL) ==
                  0);
            check_entries(entries, algorithms[a]);
        }
    }
}

static void what_cannot_be_hashed_leaves_the_others_hashed(void)
{
    struct mlp_file_entry entries[] = {{.path = paths[11]},      {.path = path_of("missing")},
                                       {.path = directory_path}, {.path = paths[12]},
                                       {.path = "/dev/null"},    {.path = paths[14]}};
    const size_t count = sizeof entries / sizeof entries[0];
    CHECK(mlp_file_digest_many(entries, count, MLP_BLAKE3, 2, NULL, NULL) == 0);
    for (size_t i = 0; i < count; i++)
        CHECK((entries[i].outcome == MLP_FILE_HASHED) == (i == 0 || i == 3 || i == 5));
    CHECK(is_digest(entries[5].digest, MLP_BLAKE3, input, len_of(14)));
    CHECK(entries[1].error->status == MLP_E_NOT_FOUND);
    CHECK(strstr(entries[1].error->message, "missing: No such file") != NULL);
    CHECK(entries[2].error->system_errno == EISDIR);
    CHECK(entries[4].error->status == MLP_E_CONFIG); /* a device; a FIFO is not waited for either */
    mlp_file_entries_clear(entries, count);
    CHECK(entries[1].error == NULL);
    CHECK(mlp_file_digest_many(entries, 0, MLP_BLAKE3, 2, NULL, NULL) == 0);
    CHECK(mlp_file_digest_many(entries, 1, 99, 2, NULL, NULL) == MLP_E_ARGUMENT);
}

static void a_large_file_is_left_to_all_threads(void)
{
    struct mlp_file_entry entries[] = {{.path = paths[1]}, {.path = NULL}, {.path = paths[2]}};
    char large[128];
    (void)snprintf(large, sizeof large, "%s", put_input("large", INPUT_LEN));
    entries[1].path = large;
    CHECK(mlp_file_digest_many(entries, 3, MLP_BLAKE3, 2, NULL, NULL) == 0);
    CHECK(entries[0].outcome == MLP_FILE_HASHED && entries[2].outcome == MLP_FILE_HASHED);
    CHECK(entries[1].outcome == MLP_FILE_LARGE && entries[1].error == NULL);
    CHECK(mlp_file_digest_many(entries, 3, MLP_SHA256, 2, NULL, NULL) == 0);
    CHECK(entries[1].outcome == MLP_FILE_HASHED && entries[1].len == INPUT_LEN);
    CHECK(is_digest(entries[1].digest, MLP_SHA256, input, INPUT_LEN));
}

/* ---- being asked ---- */

struct asked {
    pthread_t owner;
    unsigned looks;
    unsigned end_at; /* the look that ends it; 0: none */
    uint64_t files;  /* at the last look */
    uint64_t bytes;
    bool elsewhere; /* asked on another thread, or told of less than before */
};

static int look(void *context, uint64_t files, uint64_t bytes)
{
    struct asked *asked = context;
    if (!pthread_equal(asked->owner, pthread_self()) || files < asked->files ||
        bytes < asked->bytes)
        asked->elsewhere = true;
    asked->files = files;
    asked->bytes = bytes;
    return ++asked->looks == asked->end_at ? 77 : 0;
}

/* The clock of the program: at each look at it a second later, so that it is always time to ask. */
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
    static atomic_long seconds;
    (void)clock;
    *now = (struct timespec){.tv_sec = atomic_fetch_add(&seconds, 1)};
    return 0;
}

static int digest_asking(struct asked *asked, const char *path, size_t by_count, size_t threads)
{
    struct digests digests;
    struct mlp_hash_request requests[2] = {{algorithms[0], digests.rows[0]},
                                           {algorithms[1], digests.rows[1]}};
    const struct mlp_files_look looks = {look, asked};
    uint64_t len;
    asked->owner = pthread_self();
    return mlp_file_digest(requests, by_count, NULL, &len, path, threads, &looks, NULL);
}

/* With several threads it may be that the others do it all. */
static void who_asked_is_told_how_far_it_is_and_may_end_it(void)
{
    const char *path = put_input("one", INPUT_LEN);
    for (size_t threads = 1; threads <= 4; threads++) {
        for (size_t by_count = 1; by_count <= 2; by_count++) {
            struct asked asked = {.end_at = 0}, ending = {.end_at = 2};
            CHECK(digest_asking(&asked, path, by_count, threads) == 0);
            CHECK(!asked.elsewhere && asked.bytes <= INPUT_LEN);
            CHECK(threads > 1 || (asked.looks >= 2 && asked.bytes > 0));
            int status = digest_asking(&ending, path, by_count, threads);
            CHECK(!ending.elsewhere && ending.looks <= 2);
            CHECK(status == (ending.looks == 2 ? 77 : 0) && (threads > 1 || status == 77));
        }
    }
}

static void many_files_tell_how_far_they_are_and_can_be_ended(void)
{
    for (size_t threads = 1; threads <= 4; threads++) {
        struct mlp_file_entry entries[FILES_COUNT] = {{0}};
        struct asked asked = {.owner = pthread_self()};
        const struct mlp_files_look looks = {look, &asked};
        for (size_t i = 0; i < FILES_COUNT; i++)
            entries[i].path = paths[i];
        CHECK(mlp_file_digest_many(entries, FILES_COUNT, MLP_BLAKE3, threads, &looks, NULL) == 0);
        CHECK(asked.looks >= 1 && !asked.elsewhere && asked.files == FILES_COUNT);
        check_entries(entries, MLP_BLAKE3);
        asked = (struct asked){.owner = pthread_self(), .end_at = 1};
        CHECK(mlp_file_digest_many(entries, FILES_COUNT, MLP_BLAKE3, threads, &looks, NULL) == 77);
        CHECK(asked.looks == 1 && !asked.elsewhere);
        mlp_file_entries_clear(entries, FILES_COUNT); /* one may have been ended half-way */
    }
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
    put_files();
    RUN(a_file_has_the_digests_of_its_bytes_on_any_number_of_threads);
    RUN(a_call_names_one_to_eight_algorithms);
    RUN(ranges_have_the_digests_of_their_bytes);
    RUN(a_range_behind_the_file_is_refused_before_it_is_read);
    RUN(a_pipe_is_read_to_its_end);
    RUN(what_is_no_file_is_said);
    RUN(a_file_of_proc_is_read_to_its_end);
    RUN(a_sparse_file_has_the_digest_of_its_zeros);
    RUN(many_files_have_the_digests_of_their_bytes_on_any_number_of_threads);
    RUN(what_cannot_be_hashed_leaves_the_others_hashed);
    RUN(a_large_file_is_left_to_all_threads);
    RUN(who_asked_is_told_how_far_it_is_and_may_end_it);
    RUN(many_files_tell_how_far_they_are_and_can_be_ended);
    remove_directory();
    free(input);
    return check_finish();
}
