/* Headers of safetensors files, against the specification and the reference implementation's own files. */
#include "check.h"
#include "tensor/safetensors.h"

#include <string.h>

/* Parses header + data_len bytes of data that is not there. */
static int parse_header(struct mlp_safetensors *file, const char *header, uint64_t data_len,
                        struct mlp_error *error)
{
    size_t len = strlen(header);
    return mlp_safetensors_parse(file, (const uint8_t *)header, len, 8 + len + data_len, error);
}

static void entries_are_sorted_by_name_and_count_from_the_file_start(void)
{
    static const char header[] =
        "{\"__metadata__\":{\"z\":\"1\",\"a\":\"\\u0000x\"},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"\xc3\xa9\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[8,11]},"
        "\"a\":{\"data_offsets\":[11,11],\"dtype\":\"I64\",\"shape\":[0,7]}}  ";
    struct mlp_safetensors file = {0};
    struct mlp_error error = {0};
    if (!CHECK(parse_header(&file, header, 11, &error) == 0)) {
        printf("  %s\n", error.message);
        return;
    }
    uint64_t start = 8 + strlen(header);
    CHECK(file.entries_count == 3 && file.metadata_count == 2);
    CHECK(strcmp(file.entries[0].name, "a") == 0 && strcmp(file.entries[1].name, "b") == 0);
    CHECK(file.entries[0].begin == start + 11 && file.entries[0].end == start + 11);
    CHECK(file.entries[0].ndim == 2 && file.entries[0].shape[1] == 7);
    CHECK(file.entries[1].begin == start && file.entries[1].end == start + 8);
    CHECK(file.entries[1].dtype == MLP_DTYPE_F32 && file.entries[2].dtype == MLP_DTYPE_F4);
    CHECK(strcmp(file.metadata[0].key, "a") == 0 && file.metadata[0].value_len == 2);
    mlp_safetensors_clear(&file);
    CHECK(file.entries == NULL && file.entries_count == 0);
}

#define ENTRY(members) "{\"t\":{" members "}}"

static void malformed_headers_are_refused(void)
{
    static const struct {
        const char *header;
        uint64_t data_len;
    } bad[] = {
        {"[]", 0},
        {"1", 0},
        {"", 0},
        {"{\"t\":1}", 0},
        {"{\"__metadata__\":{\"a\":1}}", 0},
        {"{\"__metadata__\":[]}", 0},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"shape\":[1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"C128\",\"shape\":[1],\"data_offsets\":[0,16]"), 16},
        {ENTRY("\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]"), 8},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1"), 4},
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 3}, /* cut short */
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 5}, /* trailing byte */
        {ENTRY("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8}, /* hole in front */
        {ENTRY("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]"), 1},  /* 12 bits */
        {ENTRY("\"dtype\":\"F32\",\"shape\":[9007199254740991,9007199254740991,9007199254740991,0],"
               "\"data_offsets\":[0,0]"),
         0},
        {"{}", 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
         6},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[5,9]}}",
         9},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
         8},
        {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4},
        {"{\"a\\u0000\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4},
        {ENTRY("\"dtype\":\"U8\",\"shape\":[[1]],\"data_offsets\":[0,1]"), 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mlp_safetensors file = {0};
        struct mlp_error error = {0};
        int status = parse_header(&file, bad[i].header, bad[i].data_len, &error);
        if (!CHECK(status == MLP_E_MALFORMED && error.message[0] != '\0'))
            printf("  %s -> %d\n", bad[i].header, status);
        CHECK(file.entries == NULL && file.metadata == NULL);
        mlp_safetensors_clear(&file);
    }
}

static void too_many_dimensions_in_a_header_are_refused(void)
{
    char header[400] = "{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,1],\"shape\":[1";
    struct mlp_safetensors file = {0};
    for (int i = 0; i < MLP_VIEW_DIMS_MAX; i++)
        strcat(header, ",1");
    strcat(header, "]}}");
    CHECK(parse_header(&file, header, 1, NULL) == MLP_E_MALFORMED);
}

static void header_lengths_beyond_the_file_are_refused(void)
{
    const uint8_t prefix[8] = {2, 0, 0, 0, 0, 0, 0, 0};
    const uint8_t over[8] = {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0}; /* 100,000,001 */
    const uint8_t wraps[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    size_t len = 0;
    CHECK(mlp_safetensors_header_len(&len, prefix, 8, 10, NULL) == 0 && len == 2);
    CHECK(mlp_safetensors_header_len(&len, prefix, 8, 9, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_safetensors_header_len(&len, prefix, 7, 7, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_safetensors_header_len(&len, over, 8, 200000000, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_safetensors_header_len(&len, wraps, 8, UINT64_MAX, NULL) == MLP_E_MALFORMED);
    struct mlp_safetensors file = {0};
    CHECK(mlp_safetensors_parse(&file, prefix, 8, 15, NULL) == MLP_E_MALFORMED);
}

static int parse_bytes(const uint8_t *bytes, size_t bytes_len)
{
    struct mlp_safetensors file = {0};
    size_t header_len;
    int status = mlp_safetensors_header_len(&header_len, bytes, bytes_len, bytes_len, NULL);
    if (status == 0)
        status = mlp_safetensors_parse(&file, bytes + 8, header_len, bytes_len, NULL);
    mlp_safetensors_clear(&file);
    return status;
}

/* The reference implementation's own unit tests, one file each; ok_ and bad_ say what is expected.
 */
static void the_vector_files_are_judged_as_the_reference_reader_judges_them(void)
{
    static const char *const names[] = {"ok_basic",
                                        "ok_whitespace_leading",
                                        "ok_whitespace_padded",
                                        "ok_zero_sized",
                                        "bad_header_length",
                                        "bad_header_non_utf8",
                                        "bad_header_not_json",
                                        "bad_header_too_large",
                                        "bad_header_too_small",
                                        "bad_info",
                                        "bad_missing_2_bytes",
                                        "bad_overflow_bytes",
                                        "bad_overflow_shape",
                                        "bad_trailing_polyglot"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[200];
        uint8_t bytes[4096];
        (void)snprintf(path, sizeof path, "../shared/vectors/safetensors-files/%s.safetensors",
                       names[i]);
        FILE *stream = fopen(path, "rb");
        if (stream == NULL) {
            SKIP("../shared/vectors is not here");
            return;
        }
        size_t len = fread(bytes, 1, sizeof bytes, stream);
        (void)fclose(stream);
        int expected = names[i][0] == 'o' ? 0 : MLP_E_MALFORMED;
        if (!CHECK(parse_bytes(bytes, len) == expected))
            printf("  %s\n", names[i]);
    }
}

int main(void)
{
    RUN(entries_are_sorted_by_name_and_count_from_the_file_start);
    RUN(malformed_headers_are_refused);
    RUN(too_many_dimensions_in_a_header_are_refused);
    RUN(header_lengths_beyond_the_file_are_refused);
    RUN(the_vector_files_are_judged_as_the_reference_reader_judges_them);
    return check_finish();
}
