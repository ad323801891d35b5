#include "anchor/ipfs_rpc.h"

#include "codec/json.h"
#include "hash/hash.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX  65536 /* of JSON */
#define DEPTH_MAX   8
#define HEADERS_MAX 8
/* js-ipfs takes requests of at most 1 MiB for block/put, and of any length for add, of which a chunk is one
 * raw block where nothing cuts it. */
#define BLOCK_PUT_MAX 1000000

/* ---- asking ---- */

/* POSTs to PATH of the RPC interface; content_type NULL: no body. */
static int ask(struct mlp_anchor_work *work, const char *path, const char *content_type,
               const struct mlp_buffer *body, size_t answer_max, struct mlp_error *error)
{
    const struct mlp_anchor_endpoint *endpoint = work->endpoint;
    const char *headers[HEADERS_MAX + 1];
    char url[MLP_HTTP_URL_MAX + 1];
    size_t url_len = strlen(endpoint->url);
    size_t count = 0;
    while (url_len > 0 && endpoint->url[url_len - 1] == '/')
        url_len--;
    int written = snprintf(url, sizeof url, "%.*s/api/v0/%s", (int)url_len, endpoint->url, path);
    if (written < 0 || (size_t)written >= sizeof url || endpoint->headers_count > HEADERS_MAX)
        return mlp_fail(
            error, MLP_E_REMOTE,
            "the IPFS endpoint's URL is too long, or it has more than %d headers; shorten "
            "it in the configuration",
            HEADERS_MAX);
    for (; count < endpoint->headers_count; count++)
        headers[count] = endpoint->headers[count];
    if (content_type != NULL)
        headers[count++] = content_type;
    struct mlp_http_request request = {.url = url,
                                       .post = true,
                                       .body = body != NULL ? body->data : NULL,
                                       .body_len = body != NULL ? body->len : 0,
                                       .headers = headers,
                                       .headers_count = count,
                                       .ca_file = endpoint->ca_file,
                                       .answer_max = answer_max,
                                       .timeout_ms = endpoint->timeout_ms};
    return mlp_http_send(work->client, &work->answer, &request, error);
}

static int fail_answer(const char *what, const struct mlp_error *detail, struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_REMOTE,
                    "the IPFS node's answer to %s cannot be used: %s; check that the endpoint is a "
                    "Kubo RPC interface",
                    what, detail->message);
}

/* Holds a CID that the node wrote against ours. */
static int compare(const uint8_t *cid36, const char *text, size_t text_len, const char *what,
                   struct mlp_error *error)
{
    uint8_t cid[MLP_CID_LEN];
    char ours[MLP_CID_TEXT_MAX];
    struct mlp_error detail = {0};
    if (mlp_cid_decode(cid, text, text_len, &detail) != 0)
        return fail_answer(what, &detail, error);
    if (memcmp(cid, cid36, MLP_CID_LEN) == 0)
        return 0;
    mlp_cid_encode(ours, cid36);
    return mlp_fail(
        error, MLP_E_MISMATCH,
        "the IPFS node answered to %s with another CID than that of what was sent: %.*s, "
        "not %s; use a node that you trust to keep what it is given",
        what, text_len < 70 ? (int)text_len : 70, text, ours);
}

/* ---- sending ---- */

static int multipart(struct mlp_buffer *body, char *content_type, size_t content_type_size,
                     const uint8_t cid36[MLP_CID_LEN], const void *block, size_t block_len,
                     struct mlp_error *error)
{
    int status = 0;
    struct mlp_buffer boundary = {0};
    /* The boundary must not be in the bytes; none has its own hash in it. */
    mlp_buffer_append_text(&boundary, "mlprov-");
    mlp_buffer_append_hex(&boundary, cid36 + 4, 16);
    mlp_buffer_append(&boundary, "", 1);
    if (mlp_buffer_status(&boundary) == 0) {
        (void)snprintf(content_type, content_type_size,
                       "Content-Type: multipart/form-data; boundary=%s", (char *)boundary.data);
        mlp_buffer_append_text(body, "--");
        mlp_buffer_append_text(body, (char *)boundary.data);
        mlp_buffer_append_text(body, "\r\nContent-Disposition: form-data; name=\"data\"; "
                                     "filename=\"block\"\r\n"
                                     "Content-Type: application/octet-stream\r\n\r\n");
        mlp_buffer_append(body, block, block_len);
        mlp_buffer_append_text(body, "\r\n--");
        mlp_buffer_append_text(body, (char *)boundary.data);
        mlp_buffer_append_text(body, "--\r\n");
        status = mlp_buffer_status(body);
    } else {
        status = MLP_E_MEMORY;
    }
    mlp_buffer_clear(&boundary);
    return status == 0 ? 0 : mlp_fail(error, status, "cannot send to the IPFS node: out of memory");
}

