/* ipfs_file.c - a file (a bundle, a model) on an IPFS node, block by block. Storage, not time.
 *
 * The file stays where it is: the intent holds its path, its CID and its length, as JSON. Before anything
 * is sent the CID is computed again, so that what somebody put there meanwhile is not published, and once
 * more while the blocks are read to be sent. Each block goes with its own request and is answered with its
 * own CID; the root is pinned, which keeps all that is under it. Sending a block again changes nothing: what
 * was interrupted begins anew, and two processes that send one file do no harm.
 *
 * Read back is every node of the tree, from the root down, and of the leaves all, or some LEAVES_READ of a
 * large file: which ones, the node cannot know. The evidence says how many.
 */
#include "anchor/anchor.h"

#include "anchor/ipfs_rpc.h"
#include "base/clock.h"
#include "codec/json.h"
#include "files/unixfs.h"
#include "hash/hash.h"

#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX MLP_INTENT_PAYLOAD_MAX
#define DEPTH_MAX   8
#define LEAVES_READ 64
#define LEVELS_MAX  8 /* more than 2^63 bytes have, in nodes of 1,024 links */

/* ---- the payload: {"cid": ..., "path": ..., "size": ..., ...}, written by mlprov/publishing.py ---- */

struct file {
    struct mlp_json_document *document;
    const char *path; /* lies in the document */
    uint8_t cid36[MLP_CID_LEN];
    uint64_t len;
};

static int read_members(struct file *file, struct mlp_error *error)
{
    static const char what[] = "a file that is to be published";
    const struct mlp_json_value *root = mlp_json_root(file->document), *size = NULL;
    const char *cid = NULL;
    size_t cid_len = 0, path_len = 0;
    int status = mlp_json_require_string(&cid, &cid_len, root, "cid", what, error);
    if (status == 0)
        status = mlp_json_require_string(&file->path, &path_len, root, "path", what, error);
    if (status == 0)
        status = mlp_json_require(&size, root, "size", MLP_JSON_INTEGER, what, error);
    if (status == 0 && (strlen(file->path) != path_len || mlp_json_integer(size) < 0))
        status = mlp_fail(error, MLP_E_MALFORMED, "%s: its path or size cannot be", what);
    if (status == 0)
        status = mlp_cid_decode(file->cid36, cid, cid_len, error);
    if (status == 0)
        file->len = (uint64_t)mlp_json_integer(size);
    return status;
}

static int read_file(struct file *file, const void *payload, size_t payload_len,
                     struct mlp_error *error)
{
    *file = (struct file){0};
    int status =
        mlp_json_read(&file->document, payload, payload_len, PAYLOAD_MAX, DEPTH_MAX, error);
    return status != 0 ? status : read_members(file, error);
}

static void clear_file(struct file *file)
{
    mlp_json_free(file->document);
}

static int plan(struct mlp_anchor_work *work, struct mlp_buffer *reference,
                struct mlp_buffer *bytes, struct mlp_error *error)
{
    const struct mlp_intent *intent = work->intent;
    struct file file;
    int status = read_file(&file, intent->payload.data, intent->payload.len, error);
    if (status == 0) {
        mlp_buffer_append(reference, file.cid36, MLP_CID_LEN);
        mlp_buffer_append(bytes, intent->payload.data, intent->payload.len);
    }
    clear_file(&file);
    return status;
}

/* ---- sending ---- */

static int put(void *context, const uint8_t cid36[MLP_CID_LEN], const void *block, size_t block_len,
               struct mlp_error *error)
{
    return mlp_ipfs_put(context, cid36, block, block_len, error);
}

/* Nobody but the user can mend what is wrong with the file. */
static int for_operator(int status, struct mlp_error *error)
{
    if (status == 0 || status == MLP_E_NETWORK || status == MLP_E_REMOTE ||
        status == MLP_E_MISMATCH || status == MLP_E_MEMORY)
        return status;
    return mlp_fail_in(error, MLP_E_REMOTE, "cannot publish a file");
}

static int check_same(const struct file *file, const struct mlp_unixfs_link *seen,
                      struct mlp_error *error)
{
    char expected[MLP_CID_TEXT_MAX], text[MLP_CID_TEXT_MAX];
    if (memcmp(seen->cid36, file->cid36, MLP_CID_LEN) == 0 && seen->file_len == file->len)
        return 0;
    mlp_cid_encode(expected, file->cid36);
    mlp_cid_encode(text, seen->cid36);
    return mlp_fail(error, MLP_E_MISMATCH,
                    "cannot publish %s: it is no longer what was to be published: seen %s, "
                    "expected %s; put that file back, or publish this one anew",
                    file->path, text, expected);
}

/* On one thread: training may need the others. */
static int send_file(struct mlp_anchor_work *work, const struct file *file, struct mlp_error *error)
{
    const struct mlp_unixfs_sink sink = {put, work};
    struct mlp_unixfs_link seen = {0};
    int status = mlp_file_cid(&seen, file->path, &MLP_UNIXFS_V1_2025, 1, NULL, error);
    if (status == 0)
        status = check_same(file, &seen, error);
    if (status == 0)
        status = mlp_file_blocks(&seen, file->path, &MLP_UNIXFS_V1_2025, &sink, NULL, error);
    if (status == 0)
        status = check_same(file, &seen, error);
    return for_operator(status, error);
}

