/* Leaves files and open streams (csrc/store/leaves.h, stream.h). */
#include "store_fixture.h"

#include "codec/base64.h"
#include "codec/crc32c.h"
#include "store/leaves.h"
#include "store/stream.h"

#include <sys/wait.h>
#include <time.h>

static char path[PATH_MAX];

#define LEAF(text)                                                                                 \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
static const struct mlp_leaf three[] = {LEAF("one"), LEAF(""), LEAF("three")};

static const char *leaves_name(const uint8_t root32[32])
{
    static char name[96];
    (void)memcpy(name, "trees/", 6);
    mlp_hex_encode(name + 6, root32, 32);
    (void)memcpy(name + 70, ".leaves", 8);
    return name;
}

static void encode_three(struct mlp_buffer *bytes)
{
    struct mlp_error error = {0};
    for (size_t i = 0; i < 3; i++)
        CHECK(FINE(mlp_leaves_encode(bytes, three[i].bytes, three[i].len, &error)));
}

/* ---- the format ---- */

static void a_leaf_is_its_length_its_bytes_and_their_checksum(void)
{
    struct mlp_buffer bytes = {0};
    struct mlp_error error = {0};
    CHECK(FINE(mlp_leaves_encode(&bytes, "12345", 5, &error)));
    CHECK(bytes.len == 13 && memcmp(bytes.data,
                                    "\0\0\0\x05"
                                    "12345",
                                    9) == 0);
    CHECK(mlp_load_be32(bytes.data + 9) == mlp_crc32c(0, bytes.data, 9));
    mlp_buffer_clear(&bytes);
}

static void what_was_encoded_is_decoded(void)
{
    struct mlp_buffer bytes = {0};
    struct mlp_leaves leaves = {0};
    struct mlp_error error = {0};
    CHECK(FINE(mlp_leaves_decode(&leaves, "", 0, &error)) && leaves.count == 0);
    mlp_leaves_clear(&leaves);
    encode_three(&bytes);
    CHECK(FINE(mlp_leaves_decode(&leaves, bytes.data, bytes.len, &error)) && leaves.count == 3);
    for (size_t i = 0; i < leaves.count; i++)
        CHECK(leaves.leaf[i].len == three[i].len &&
              memcmp(leaves.leaf[i].bytes, three[i].bytes, three[i].len) == 0);
    mlp_leaves_clear(&leaves);
    mlp_buffer_clear(&bytes);
}

static void a_file_cut_anywhere_but_between_leaves_is_refused(void)
{
    struct mlp_buffer bytes = {0};
    struct mlp_leaves leaves = {0};
    struct mlp_error error = {0};
    encode_three(&bytes);
    static const size_t ends[] = {0, 11, 19, 32};
    size_t end = 0;
    for (size_t len = 0; len <= bytes.len; len++) {
        uint64_t count = 0;
        end += len > ends[end] ? 1 : 0;
        int status = mlp_leaves_decode(&leaves, bytes.data, len, &error);
        if (len == ends[end]) {
            CHECK(status == 0 && leaves.count == end);
            mlp_leaves_clear(&leaves);
        } else {
            CHECK(status == MLP_E_MALFORMED);
            SAYS("cut short");
        }
        size_t whole = mlp_leaves_whole_len(&count, bytes.data, len);
        CHECK(whole == (len == ends[end] ? len : ends[end - 1]));
    }
    mlp_buffer_clear(&bytes);
}

static void every_flipped_bit_is_noticed(void)
{
    struct mlp_buffer bytes = {0};
    struct mlp_leaves leaves = {0};
    struct mlp_error error = {0};
    encode_three(&bytes);
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK(mlp_leaves_decode(&leaves, bytes.data, bytes.len, &error) == MLP_E_MALFORMED);
        bytes.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    mlp_buffer_clear(&bytes);
}

static void a_length_above_the_limit_is_refused_without_reading_on(void)
{
    static const uint8_t huge[12] = {0xFF, 0xFF, 0xFF, 0xFF};
    static const uint8_t above[12] = {0x01, 0x00, 0x00, 0x01};
    struct mlp_leaves leaves = {0};
    struct mlp_error error = {0};
    CHECK(mlp_leaves_decode(&leaves, huge, sizeof huge, &error) == MLP_E_MALFORMED);
    SAYS("16 MiB");
    CHECK(mlp_leaves_decode(&leaves, above, sizeof above, &error) == MLP_E_MALFORMED);
    SAYS("16 MiB");
    struct mlp_buffer bytes = {0};
    uint8_t *long_leaf = calloc(1, MLP_LEAF_MAX + 1);
    CHECK(long_leaf != NULL);
    CHECK(mlp_leaves_encode(&bytes, long_leaf, MLP_LEAF_MAX + 1, &error) == MLP_E_ARGUMENT);
    CHECK(bytes.len == 0);
    CHECK(FINE(mlp_leaves_encode(&bytes, long_leaf, MLP_LEAF_MAX, &error)));
    CHECK(FINE(mlp_leaves_decode(&leaves, bytes.data, bytes.len, &error)) && leaves.count == 1);
    mlp_leaves_clear(&leaves);
    mlp_buffer_clear(&bytes);
    free(long_leaf);
}

