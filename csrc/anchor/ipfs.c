/* ipfs.c - the checkpoint's note as one raw block on an IPFS node. Storage, not time.
 *
 * The CID is computed here, from the bytes, before anything is sent; whatever the node answers is
 * compared with it as bytes, and the block is read back. A block's name is its content: sending it again
 * changes nothing, so there is nothing to look up before.
 *
 * Source: docs.ipfs.tech/reference/kubo/rpc: POST only; block/put, pin/add, pin/ls, block/get.
 */
#include "anchor/anchor.h"

#include "codec/cid.h"
#include "codec/json.h"
#include "hash/hash.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MAX  65536 /* of JSON */
#define DEPTH_MAX   8
#define HEADERS_MAX 8

static int plan(struct mlp_anchor_work *work, struct mlp_buffer *reference,
                struct mlp_buffer *bytes, struct mlp_error *error)
{
    const struct mlp_intent *intent = work->intent;
    uint8_t cid[MLP_CID_LEN];
    int status =
        mlp_cid_of_block(cid, MLP_CID_RAW, intent->payload.data, intent->payload.len, error);
    if (status != 0)
        return status;
    mlp_buffer_append(reference, cid, sizeof cid);
    mlp_buffer_append(bytes, intent->payload.data, intent->payload.len);
    return 0;
}

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

static void name_of(char text[MLP_CID_TEXT_MAX], const struct mlp_anchor_work *work)
{
    mlp_cid_encode(text, mlp_intent_last(work->intent)->reference.data);
}

static int fail_answer(const char *what, const struct mlp_error *detail, struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_REMOTE,
                    "the IPFS node's answer to %s cannot be used: %s; check that the endpoint is a "
                    "Kubo RPC interface",
                    what, detail->message);
}

/* Holds a CID that the node wrote against ours. */
static int compare(const struct mlp_anchor_work *work, const char *text, size_t text_len,
                   const char *what, struct mlp_error *error)
{
    uint8_t cid[MLP_CID_LEN];
    char ours[MLP_CID_TEXT_MAX];
    struct mlp_error detail = {0};
    if (mlp_cid_decode(cid, text, text_len, &detail) != 0)
        return fail_answer(what, &detail, error);
    if (memcmp(cid, mlp_intent_last(work->intent)->reference.data, MLP_CID_LEN) == 0)
        return 0;
    name_of(ours, work);
    return mlp_fail(
        error, MLP_E_MISMATCH,
        "the IPFS node answered to %s with another CID than that of what was sent: %.*s, "
        "not %s; use a node that you trust to keep what it is given",
        what, text_len < 70 ? (int)text_len : 70, text, ours);
}

/* ---- sending ---- */

