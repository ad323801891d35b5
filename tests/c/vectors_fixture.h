/* vectors_fixture.h - third-party vectors in JSON: ../shared/vectors, from the project's folder.
 *
 * Without that folder a test says SKIP and why; with CI=true in the environment it fails.
 */
#ifndef MLP_TESTS_VECTORS_FIXTURE_H
#define MLP_TESTS_VECTORS_FIXTURE_H

#include "base/file.h"
#include "check.h"
#include "codec/json.h"

#include <stdlib.h>
#include <string.h>

#define VECTORS_FOLDER "../shared/vectors/"
#define VECTORS_MAX    (16U << 20)

/* Returns: the document of a file under the folder; NULL after SKIP or a failed check. */
static inline struct mlp_json_document *read_vectors(const char *name)
{
    char path[256];
    struct mlp_buffer text = {0};
    struct mlp_json_document *document = NULL;
    struct mlp_error error = {0};
    (void)snprintf(path, sizeof path, VECTORS_FOLDER "%s", name);
    int status = mlp_file_read_path(&text, AT_FDCWD, path, VECTORS_MAX, &error);
    const char *ci = getenv("CI");
    if (status == MLP_E_NOT_FOUND && (ci == NULL || strcmp(ci, "true") != 0)) {
        SKIP("third-party vectors are not at " VECTORS_FOLDER);
    } else if (!CHECK(status == 0) ||
               !CHECK(mlp_json_read(&document, text.data, text.len, VECTORS_MAX, 0, &error) == 0)) {
        printf("  %s\n", error.message);
        document = NULL;
    }
    mlp_buffer_clear(&text);
    return document;
}

/* Appends the bytes of hexadecimal text in either case, with or without 0x. */
static inline void append_hex_text(struct mlp_buffer *bytes, const char *hex)
{
    if (strncmp(hex, "0x", 2) == 0)
        hex += 2;
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        const char pair[3] = {hex[0], hex[1], '\0'};
        uint8_t byte = (uint8_t)strtoul(pair, NULL, 16);
        mlp_buffer_append(bytes, &byte, 1);
    }
}

/* A member that is a string; "" where it is none. */
static inline const char *string_of(const struct mlp_json_value *object, const char *key)
{
    size_t len;
    const struct mlp_json_value *value = mlp_json_get(object, key);
    const char *text = value != NULL ? mlp_json_string(value, &len) : NULL;
    return text != NULL ? text : "";
}

#endif