/* ---- in a store ---- */

static void kept_leaves_come_back_under_their_root(void)
{
    uint8_t root32[32];
    uint8_t other32[32] = {0};
    bool there = true;
    struct mlp_leaves leaves = {0};
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(FINE(mlp_store_put_leaves(store, root32, three, 3, &error)));
    CHECK(file_exists(path, leaves_name(root32)));
    CHECK(FINE(mlp_store_put_leaves(store, root32, three, 3, &error))); /* once is enough */
    CHECK(FINE(mlp_store_get_leaves(store, &leaves, root32, &error)) && leaves.count == 3);
    CHECK(leaves.leaf[2].len == 5 && memcmp(leaves.leaf[2].bytes, "three", 5) == 0);
    mlp_leaves_clear(&leaves);
    CHECK(FINE(mlp_store_has_leaves(store, &there, root32, &error)) && there);
    CHECK(FINE(mlp_store_has_leaves(store, &there, other32, &error)) && !there);
    CHECK(mlp_store_get_leaves(store, &leaves, other32, &error) == MLP_E_NOT_FOUND);
    mlp_store_free(store);
    fixture_remove(path);
}

static void changed_leaves_are_corrupt_and_a_cut_file_is_mended(void)
{
    uint8_t root32[32];
    char name[PATH_MAX];
    struct mlp_buffer bytes = {0};
    struct mlp_leaves leaves = {0};
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(FINE(mlp_store_put_leaves(store, root32, three, 3, &error)));
    CHECK(FINE(mlp_leaves_encode(&bytes, "other", 5, &error)));
    CHECK(write_file(path, leaves_name(root32), bytes.data, bytes.len));
    CHECK(mlp_store_get_leaves(store, &leaves, root32, &error) == MLP_E_CORRUPT);
    SAYS("root is another");
    beneath(name, path, leaves_name(root32));
    CHECK(truncate(name, 5) == 0);
    CHECK(mlp_store_get_leaves(store, &leaves, root32, &error) == MLP_E_CORRUPT);
    SAYS("cut short");
    CHECK(FINE(mlp_store_put_leaves(store, root32, three, 3, &error)));
    CHECK(FINE(mlp_store_get_leaves(store, &leaves, root32, &error)));
    mlp_leaves_clear(&leaves);
    mlp_buffer_clear(&bytes);
    mlp_store_free(store);
    fixture_remove(path);
}

/* ---- open streams ---- */

static struct mlp_stream *open_stream(struct mlp_store *store, const char *name)
{
    struct mlp_error error = {0};
    struct mlp_stream *stream = NULL;
    if (!FINE(mlp_stream_open(&stream, store, run_id(7), name, &error)))
        exit(1);
    return stream;
}

static const char *open_name(const char *name)
{
    static char text[256];
    (void)snprintf(text, sizeof text, "trees/%s-%s.open", run_id(7), name);
    return text;
}

static void a_stream_becomes_the_file_that_put_leaves_would_write(void)
{
    uint8_t root32[32];
    uint8_t before32[32];
    uint8_t expected32[32];
    uint64_t index = 9;
    struct mlp_leaves leaves = {0};
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    struct mlp_stream *stream = open_stream(store, "train");
    for (size_t i = 0; i < 3; i++)
        CHECK(FINE(mlp_stream_append(stream, &index, three[i].bytes, three[i].len, &error)) &&
              index == i);
    CHECK(file_exists(path, open_name("train")) && mlp_stream_size(stream) == 3);
    CHECK(FINE(mlp_stream_root(stream, before32, &error)));
    CHECK(FINE(mlp_stream_close(stream, root32, &error)));
    CHECK(FINE(mlp_leaves_root(expected32, three, 3, &error)));
    CHECK(memcmp(root32, expected32, 32) == 0 && memcmp(root32, before32, 32) == 0);
    CHECK(!file_exists(path, open_name("train")) && file_exists(path, leaves_name(root32)));
    CHECK(FINE(mlp_store_get_leaves(store, &leaves, root32, &error)) && leaves.count == 3);
    mlp_leaves_clear(&leaves);
    CHECK(mlp_stream_append(stream, NULL, "x", 1, &error) == MLP_E_CLOSED);
    CHECK(mlp_stream_sync(stream, &error) == MLP_E_CLOSED);
    CHECK(mlp_stream_close(stream, root32, &error) == MLP_E_CLOSED);
    CHECK(mlp_stream_size(stream) == 3 && mlp_stream_root(stream, root32, &error) == 0);
    mlp_stream_free(stream);
    stream = open_stream(store, "empty");
    CHECK(FINE(mlp_stream_close(stream, root32, &error)));
    CHECK(FINE(mlp_store_get_leaves(store, &leaves, root32, &error)) && leaves.count == 0);
    mlp_leaves_clear(&leaves);
    mlp_stream_free(stream);
    mlp_store_free(store);
    fixture_remove(path);
}

