#include "anchor/ethereum_block.h"

#include "hash/keccak.h"

#include <inttypes.h>
#include <string.h>

/* ---- header: Yellow Paper, section 4.3, equation 44 ---- */

#define FIELDS_MIN 15
#define FIELDS_MAX 64 /* 21 since the Prague fork; what later forks append is hashed and not read */

enum {
    TRANSACTIONS_ROOT = 4,
    RECEIPTS_ROOT = 5,
    NUMBER = 8,
    TIMESTAMP = 11,
};

/* Lengths of the first fields; -1: a number, -2: up to 32 bytes of the proposer's own. */
static const int field_lengths[FIELDS_MIN] = {32, 32, 20, 32, 32, 32, 256, -1,
                                              -1, -1, -1, -1, -2, 32, 8};

static int check_field(size_t place, const struct mlp_rlp_item *item, struct mlp_error *error)
{
    uint8_t number[32];
    int length = field_lengths[place];
    if (length == -1)
        return mlp_rlp_uint256(number, item, error);
    if (item->is_list ||
        (length == -2 ? item->payload_len > 32 : item->payload_len != (size_t)length))
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed block header: field %zu has %zu bytes, expected are %s%d", place,
                        item->payload_len, length == -2 ? "at most " : "",
                        length == -2 ? 32 : length);
    return 0;
}

int mlp_ethereum_header_decode(struct mlp_ethereum_header *header, const void *rlp, size_t rlp_len,
                               struct mlp_error *error)
{
    struct mlp_rlp_item list, fields[FIELDS_MIN];
    int status = mlp_rlp_read(&list, rlp, rlp_len, error);
    if (status != 0)
        return status;
    struct mlp_rlp_rest rest = mlp_rlp_items(&list);
    size_t count = 0;
    while (status == 0 && rest.len > 0 && count < FIELDS_MAX) {
        struct mlp_rlp_item item;
        status = mlp_rlp_next(&item, &rest, error);
        if (status == 0 && count < FIELDS_MIN) {
            fields[count] = item;
            status = check_field(count, &item, error);
        }
        count++;
    }
    if (status != 0)
        return status;
    if (!list.is_list || count < FIELDS_MIN || rest.len > 0)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed block header: a list of %d to %d fields is expected", FIELDS_MIN,
                        FIELDS_MAX);
    struct mlp_ethereum_header read;
    status = mlp_rlp_uint64(&read.number, &fields[NUMBER], error);
    if (status == 0)
        status = mlp_rlp_uint64(&read.timestamp, &fields[TIMESTAMP], error);
    if (status != 0)
        return status;
    memcpy(read.transactions_root32, fields[TRANSACTIONS_ROOT].payload, 32);
    memcpy(read.receipts_root32, fields[RECEIPTS_ROOT].payload, 32);
    mlp_keccak256(read.hash32, rlp, rlp_len);
    *header = read;
    return 0;
}

/* ---- receipts ---- */

#define RLP_LIST_MIN 0xc0 /* EIP-2718: below it stands a type, from it on a list without one */
#define TYPE_MAX     0x7f

int mlp_ethereum_receipt_decode(struct mlp_ethereum_receipt *receipt, const void *bytes,
                                size_t bytes_len, struct mlp_error *error)
{
    enum { STATUS, GAS_USED, BLOOM, LOGS, ITEMS_COUNT };
    const uint8_t *rlp = bytes;
    struct mlp_ethereum_receipt read = {0};
    struct mlp_rlp_item items[ITEMS_COUNT];
    uint64_t succeeded = 0, gas_used;
    uint8_t bloom[256];
    if (bytes_len > 0 && rlp[0] < RLP_LIST_MIN) {
        if (rlp[0] > TYPE_MAX)
            return mlp_fail(error, MLP_E_MALFORMED, "malformed receipt: its type is 0x%02x",
                            rlp[0]);
        read.type = *rlp++;
        bytes_len--;
    }
    int status = mlp_rlp_read_list(items, ITEMS_COUNT, rlp, bytes_len, error);
    if (status == 0)
        status = mlp_rlp_uint64(&succeeded, &items[STATUS], error);
    if (status == 0)
        status = mlp_rlp_uint64(&gas_used, &items[GAS_USED], error);
    if (status == 0)
        status = mlp_rlp_exact(bloom, sizeof bloom, &items[BLOOM], error);
    if (status != 0)
        return status;
    if (succeeded > 1 || !items[LOGS].is_list)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed receipt: its status is %" PRIu64 " and its logs are a %s",
                        succeeded, items[LOGS].is_list ? "list" : "string");
    read.succeeded = succeeded == 1;
    read.logs = items[LOGS];
    *receipt = read;
    return 0;
}

static int read_topics(struct mlp_ethereum_log *log, const struct mlp_rlp_item *topics,
                       struct mlp_error *error)
{
    struct mlp_rlp_rest rest = mlp_rlp_items(topics);
    if (!topics->is_list)
        return mlp_fail(error, MLP_E_MALFORMED, "malformed log: its topics are a string");
    while (rest.len > 0) {
        struct mlp_rlp_item topic;
        int status = mlp_rlp_next(&topic, &rest, error);
        if (status != 0)
            return status;
        if (topic.is_list || topic.payload_len != 32 ||
            log->topics_count == MLP_ETHEREUM_TOPICS_MAX)
            return mlp_fail(error, MLP_E_MALFORMED,
                            "malformed log: at most %d topics of 32 bytes are expected",
                            MLP_ETHEREUM_TOPICS_MAX);
        log->topics32[log->topics_count++] = topic.payload;
    }
    return 0;
}

int mlp_ethereum_receipt_log(struct mlp_ethereum_log *log,
                             const struct mlp_ethereum_receipt *receipt, uint64_t place,
                             struct mlp_error *error)
{
    enum { ADDRESS, TOPICS, DATA, ITEMS_COUNT };
    struct mlp_rlp_rest rest = mlp_rlp_items(&receipt->logs);
    struct mlp_rlp_item item, items[ITEMS_COUNT];
    for (uint64_t at = 0; at <= place; at++) {
        if (rest.len == 0)
            return mlp_fail(error, MLP_E_MISMATCH,
                            "the receipt has %" PRIu64 " logs, none at place %" PRIu64, at, place);
        int status = mlp_rlp_next(&item, &rest, error);
        if (status != 0)
            return status;
    }
    int status = mlp_rlp_read_list(items, ITEMS_COUNT, item.encoded, item.encoded_len, error);
    if (status != 0)
        return status;
    if (items[ADDRESS].is_list || items[ADDRESS].payload_len != 20 || items[DATA].is_list)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed log: an address of 20 bytes, topics and data are expected");
    struct mlp_ethereum_log read = {.address20 = items[ADDRESS].payload};
    status = read_topics(&read, &items[TOPICS], error);
    if (status == 0)
        *log = read;
    return status;
}
