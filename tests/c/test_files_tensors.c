/* Tensors in files (csrc/files/save.h, load.h, tensor/safetensors_write.h): bytes against the reference of
 * tensor_reference.h, digests against those of the same bytes in memory, on any number of threads.
 */
#include "base/file.h"
#include "check.h"
#include "directory_fixture.h"
#include "files/load.h"
#include "files/safetensors_head.h"
#include "files/save.h"
#include "tensor/digest.h"
#include "tensor/safetensors_write.h"
#include "tensor_reference.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB         ((size_t)1 << 20)
#define VALUES_LEN  (6 * MIB)
#define TENSORS     6
#define THREADS_MAX 4

static uint8_t *values;
static const char head[] = "what stands before";

static const char *path_of(const char *name)
{
    static _Thread_local char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory_path, name);
    return path;
}

/* ---- tensors of every kind, and their bytes ---- */

struct tensors {
    struct mlp_view_set set;
    size_t order[TENSORS];
    uint8_t *bytes; /* of the whole file */
    size_t len;
    size_t ends[TENSORS]; /* of the tensors in it, by place */
};

/* A stage callback: elements of a dense tensor in host memory. */
static int stage_status;

static int copy_staged(void *context, uint64_t first, size_t count, void *out,
                       struct mlp_error *error)
{
    if (stage_status != 0)
        return mlp_fail(error, stage_status, "the device is gone");
    memcpy(out, (const uint8_t *)context + first * 4, count * 4);
    return 0;
}

static struct mlp_view tensor(size_t index)
{
    static const int64_t large[] = {1031, 1400}, flat[] = {7}, none[] = {0, 3};
    struct mlp_view view;
    switch (index) {
    case 0: /* dense, and longer than a piece */
        return view_of(values, MLP_DTYPE_F32, 2, large);
    case 1: /* transposed */
        view = view_of(values + 64, MLP_DTYPE_F32, 2, large);
        view.shape[0] = 1400;
        view.shape[1] = 1031;
        view.strides[0] = 4;
        view.strides[1] = 1400 * 4;
        return view;
    case 2: /* on a device */
        view = view_of(values, MLP_DTYPE_F32, 2, large);
        view.stage = copy_staged;
        view.stage_context = values;
        return view;
    case 3:
        return view_of(values + 5, MLP_DTYPE_U8, 1, flat);
    case 4:
        return view_of(values, MLP_DTYPE_I64, 2, none);
    default: /* big-endian */
        view = view_of(values + 32, MLP_DTYPE_I16, 1, flat);
        view.flags = MLP_VIEW_BYTESWAP;
        return view;
    }
}

static void append_reference(struct tensors *tensors, size_t index)
{
    struct mlp_view view = tensor(index);
    view.stage = NULL;
    struct mlp_buffer bytes = reference_bytes(&view);
    CHECK(mlp_buffer_status(&bytes) == 0);
    if (bytes.len > 0)
        memcpy(tensors->bytes + tensors->len, bytes.data, bytes.len);
    tensors->len += bytes.len;
    mlp_buffer_clear(&bytes);
}

/* with_staged: false: any thread may read all of them. */
static void make_tensors(struct tensors *tensors, bool with_staged)
{
    *tensors = (struct tensors){.len = sizeof head};
    CHECK(mlp_view_set_init(&tensors->set, TENSORS, false, NULL) == 0);
    tensors->bytes = malloc(sizeof head + 4 * VALUES_LEN);
    if (!CHECK(tensors->bytes != NULL))
        exit(1);
    memcpy(tensors->bytes, head, sizeof head);
    for (size_t i = 0; i < TENSORS; i++) {
        struct mlp_view view = tensor(i);
        size_t index;
        if (!with_staged)
            view.stage = NULL;
        CHECK(mlp_view_set_add(&tensors->set, &index, &view, NULL) == 0 && index == i);
    }
    for (size_t place = 0; place < TENSORS; place++) {
        tensors->order[place] = (place * 5 + 3) % TENSORS;
        append_reference(tensors, tensors->order[place]);
        tensors->ends[place] = tensors->len;
    }
}

static void clear_tensors(struct tensors *tensors)
{
    mlp_view_set_clear(&tensors->set);
    free(tensors->bytes);
}

/* ---- saving ---- */

struct saved {
    uint8_t sha256[MLP_HASH_MAX_LEN], blake3[MLP_BLAKE3_OUT_LEN];
    uint8_t rows[TENSORS][MLP_BLAKE3_OUT_LEN];
    uint64_t len;
};

static int save(struct saved *saved, const struct tensors *tensors, int fd, size_t threads,
                const struct mlp_files_look *look, struct mlp_error *error)
{
    const struct mlp_hash_request whole[] = {{MLP_SHA256, saved->sha256},
                                             {MLP_BLAKE3, saved->blake3}};
    const struct mlp_hash_request rows = {MLP_BLAKE3, &saved->rows[0][0]};
    const struct mlp_file_image image = {head, sizeof head, &tensors->set, tensors->order};
    return mlp_file_save(whole, 2, &rows, &saved->len, fd, &image, "the file", threads, look,
                         error);
}