static void an_abandoned_stream_leaves_nothing(void)
{
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    struct mlp_stream *stream = open_stream(store, "train");
    CHECK(FINE(mlp_stream_append(stream, NULL, "x", 1, &error)));
    mlp_stream_abandon(stream);
    mlp_stream_abandon(stream);
    CHECK(!file_exists(path, open_name("train")));
    mlp_stream_free(stream);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_name_that_is_no_name_is_refused(void)
{
    static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "a b", "../x", "\xC3\xA4"};
    struct mlp_error error = {0};
    struct mlp_stream *stream = NULL;
    char longest[MLP_STREAM_NAME_MAX + 2];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK(mlp_stream_open(&stream, store, run_id(7), names[i], &error) == MLP_E_ARGUMENT);
    CHECK(mlp_stream_open(&stream, store, "../../etc/passwd", "a", &error) == MLP_E_ARGUMENT);
    memset(longest, 'a', sizeof longest);
    longest[MLP_STREAM_NAME_MAX + 1] = '\0';
    CHECK(mlp_stream_open(&stream, store, run_id(7), longest, &error) == MLP_E_ARGUMENT);
    longest[MLP_STREAM_NAME_MAX] = '\0';
    mlp_stream_free(open_stream(store, longest));
    mlp_store_free(store);
    fixture_remove(path);
}

static void only_one_has_a_stream_open(void)
{
    struct mlp_error error = {0};
    struct mlp_stream *second = NULL;
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    struct mlp_stream *stream = open_stream(store, "train");
    CHECK(mlp_stream_open(&second, store, run_id(7), "train", &error) == MLP_E_BUSY);
    mlp_stream_free(stream);
    stream = open_stream(store, "train");
    mlp_stream_free(stream);
    mlp_store_free(store);
    fixture_remove(path);
}

/* Writes the file of stream "train" as `bytes` and looks at what a new process makes of it. */
static void recover_from(struct mlp_store *store, const uint8_t *bytes, size_t len, uint64_t count,
                         size_t whole_len)
{
    struct mlp_error error = {0};
    struct mlp_buffer after = {0};
    uint8_t root32[32];
    CHECK(write_file(path, open_name("train"), bytes, len));
    struct mlp_stream *stream = open_stream(store, "train");
    CHECK(mlp_stream_size(stream) == count);
    CHECK(read_file(&after, path, open_name("train")) && after.len == whole_len);
    CHECK(FINE(mlp_stream_append(stream, NULL, "more", 4, &error)));
    CHECK(FINE(mlp_stream_close(stream, root32, &error)));
    mlp_stream_free(stream);
    struct mlp_leaves leaves = {0};
    CHECK(FINE(mlp_store_get_leaves(store, &leaves, root32, &error)) && leaves.count == count + 1);
    mlp_leaves_clear(&leaves);
    mlp_buffer_clear(&after);
}