static int submit(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                  struct mlp_error *error)
{
    struct file file;
    int status = read_file(&file, work->intent->payload.data, work->intent->payload.len, error);
    if (status == 0)
        status = send_file(work, &file, error);
    if (status == 0)
        status = mlp_ipfs_pin(work, file.cid36, error);
    if (status == 0)
        outcome->next = MLP_ANCHOR_INCLUDED;
    clear_file(&file);
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

/* ---- reading back ---- */

struct reading_back {
    struct mlp_anchor_work *work;
    uint64_t leaves; /* that the file has */
    uint64_t seed;
    uint64_t seen; /* leaves that were come by */
    uint64_t read; /* blocks that were read */
    uint64_t blocks;
};

/* Which leaves are read: of few all, else the first and about LEAVES_READ more. */
static int choose(const struct reading_back *back, bool *chosen, struct mlp_error *error)
{
    uint64_t number[2] = {back->seed, back->seen};
    uint8_t digest32[32];
    int status = mlp_hash(MLP_SHA256, digest32, number, sizeof number, error);
    *chosen = back->leaves <= LEAVES_READ || back->seen == 0 ||
              mlp_load_le64(digest32) % back->leaves < LEAVES_READ;
    return status;
}

static int read_leaf(struct reading_back *back, const struct mlp_unixfs_link *link,
                     struct mlp_error *error)
{
    bool chosen = false;
    int status = choose(back, &chosen, error);
    back->seen++;
    back->blocks++;
    if (status != 0 || !chosen)
        return status;
    status = mlp_ipfs_get(back->work, link->cid36, MLP_UNIXFS_BLOCK_MAX, error);
    back->read += status == 0;
    if (status == 0 && back->work->answer.body.len != link->file_len)
        status = mlp_fail(error, MLP_E_MISMATCH,
                          "a block of the file has another length than its "
                          "node says; publish the file anew");
    return status;
}

static int read_tree(struct reading_back *back, const struct mlp_unixfs_link *link, unsigned levels,
                     struct mlp_error *error)
{
    struct mlp_unixfs_node node = {0};
    if (link->cid36[1] == MLP_CID_RAW)
        return read_leaf(back, link, error);
    if (levels == 0)
        return mlp_fail(error, MLP_E_MISMATCH, "the tree of the file is too deep; publish it anew");
    int status = mlp_ipfs_get(back->work, link->cid36, MLP_UNIXFS_BLOCK_MAX, error);
    if (status == 0)
        status = mlp_unixfs_node_read(&node, back->work->answer.body.data,
                                      back->work->answer.body.len, error);
    if (status == 0 && node.file_len != link->file_len)
        status = mlp_fail(error, MLP_E_MISMATCH,
                          "a node of the file has another length than is "
                          "said of it; publish the file anew");
    back->blocks += status == 0;
    back->read += status == 0;
    for (size_t i = 0; status == 0 && i < node.links_count; i++)
        status = read_tree(back, &node.links[i], levels - 1, error);
    mlp_unixfs_node_clear(&node);
    return status;
}

static void append_evidence(struct mlp_buffer *evidence, const struct file *file,
                            const struct reading_back *back)
{
    char cid[MLP_CID_TEXT_MAX];
    mlp_cid_encode(cid, file->cid36);
    mlp_buffer_append_text(evidence, "{\"blocks\":");
    mlp_buffer_append_u64(evidence, back->blocks);
    mlp_buffer_append_text(evidence, ",\"cid\":\"");
    mlp_buffer_append_text(evidence, cid);
    mlp_buffer_append_text(evidence, "\",\"kind\":\"ipfs-file\",\"read_back\":");
    mlp_buffer_append_u64(evidence, back->read);
    mlp_buffer_append_text(evidence, ",\"version\":1}");
}

static int prove(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                 struct mlp_anchor_outcome *outcome, struct mlp_error *error)
{
    (void)outcome; /* a block's name is its content: it is not lost to another */
    struct file file;
    struct reading_back back = {.work = work, .seed = (uint64_t)mlp_clock_now()};
    int status = read_file(&file, work->intent->payload.data, work->intent->payload.len, error);
    if (status == 0)
        status = mlp_ipfs_check_pin(work, file.cid36, error);
    if (status == 0) {
        struct mlp_unixfs_link root = {.file_len = file.len};
        memcpy(root.cid36, file.cid36, MLP_CID_LEN);
        back.leaves = file.len / MLP_UNIXFS_CHUNK_MAX + 1;
        status = read_tree(&back, &root, LEVELS_MAX, error);
    }
    if (status == 0)
        append_evidence(evidence, &file, &back);
    if (status == 0 && mlp_buffer_status(evidence) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "cannot keep evidence: out of memory");
    clear_file(&file);
    return status;
}

static int verify(const void *evidence, size_t evidence_len, const void *payload,
                  size_t payload_len, struct mlp_error *error)
{
    struct file file;
    struct mlp_json_document *document = NULL;
    const char *text = NULL;
    size_t text_len = 0;
    uint8_t said[MLP_CID_LEN];
    int status = read_file(&file, payload, payload_len, error);
    if (status == 0)
        status = mlp_json_read(&document, evidence, evidence_len, PAYLOAD_MAX, DEPTH_MAX, error);
    if (status == 0)
        status = mlp_json_require_string(&text, &text_len, mlp_json_root(document), "cid",
                                         "the evidence of a file on IPFS", error);
    if (status == 0)
        status = mlp_cid_decode(said, text, text_len, error);
    if (status == 0 && memcmp(said, file.cid36, MLP_CID_LEN) != 0)
        status = mlp_fail(error, MLP_E_MISMATCH, "the CID %.*s is not that of the file",
                          text_len < 70 ? (int)text_len : 70, text);
    mlp_json_free(document);
    clear_file(&file);
    return status;
}

const struct mlp_anchor_kind mlp_anchor_ipfs_file = {.name = "ipfs-file",
                                                     .chain = "ipfs-file",
                                                     .plan = plan,
                                                     .submit = submit,
                                                     .poll = poll,
                                                     .prove = prove,
                                                     .verify = verify,
                                                     .takes_files = true};
