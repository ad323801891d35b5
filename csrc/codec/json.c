#include "codec/json.h"

#include "codec/json_scan.h"
#include "codec/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* struct mlp_json_value is jansson's json_t under a name of ours; it is never defined. */
struct mlp_json_document {
    json_t *root;
};

static const struct mlp_json_value *value_of(const json_t *json)
{
    return (const struct mlp_json_value *)json;
}

static json_t *json_of(const struct mlp_json_value *value)
{
    /* jansson's readers take a json_t * that they do not change. */
    union {
        const struct mlp_json_value *in;
        json_t *out;
    } cast = {value};
    return cast.out;
}

/* Fails with line and column of text[offset]. */
static int fail_at(struct mlp_error *error, const uint8_t *text, size_t offset, const char *rule)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if ((text[i] & 0xC0) != 0x80) { /* not a continuation byte: a character begins */
            column++;
        }
    }
    return mlp_fail(error, MLP_E_MALFORMED, "refused JSON at line %zu, column %zu: %s", line,
                    column, rule);
}

/* ---- jansson's news in our words ---- */

/* After the scan these three rules are all that jansson can find broken; whatever else it says, it
 * could not allocate. */
static int fail_parse(struct mlp_error *error, const json_error_t *detail)
{
    const char *rule = NULL;
    if (json_error_code(detail) == json_error_duplicate_key)
        rule = "an object key appears twice";
    else if (json_error_code(detail) == json_error_null_byte_in_key)
        rule = "NUL in an object key";
    else if (json_error_code(detail) == json_error_numeric_overflow)
        rule = "a number too large for a double";
    if (rule == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read JSON: out of memory");
    return mlp_fail(error, MLP_E_MALFORMED, "refused JSON at line %d, column %d: %s", detail->line,
                    detail->column, rule);
}

int mlp_json_read(struct mlp_json_document **document, const void *text, size_t text_len,
                  size_t max_len, size_t max_depth, struct mlp_error *error)
{
    if (max_depth == 0)
        max_depth = MLP_JSON_DEPTH_DEFAULT;
    if (max_depth > MLP_JSON_DEPTH_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot read JSON nested %zu deep: at most %d",
                        max_depth, MLP_JSON_DEPTH_MAX);
    if (text_len > max_len)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "refused JSON of %zu bytes: at most %zu are allowed here", text_len,
                        max_len);
    if (text_len == 0)
        return mlp_fail(error, MLP_E_MALFORMED, "refused JSON: the text is empty");
    if (text_len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return fail_at(error, text, 0, "a byte-order mark");
    const uint8_t *nul = memchr(text, 0, text_len);
    if (nul != NULL)
        return fail_at(error, text, (size_t)(nul - (const uint8_t *)text), "a raw NUL byte");
    size_t valid_len = mlp_utf8_valid_len(text, text_len);
    if (valid_len != text_len)
        return fail_at(error, text, valid_len, "not valid UTF-8");
    size_t offset;
    const char *rule;
    if (!mlp_json_scan(&offset, &rule, text, text_len, max_depth))
        return fail_at(error, text, offset, rule);

    struct mlp_json_document *made = malloc(sizeof *made);
    if (made == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read JSON: out of memory");
    json_error_t detail;
    memset(&detail, 0, sizeof detail);
    made->root = json_loadb(text, text_len,
                            JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &detail);
    if (made->root == NULL) {
        free(made);
        return fail_parse(error, &detail);
    }
    *document = made;
    return 0;
}

void mlp_json_free(struct mlp_json_document *document)
{
    if (document == NULL)
        return;
    json_decref(document->root);
    free(document);
}

const struct mlp_json_value *mlp_json_root(const struct mlp_json_document *document)
{
    return value_of(document->root);
}

/* ---- values ---- */

enum mlp_json_type mlp_json_type(const struct mlp_json_value *value)
{
    switch (json_typeof(json_of(value))) {
    case JSON_OBJECT:
        return MLP_JSON_OBJECT;
    case JSON_ARRAY:
        return MLP_JSON_ARRAY;
    case JSON_STRING:
        return MLP_JSON_STRING;
    case JSON_INTEGER:
        return MLP_JSON_INTEGER;
    case JSON_REAL:
        return MLP_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return MLP_JSON_BOOLEAN;
    default:
        return MLP_JSON_NULL;
    }
}

const char *mlp_json_type_name(enum mlp_json_type type)
{
    static const char *const names[] = {"null",     "a boolean", "an integer", "a real number",
                                        "a string", "an array",  "an object"};
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "no JSON type";
}

bool mlp_json_boolean(const struct mlp_json_value *value)
{
    return json_is_true(json_of(value));
}

int64_t mlp_json_integer(const struct mlp_json_value *value)
{
    return json_integer_value(json_of(value));
}

double mlp_json_real(const struct mlp_json_value *value)
{
    return json_real_value(json_of(value));
}

const char *mlp_json_string(const struct mlp_json_value *value, size_t *text_len)
{
    *text_len = json_string_length(json_of(value));
    return json_string_value(json_of(value));
}

size_t mlp_json_count(const struct mlp_json_value *value)
{
    const json_t *json = json_of(value);
    return json_is_object(json) ? json_object_size(json) : json_array_size(json);
}

const struct mlp_json_value *mlp_json_at(const struct mlp_json_value *value, size_t index)
{
    return value_of(json_array_get(json_of(value), index));
}

const struct mlp_json_value *mlp_json_get(const struct mlp_json_value *value, const char *key)
{
    return value_of(json_object_get(json_of(value), key));
}

bool mlp_json_next(const struct mlp_json_value *object, struct mlp_json_member *member)
{
    json_t *json = json_of(object);
    void *position = member->position == NULL ? json_object_iter(json)
                                              : json_object_iter_next(json, member->position);
    if (position == NULL)
        return false;
    member->position = position;
    member->key = json_object_iter_key(position);
    member->key_len = strlen(member->key); /* keys contain no NUL */
    member->value = value_of(json_object_iter_value(position));
    return true;
}

/* ---- members that must be there ---- */

int mlp_json_require(const struct mlp_json_value **member, const struct mlp_json_value *object,
                     const char *key, enum mlp_json_type type, const char *what,
                     struct mlp_error *error)
{
    const struct mlp_json_value *found = mlp_json_get(object, key);
    if (found == NULL)
        return mlp_fail(error, MLP_E_MALFORMED, "%s: \"%s\" is missing", what, key);
    if (mlp_json_type(found) != type)
        return mlp_fail(error, MLP_E_MALFORMED, "%s: \"%s\" is %s, not %s", what, key,
                        mlp_json_type_name(mlp_json_type(found)), mlp_json_type_name(type));
    *member = found;
    return 0;
}

int mlp_json_require_string(const char **text, size_t *text_len,
                            const struct mlp_json_value *object, const char *key, const char *what,
                            struct mlp_error *error)
{
    const struct mlp_json_value *member = NULL;
    int status = mlp_json_require(&member, object, key, MLP_JSON_STRING, what, error);
    if (status == 0)
        *text = mlp_json_string(member, text_len);
    return status;
}