static void recovery_cuts_the_torn_tail_wherever_it_is_torn(void)
{
    struct mlp_buffer bytes = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    encode_three(&bytes);
    for (size_t len = 0; len <= bytes.len; len++) {
        uint64_t count = 0;
        size_t whole = mlp_leaves_whole_len(&count, bytes.data, len);
        recover_from(store, bytes.data, len, count, whole);
    }
    bytes.data[20] ^= 1; /* inside the third leaf: the first two count */
    recover_from(store, bytes.data, bytes.len, 2, 19);
    memset(bytes.data, 0xFF, bytes.len);
    recover_from(store, bytes.data, bytes.len, 0, 0);
    mlp_buffer_clear(&bytes);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_synced_leaf_survives_a_killed_process(void)
{
    struct mlp_error error = {0};
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    pid_t child = fork();
    if (child == 0) {
        struct mlp_store *store = open_store(path, 0);
        struct mlp_stream *stream = open_stream(store, "train");
        (void)mlp_stream_append(stream, NULL, "kept", 4, &error);
        (void)mlp_stream_sync(stream, &error);
        (void)mlp_stream_append(stream, NULL, "buffered", 8, &error);
        _exit(0); /* as a kill: nothing is flushed */
    }
    CHECK(waitpid(child, NULL, 0) == child);
    struct mlp_store *store = open_store(path, 0);
    struct mlp_stream *stream = open_stream(store, "train");
    CHECK(mlp_stream_size(stream) == 1);
    mlp_stream_free(stream);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_forked_child_does_not_write_into_the_parents_stream(void)
{
    struct mlp_error error = {0};
    uint8_t root32[32];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    struct mlp_stream *stream = open_stream(store, "train");
    CHECK(FINE(mlp_stream_append(stream, NULL, "a", 1, &error)));
    pid_t child = fork();
    if (child == 0) {
        int wrong = mlp_stream_append(stream, NULL, "b", 1, &error) != MLP_E_FORKED;
        wrong += mlp_stream_sync(stream, &error) != MLP_E_FORKED;
        wrong += mlp_stream_close(stream, root32, &error) != MLP_E_FORKED;
        mlp_stream_abandon(stream);
        mlp_stream_free(stream);
        _exit(wrong);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    struct mlp_stream *second = NULL;
    CHECK(mlp_stream_open(&second, store, run_id(7), "train", &error) == MLP_E_BUSY);
    CHECK(file_exists(path, open_name("train")));
    CHECK(FINE(mlp_stream_close(stream, root32, &error)) && mlp_stream_size(stream) == 1);
    mlp_stream_free(stream);
    mlp_store_free(store);
    fixture_remove(path);
}

static void many_leaves_are_written_as_they_come(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer bytes = {0};
    uint8_t leaf[1000] = {0};
    uint8_t root32[32];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    struct mlp_stream *stream = open_stream(store, "train");
    for (unsigned i = 0; i < 500; i++) {
        mlp_store_be32(leaf, i);
        CHECK(FINE(mlp_stream_append(stream, NULL, leaf, sizeof leaf, &error)));
    }
    CHECK(read_file(&bytes, path, open_name("train")) && bytes.len > 400000);
    CHECK(FINE(mlp_stream_close(stream, root32, &error)));
    struct mlp_leaves leaves = {0};
    CHECK(FINE(mlp_store_get_leaves(store, &leaves, root32, &error)) && leaves.count == 500);
    mlp_leaves_clear(&leaves);
    mlp_stream_free(stream);
    mlp_buffer_clear(&bytes);
    mlp_store_free(store);
    fixture_remove(path);
}

/* The stream asks CLOCK_MONOTONIC; the program's own definition stands before libc's. */
static int64_t clock_ahead_s;
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    now->tv_sec = 1000 + (time_t)clock_ahead_s;
    now->tv_nsec = 0;
    return 0;
}

static void leaves_are_on_the_disk_five_seconds_later(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer bytes = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    struct mlp_stream *stream = open_stream(store, "train");
    clock_ahead_s += 100; /* nothing waits: no sync is due */
    CHECK(FINE(mlp_stream_append(stream, NULL, "first", 5, &error)));
    clock_ahead_s += 4;
    CHECK(FINE(mlp_stream_append(stream, NULL, "second", 6, &error)));
    CHECK(read_file(&bytes, path, open_name("train")) && bytes.len == 0);
    clock_ahead_s += 1;
    CHECK(FINE(mlp_stream_append(stream, NULL, "third", 5, &error)));
    CHECK(read_file(&bytes, path, open_name("train")) && bytes.len == 13 + 14);
    mlp_stream_free(stream);
    mlp_buffer_clear(&bytes);
    mlp_store_free(store);
    fixture_remove(path);
}

int main(void)
{
    RUN(a_leaf_is_its_length_its_bytes_and_their_checksum);
    RUN(what_was_encoded_is_decoded);
    RUN(a_file_cut_anywhere_but_between_leaves_is_refused);
    RUN(every_flipped_bit_is_noticed);
    RUN(a_length_above_the_limit_is_refused_without_reading_on);
    RUN(kept_leaves_come_back_under_their_root);
    RUN(changed_leaves_are_corrupt_and_a_cut_file_is_mended);
    RUN(a_stream_becomes_the_file_that_put_leaves_would_write);
    RUN(an_abandoned_stream_leaves_nothing);
    RUN(a_name_that_is_no_name_is_refused);
    RUN(only_one_has_a_stream_open);
    RUN(recovery_cuts_the_torn_tail_wherever_it_is_torn);
    RUN(a_synced_leaf_survives_a_killed_process);
    RUN(a_forked_child_does_not_write_into_the_parents_stream);
    RUN(many_leaves_are_written_as_they_come);
    RUN(leaves_are_on_the_disk_five_seconds_later);
    return check_finish();
}
