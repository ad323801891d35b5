/* json.h - strict reading of JSON that others wrote. The only user of jansson.
 *
 * Our profile is stricter than RFC 8259 (docs/format.md section 1); every rule is named in the
 * error, with line and column (1-based, columns count characters):
 *   - valid UTF-8 without byte-order mark, no raw NUL byte, at most max_len bytes;
 *   - one value and nothing after it but white space;
 *   - nesting of arrays and objects at most max_depth;
 *   - object keys are unique and contain no NUL (\u0000); string values may;
 *   - no escaped surrogate without its partner;
 *   - a number written without fraction and exponent is an integer within +-(2^53 - 1); any other
 *     is a finite double (too small becomes 0, as strtod rounds it).
 * tests/json_profile.json lists what this makes of every file of the JSONTestSuite.
 *
 * Threads: a document may be read from any number of threads at once; nothing in it changes.
 * Reading a number uses the C locale's decimal point of the moment: setlocale must not run beside
 * mlp_json_read.
 * Ownership: values and texts belong to the document and live until mlp_json_free.
 * Memory: jansson needs up to about 60 bytes for one byte of hostile text ("[[],[],..."): choose
 * max_len so.
 */
#ifndef MLP_CODEC_JSON_H
#define MLP_CODEC_JSON_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_JSON_DEPTH_DEFAULT 64
#define MLP_JSON_DEPTH_MAX     512 /* jansson recurses: its own 2048 takes too much stack */
#define MLP_JSON_INTEGER_MAX   INT64_C(9007199254740991) /* 2^53 - 1: RFC 7493 section 2.2 */

struct mlp_json_document; /* opaque, heap */
struct mlp_json_value;    /* opaque, lives in its document */

enum mlp_json_type {
    MLP_JSON_NULL = 0,
    MLP_JSON_BOOLEAN,
    MLP_JSON_INTEGER,
    MLP_JSON_REAL,
    MLP_JSON_STRING,
    MLP_JSON_ARRAY,
    MLP_JSON_OBJECT,
};

/* max_depth 0 means MLP_JSON_DEPTH_DEFAULT.
 * Returns: 0; MLP_E_MALFORMED (breaks a rule above); MLP_E_MEMORY; MLP_E_ARGUMENT (max_depth above
 *          MLP_JSON_DEPTH_MAX). Free with mlp_json_free.
 */
int mlp_json_read(struct mlp_json_document **document, const void *text, size_t text_len,
                  size_t max_len, size_t max_depth, struct mlp_error *error);
void mlp_json_free(struct mlp_json_document *document); /* NULL is allowed */

/* Never NULL. */
const struct mlp_json_value *mlp_json_root(const struct mlp_json_document *document);

/* ---- what a value is ---- */

enum mlp_json_type mlp_json_type(const struct mlp_json_value *value);
/* "an object", "a string", ...: for messages. */
const char *mlp_json_type_name(enum mlp_json_type type);

/* Each is to be called on a value of its type; on another type it answers false, 0, NULL. */
bool mlp_json_boolean(const struct mlp_json_value *value);
int64_t mlp_json_integer(const struct mlp_json_value *value);
double mlp_json_real(const struct mlp_json_value *value);
/* UTF-8; NUL-terminated, but may contain NUL: text_len counts. */
const char *mlp_json_string(const struct mlp_json_value *value, size_t *text_len);

/* ---- arrays and objects ---- */

/* Elements or members; 0 for other types. */
size_t mlp_json_count(const struct mlp_json_value *value);

/* Returns: NULL where value is no array or index is beyond it. */
const struct mlp_json_value *mlp_json_at(const struct mlp_json_value *value, size_t index);

/* In:      key: NUL-terminated UTF-8.
 * Returns: NULL where value is no object or has no such key.
 */
const struct mlp_json_value *mlp_json_get(const struct mlp_json_value *value, const char *key);

/* A walk over an object's members in the order of the text:
 *
 *     struct mlp_json_member member = {0};
 *     while (mlp_json_next(object, &member))
 *         use(member.key, member.key_len, member.value);
 */
struct mlp_json_member {
    const char *key; /* UTF-8, NUL-terminated, contains no NUL */
    size_t key_len;
    const struct mlp_json_value *value;
    void *position; /* private */
};

/* Returns: true and the next member, or false at the end and where object is none. */
bool mlp_json_next(const struct mlp_json_value *object, struct mlp_json_member *member);

/* ---- members that must be there ---- */

/* In:      what: names the object in the error, e.g. "safetensors header, tensor \"a\"".
 * Returns: 0, or MLP_E_MALFORMED (missing, or of another type).
 */
int mlp_json_require(const struct mlp_json_value **member, const struct mlp_json_value *object,
                     const char *key, enum mlp_json_type type, const char *what,
                     struct mlp_error *error);
int mlp_json_require_string(const char **text, size_t *text_len,
                            const struct mlp_json_value *object, const char *key, const char *what,
                            struct mlp_error *error);

#endif