static int multipart(struct mlp_buffer *body, char *content_type, size_t content_type_size,
                     const struct mlp_buffer *bytes, struct mlp_error *error)
{
    /* The boundary must not be in the bytes; none has its own hash in it. */
    uint8_t digest[32];
    int status = mlp_hash(MLP_SHA256, digest, bytes->data, bytes->len, error);
    if (status != 0)
        return status;
    struct mlp_buffer boundary = {0};
    mlp_buffer_append_text(&boundary, "mlprov-");
    mlp_buffer_append_hex(&boundary, digest, 16);
    mlp_buffer_append(&boundary, "", 1);
    if (mlp_buffer_status(&boundary) == 0) {
        (void)snprintf(content_type, content_type_size,
                       "Content-Type: multipart/form-data; boundary=%s", (char *)boundary.data);
        mlp_buffer_append_text(body, "--");
        mlp_buffer_append_text(body, (char *)boundary.data);
        mlp_buffer_append_text(body, "\r\nContent-Disposition: form-data; name=\"data\"; "
                                     "filename=\"block\"\r\n"
                                     "Content-Type: application/octet-stream\r\n\r\n");
        mlp_buffer_append(body, bytes->data, bytes->len);
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

/* The answer's "Key" is what the node takes the block's name for. */
static int check_put(const struct mlp_anchor_work *work, struct mlp_error *error)
{
    static const char what[] = "block/put";
    struct mlp_json_document *document = NULL;
    struct mlp_error detail = {0};
    const char *key = NULL;
    size_t key_len = 0;
    int status = mlp_json_read(&document, work->answer.body.data, work->answer.body.len, ANSWER_MAX,
                               DEPTH_MAX, &detail);
    if (status == 0)
        status =
            mlp_json_require_string(&key, &key_len, mlp_json_root(document), "Key", "it", &detail);
    status =
        status == 0 ? compare(work, key, key_len, what, error) : fail_answer(what, &detail, error);
    mlp_json_free(document);
    return status;
}

static int submit(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                  struct mlp_error *error)
{
    struct mlp_buffer body = {0};
    char content_type[128], cid[MLP_CID_TEXT_MAX], path[128];
    int status = multipart(&body, content_type, sizeof content_type,
                           &mlp_intent_last(work->intent)->bytes, error);
    if (status == 0)
        status = ask(work, "block/put?format=raw&mhtype=sha2-256&pin=false", content_type, &body,
                     ANSWER_MAX, error);
    mlp_buffer_clear(&body);
    if (status == 0)
        status = check_put(work, error);
    if (status != 0)
        return status;
    name_of(cid, work);
    (void)snprintf(path, sizeof path, "pin/add?arg=%s", cid);
    status = ask(work, path, NULL, NULL, ANSWER_MAX, error);
    if (status == 0)
        outcome->next = MLP_ANCHOR_INCLUDED;
    return status;
}

static int poll(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                struct mlp_error *error)
{
    (void)error;
    /* Read back and pinned is all that a node can show. */
    if (work->intent->state == MLP_ANCHOR_PROVED)
        outcome->next = MLP_ANCHOR_FINAL;
    return 0;
}

/* ---- evidence ---- */

/* Returns: 0: the node lists the CID among its pins. */
static int check_pin(struct mlp_anchor_work *work, const char *cid, struct mlp_error *error)
{
    static const char what[] = "pin/ls";
    char path[128];
    struct mlp_json_document *document = NULL;
    struct mlp_error detail = {0};
    const struct mlp_json_value *keys = NULL;
    struct mlp_json_member member = {0};
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
        status = compare(work, member.key, member.key_len, what, error);
    mlp_json_free(document);
    return status;
}

static int prove(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                 struct mlp_anchor_outcome *outcome, struct mlp_error *error)
{
    (void)outcome; /* a block's name is its content: it is not lost to another */
    const struct mlp_buffer *sent = &mlp_intent_last(work->intent)->bytes;
    char cid[MLP_CID_TEXT_MAX], path[128];
    name_of(cid, work);
    int status = check_pin(work, cid, error);
    if (status != 0)
        return status;
    (void)snprintf(path, sizeof path, "block/get?arg=%s", cid);
    status = ask(work, path, NULL, NULL, sent->len + 1, error);
    if (status != 0)
        return status;
    if (work->answer.body.len != sent->len ||
        memcmp(work->answer.body.data, sent->data, sent->len) != 0)
        return mlp_fail(
            error, MLP_E_MISMATCH,
            "the IPFS node gave other bytes for %s than were put there; use a node that "
            "you trust to keep what it is given",
            cid);
    mlp_buffer_append_text(evidence, "{\"cid\":\"");
    mlp_buffer_append_text(evidence, cid);
    mlp_buffer_append_text(evidence, "\",\"kind\":\"ipfs\",\"version\":1}");
    return mlp_buffer_status(evidence) == 0
               ? 0
               : mlp_fail(error, MLP_E_MEMORY, "cannot keep evidence: out of memory");
}

static int verify(const void *evidence, size_t evidence_len, const void *payload,
                  size_t payload_len, struct mlp_error *error)
{
    uint8_t said[MLP_CID_LEN], computed[MLP_CID_LEN];
    struct mlp_json_document *document = NULL;
    const char *text = NULL;
    size_t text_len = 0;
    int status = mlp_json_read(&document, evidence, evidence_len, ANSWER_MAX, DEPTH_MAX, error);
    if (status == 0)
        status = mlp_json_require_string(&text, &text_len, mlp_json_root(document), "cid",
                                         "the evidence of IPFS", error);
    if (status == 0)
        status = mlp_cid_decode(said, text, text_len, error);
    if (status == 0)
        status = mlp_cid_of_block(computed, MLP_CID_RAW, payload, payload_len, error);
    if (status == 0 && memcmp(said, computed, MLP_CID_LEN) != 0)
        status = mlp_fail(error, MLP_E_MISMATCH, "the CID %.*s is not that of the checkpoint",
                          text_len < 70 ? (int)text_len : 70, text);
    mlp_json_free(document);
    return status;
}

const struct mlp_anchor_kind mlp_anchor_ipfs = {.name = "ipfs",
                                                .chain = "ipfs",
                                                .plan = plan,
                                                .submit = submit,
                                                .poll = poll,
                                                .prove = prove,
                                                .verify = verify};