/* A member of the answer is what the node takes the block's name for. */
static int check_put(const struct mlp_anchor_work *work, const uint8_t *cid36, const char *what,
                     const char *member, struct mlp_error *error)
{
    struct mlp_json_document *document = NULL;
    struct mlp_error detail = {0};
    const char *key = NULL;
    size_t key_len = 0;
    int status = mlp_json_read(&document, work->answer.body.data, work->answer.body.len, ANSWER_MAX,
                               DEPTH_MAX, &detail);
    if (status == 0)
        status =
            mlp_json_require_string(&key, &key_len, mlp_json_root(document), member, "it", &detail);
    status =
        status == 0 ? compare(cid36, key, key_len, what, error) : fail_answer(what, &detail, error);
    mlp_json_free(document);
    return status;
}

/* The names that multicodec's table has for codecs. */
static const char *codec_name(uint8_t codec)
{
    return codec == MLP_CID_DAG_PB ? "dag-pb" : codec == MLP_CID_DAG_CBOR ? "dag-cbor" : "raw";
}

int mlp_ipfs_put(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN], const void *block,
                 size_t block_len, struct mlp_error *error)
{
    struct mlp_buffer body = {0};
    char content_type[128], path[128];
    bool add = cid36[1] == MLP_CID_RAW && block_len > BLOCK_PUT_MAX;
    int status =
        multipart(&body, content_type, sizeof content_type, cid36, block, block_len, error);
    if (add)
        (void)snprintf(
            path, sizeof path,
            "add?cid-version=1&raw-leaves=true&chunker=size-%zu&pin=false&progress=false",
            block_len);
    else
        (void)snprintf(path, sizeof path, "block/put?format=%s&mhtype=sha2-256&pin=false",
                       codec_name(cid36[1]));
    if (status == 0)
        status = ask(work, path, content_type, &body, ANSWER_MAX, error);
    mlp_buffer_clear(&body);
    if (status != 0)
        return status;
    return check_put(work, cid36, add ? "add" : "block/put", add ? "Hash" : "Key", error);
}

/* ---- pinning ---- */

int mlp_ipfs_pin(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN],
                 struct mlp_error *error)
{
    char cid[MLP_CID_TEXT_MAX], path[128];
    mlp_cid_encode(cid, cid36);
    (void)snprintf(path, sizeof path, "pin/add?arg=%s", cid);
    return ask(work, path, NULL, NULL, ANSWER_MAX, error);
}

int mlp_ipfs_check_pin(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN],
                       struct mlp_error *error)
{
    static const char what[] = "pin/ls";
    char cid[MLP_CID_TEXT_MAX], path[128];
    struct mlp_json_document *document = NULL;
    struct mlp_error detail = {0};
    const struct mlp_json_value *keys = NULL;
    struct mlp_json_member member = {0};
    mlp_cid_encode(cid, cid36);
    (void)snprintf(path, sizeof path, "pin/ls?arg=%s", cid);
    int status = ask(work, path, NULL, NULL, ANSWER_MAX, error);
    if (status != 0)
        return status;
    status = mlp_json_read(&document, work->answer.body.data, work->answer.body.len, ANSWER_MAX,
                           DEPTH_MAX, &detail);
    if (status == 0)
        status = mlp_json_require(&keys, mlp_json_root(document), "Keys", MLP_JSON_OBJECT, "it",
                                  &detail);
    if (status != 0)
        status = fail_answer(what, &detail, error);
    else if (!mlp_json_next(keys, &member))
        status =
            mlp_fail(error, MLP_E_REMOTE, "the IPFS node has not pinned %s; pin it there", cid);
    else
        status = compare(cid36, member.key, member.key_len, what, error);
    mlp_json_free(document);
    return status;
}

/* ---- reading back ---- */

int mlp_ipfs_get(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN],
                 size_t block_len_max, struct mlp_error *error)
{
    uint8_t computed[MLP_CID_LEN];
    char cid[MLP_CID_TEXT_MAX], path[128];
    const struct mlp_buffer *body = &work->answer.body;
    mlp_cid_encode(cid, cid36);
    (void)snprintf(path, sizeof path, "block/get?arg=%s", cid);
    int status = ask(work, path, NULL, NULL, block_len_max + 1, error);
    if (status == 0)
        status =
            mlp_cid_of_block(computed, (enum mlp_cid_codec)cid36[1], body->data, body->len, error);
    if (status != 0 || memcmp(computed, cid36, MLP_CID_LEN) == 0)
        return status;
    return mlp_fail(error, MLP_E_MISMATCH,
                    "the IPFS node gave other bytes for %s than were put there; use a node that "
                    "you trust to keep what it is given",
                    cid);
}