static bool is_digest(int algorithm, const uint8_t *digest, const void *bytes, size_t len)
{
    uint8_t expected[MLP_HASH_MAX_LEN];
    return mlp_hash(algorithm, expected, bytes, len, NULL) == 0 &&
           memcmp(expected, digest, mlp_algorithm_digest_len(algorithm)) == 0;
}

static bool is_file_of(const char *name, const struct tensors *tensors)
{
    struct mlp_buffer bytes = {0};
    bool same = mlp_file_read_path(&bytes, directory, name, SIZE_MAX, NULL) == 0 &&
                bytes.len == tensors->len && memcmp(bytes.data, tensors->bytes, bytes.len) == 0;
    mlp_buffer_clear(&bytes);
    return same;
}

static void check_saved(const struct tensors *tensors, size_t threads)
{
    struct saved saved = {0};
    int fd = open(path_of("saved"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(save(&saved, tensors, fd, threads, NULL, NULL) == 0);
    (void)close(fd);
    CHECK(is_file_of("saved", tensors) && saved.len == tensors->len);
    CHECK(is_digest(MLP_SHA256, saved.sha256, tensors->bytes, tensors->len));
    CHECK(is_digest(MLP_BLAKE3, saved.blake3, tensors->bytes, tensors->len));
    size_t begin = sizeof head;
    for (size_t i = 0; i < TENSORS; i++) {
        CHECK(
            is_digest(MLP_BLAKE3, saved.rows[i], tensors->bytes + begin, tensors->ends[i] - begin));
        begin = tensors->ends[i];
    }
}

static void tensors_are_written_and_hashed_on_any_number_of_threads(void)
{
    for (int with_staged = 0; with_staged < 2; with_staged++) {
        struct tensors tensors;
        make_tensors(&tensors, with_staged == 1);
        for (size_t threads = 1; threads <= THREADS_MAX; threads++)
            check_saved(&tensors, threads);
        clear_tensors(&tensors);
    }
}

static void a_write_that_fails_is_the_answer(void)
{
    struct tensors tensors;
    struct saved saved = {.len = 7};
    struct mlp_error error = {0};
    make_tensors(&tensors, false);
    CHECK(save(&saved, &tensors, -1, 2, NULL, &error) == MLP_E_IO);
    CHECK(error.system_errno == EBADF && strstr(error.message, "the file") != NULL);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full < 0)
        SKIP("there is no /dev/full");
    else
        CHECK(save(&saved, &tensors, full, 2, NULL, &error) == MLP_E_FULL);
    mlp_file_close(&full);
    CHECK(saved.len == 7);
    clear_tensors(&tensors);
}

static void a_device_that_fails_is_the_answer(void)
{
    struct tensors tensors;
    struct saved saved;
    struct mlp_error error = {0};
    make_tensors(&tensors, true);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    stage_status = MLP_E_TENSOR;
    CHECK(save(&saved, &tensors, null, 2, NULL, &error) == MLP_E_TENSOR);
    CHECK(strcmp(error.message, "the device is gone") == 0);
    stage_status = 0;
    mlp_file_close(&null);
    clear_tensors(&tensors);
}

/* ---- loading ---- */

struct loaded {
    struct mlp_file_part parts[TENSORS];
    uint8_t *memory;
    uint8_t rows[TENSORS][MLP_HASH_MAX_LEN];
};

static void make_room(struct loaded *loaded, const struct tensors *tensors)
{
    size_t begin = sizeof head;
    *loaded = (struct loaded){.memory = calloc(tensors->len, 1)};
    if (!CHECK(loaded->memory != NULL))
        exit(1);
    for (size_t i = 0; i < TENSORS; i++) {
        loaded->parts[i] =
            (struct mlp_file_part){begin, tensors->ends[i] - begin, loaded->memory + begin};
        begin = tensors->ends[i];
    }
}

static int load(struct loaded *loaded, int algorithm, size_t threads,
                const struct mlp_files_look *look, struct mlp_error *error)
{
    struct mlp_reader reader = {.fd = -1};
    const struct mlp_hash_request request = {algorithm, &loaded->rows[0][0]};
    int status = mlp_reader_open(&reader, path_of("loaded"), true, NULL, error);
    if (status == 0)
        status = mlp_file_load(&request, loaded->parts, TENSORS, &reader, threads, look, error);
    mlp_reader_close(&reader);
    return status;
}

static void check_loaded(const struct loaded *loaded, const struct tensors *tensors, int algorithm)
{
    const size_t digest_len = mlp_algorithm_digest_len(algorithm);
    uint8_t digest[MLP_HASH_MAX_LEN];
    const struct mlp_hash_request whole = {MLP_SHA256, digest};
    CHECK(memcmp(loaded->memory + sizeof head, tensors->bytes + sizeof head,
                 tensors->len - sizeof head) == 0);
    for (size_t i = 0; i < TENSORS; i++)
        CHECK(is_digest(algorithm, &loaded->rows[0][0] + i * digest_len, loaded->parts[i].out,
                        loaded->parts[i].len));
    CHECK(mlp_file_parts_digest(&whole, head, sizeof head, loaded->parts, TENSORS, 2, NULL) == 0);
    CHECK(is_digest(MLP_SHA256, digest, tensors->bytes, tensors->len));
}

static void parts_are_read_and_hashed_on_any_number_of_threads(void)
{
    static const int algorithms[] = {MLP_BLAKE3, MLP_SHA256};
    struct tensors tensors;
    make_tensors(&tensors, false);
    put_file("loaded", tensors.bytes, tensors.len);
    for (size_t i = 0; i < 2; i++) {
        for (size_t threads = 1; threads <= THREADS_MAX; threads++) {
            struct loaded loaded;
            make_room(&loaded, &tensors);
            CHECK(load(&loaded, algorithms[i], threads, NULL, NULL) == 0);
            check_loaded(&loaded, &tensors, algorithms[i]);
            free(loaded.memory);
        }
    }
    clear_tensors(&tensors);
}

static void a_file_that_ends_too_early_is_no_part(void)
{
    struct tensors tensors;
    struct loaded loaded;
    make_tensors(&tensors, false);
    make_room(&loaded, &tensors);
    put_file("loaded", tensors.bytes, tensors.len - 1);
    for (size_t threads = 1; threads <= 2; threads++)
        CHECK(load(&loaded, MLP_BLAKE3, threads, NULL, NULL) == MLP_E_CHANGED);
    free(loaded.memory);
    clear_tensors(&tensors);
}

/* ---- the header ---- */

static void a_header_is_read_as_it_was_written(void)
{
    static const int64_t shape[] = {2, 3};
    static const char odd[] = "\"\\\n\x01\xc3\xa9";
    struct mlp_safetensors_item items[] = {
        {"a", 1, MLP_DTYPE_U8, 2, shape, 6, 0},
        {odd, sizeof odd - 1, MLP_DTYPE_F64, 2, shape, 48, 1},
        {"b", 1, MLP_DTYPE_F64, 0, shape, 8, 2},
    };
    const struct mlp_safetensors_pair pair = {odd, sizeof odd - 1, "", 0};
    struct mlp_buffer bytes = {0}, read = {0};
    struct mlp_safetensors file = {0};
    struct mlp_reader reader = {.fd = -1};
    mlp_safetensors_sort(items, 3);
    CHECK(items[0].index == 1 && items[1].index == 2 && items[2].index == 0);
    CHECK(mlp_safetensors_head_append(&bytes, items, 3, &pair, 1, NULL) == 0);
    CHECK(bytes.len % 8 == 0);
    size_t head_len = bytes.len;
    mlp_buffer_append(&bytes, values, 62);
    put_file("model", bytes.data, bytes.len);
    CHECK(mlp_reader_open(&reader, path_of("model"), true, NULL, NULL) == 0);
    CHECK(mlp_file_safetensors_head(&file, &read, &reader, NULL) == 0);
    CHECK(read.len == head_len && memcmp(read.data, bytes.data, head_len) == 0);
    if (CHECK(file.entries_count == 3 && file.metadata_count == 1)) {
        CHECK(strcmp(file.entries[0].name, odd) == 0 && file.entries[0].begin == head_len);
        CHECK(strcmp(file.metadata[0].key, odd) == 0 && file.metadata[0].value_len == 0);
    }
    mlp_reader_close(&reader);
    mlp_safetensors_clear(&file);
    mlp_buffer_clear(&read);
    mlp_buffer_clear(&bytes);
}

static void what_the_format_has_no_place_for_is_refused(void)
{
    const struct mlp_safetensors_item wide = {"a", 1, MLP_DTYPE_C128, 0, NULL, 16, 0};
    const struct mlp_safetensors_item own = {"__metadata__", 12, MLP_DTYPE_U8, 0, NULL, 1, 0};
    const struct mlp_safetensors_item bad = {"\xff", 1, MLP_DTYPE_U8, 0, NULL, 1, 0};
    struct mlp_buffer bytes = {0};
    CHECK(mlp_safetensors_check(&wide, NULL) == MLP_E_CONFIG);
    CHECK(mlp_safetensors_check(&own, NULL) == MLP_E_CONFIG);
    CHECK(mlp_safetensors_head_append(&bytes, &bad, 1, NULL, 0, NULL) == MLP_E_MALFORMED);
    mlp_buffer_clear(&bytes);
}

int main(void)
{
    values = malloc(VALUES_LEN);
    if (values == NULL || !make_directory())
        return 1;
    random_fill(values, VALUES_LEN);
    RUN(tensors_are_written_and_hashed_on_any_number_of_threads);
    RUN(a_write_that_fails_is_the_answer);
    RUN(a_device_that_fails_is_the_answer);
    RUN(parts_are_read_and_hashed_on_any_number_of_threads);
    RUN(a_file_that_ends_too_early_is_no_part);
    RUN(a_header_is_read_as_it_was_written);
    RUN(what_the_format_has_no_place_for_is_refused);
    remove_directory();
    free(values);
    return check_finish();
}
