/* ipfs.c - the checkpoint's note as one raw block on an IPFS node. Storage, not time.
 *
 * The CID is computed here, from the bytes, before anything is sent (ipfs_rpc.h); the block is read back.
 */
#include "anchor/anchor.h"

#include "anchor/ipfs_rpc.h"
#include "codec/json.h"

#include <string.h>

#define EVIDENCE_MAX 65536
#define DEPTH_MAX    8

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

static const uint8_t *cid_of(const struct mlp_anchor_work *work)
{
    return mlp_intent_last(work->intent)->reference.data;
}

static int submit(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                  struct mlp_error *error)
{
    const struct mlp_buffer *bytes = &mlp_intent_last(work->intent)->bytes;
    int status = mlp_ipfs_put(work, cid_of(work), bytes->data, bytes->len, error);
    if (status == 0)
        status = mlp_ipfs_pin(work, cid_of(work), error);
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

static int prove(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                 struct mlp_anchor_outcome *outcome, struct mlp_error *error)
{
    (void)outcome; /* a block's name is its content: it is not lost to another */
    char cid[MLP_CID_TEXT_MAX];
    int status = mlp_ipfs_check_pin(work, cid_of(work), error);
    if (status == 0)
        status = mlp_ipfs_get(work, cid_of(work), mlp_intent_last(work->intent)->bytes.len, error);
    if (status != 0)
        return status;
    mlp_cid_encode(cid, cid_of(work));
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
    int status = mlp_json_read(&document, evidence, evidence_len, EVIDENCE_MAX, DEPTH_MAX, error);
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
