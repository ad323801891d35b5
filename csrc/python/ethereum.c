/* ethereum.c - Ethereum without a network: Keccak-256, transactions, evidence. */
#include "python/ethereum.h"

#include "anchor/ethereum_prove.h"
#include "hash/keccak.h"

#include <stdlib.h>

/* Answers about one block; mainnet's have at most a few MB. */
#define ANSWER_MAX   (64U << 20)
#define ANSWER_DEPTH 16

static PyObject *MlpCore_keccak256(PyObject *Py_UNUSED(module), PyObject *data)
{
    Py_buffer buffer;
    uint8_t digest[MLP_KECCAK256_LEN];
    if (mlp_py_buffer(&buffer, data, "keccak256: data") != 0)
        return NULL;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    mlp_keccak256(digest, buffer.buf, (size_t)buffer.len);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    return mlp_py_bytes(digest, sizeof digest);
}

/* ---- intents: (chain id, nonce, priority fee, fee, gas, to or None, value, data) ---- */

enum { CHAIN_ID, NONCE, PRIORITY_FEE, FEE, GAS, TO, VALUE, DATA, INTENT_ITEMS };

static int read_number(struct mlp_py_state *state, uint64_t *number, PyObject *tuple,
                       Py_ssize_t item, const char *what)
{
    return mlp_py_uint64(state, number, PyTuple_GetItem(tuple, item), what, MLP_E_ARGUMENT);
}

int mlp_py_address(struct mlp_py_state *state, uint8_t address20[20], PyObject *object,
                   const char *what)
{
    const char *text;
    size_t text_len;
    struct mlp_error error;
    if (mlp_py_text(&text, &text_len, object, what) != 0)
        return -1;
    if (mlp_ethereum_address_decode(address20, text, text_len, &error) == 0)
        return 0;
    error.status = MLP_E_ARGUMENT;
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static int read_numbers(struct mlp_py_state *state, struct mlp_ethereum_intent *intent,
                        PyObject *tuple)
{
    uint64_t value;
    if (read_number(state, &intent->chain_id, tuple, CHAIN_ID, "intent: chain id") != 0 ||
        read_number(state, &intent->nonce, tuple, NONCE, "intent: nonce") != 0 ||
        read_number(state, &intent->max_priority_fee, tuple, PRIORITY_FEE,
                    "intent: highest priority fee") != 0 ||
        read_number(state, &intent->max_fee, tuple, FEE, "intent: highest fee") != 0 ||
        read_number(state, &intent->gas, tuple, GAS, "intent: gas limit") != 0 ||
        read_number(state, &value, tuple, VALUE, "intent: value") != 0)
        return -1;
    for (size_t i = 0; i < sizeof value; i++)
        intent->value32[31 - i] = (uint8_t)(value >> 8 * i);
    return 0;
}

int mlp_py_intent(struct mlp_py_state *state, struct mlp_py_intent *read, PyObject *object)
{
    struct mlp_ethereum_intent *intent = &read->intent;
    memset(read, 0, sizeof *read);
    if (!PyTuple_Check(object) || PyTuple_Size(object) != INTENT_ITEMS) {
        PyErr_SetString(PyExc_TypeError,
                        "intent must be a tuple of 8: chain id, nonce, highest priority fee, "
                        "highest fee, gas limit, receiver or None, value, data");
        return -1;
    }
    PyObject *to = PyTuple_GetItem(object, TO);
    intent->creates_contract = Py_IsNone(to);
    if (read_numbers(state, intent, object) != 0 ||
        (!intent->creates_contract &&
         mlp_py_address(state, intent->to20, to, "intent: receiver") != 0) ||
        mlp_py_buffer(&read->data, PyTuple_GetItem(object, DATA), "intent: data") != 0)
        return -1;
    intent->data = read->data.buf;
    intent->data_len = (size_t)read->data.len;
    return 0;
}

void mlp_py_intent_release(struct mlp_py_intent *read)
{
    if (read->data.obj != NULL)
        PyBuffer_Release(&read->data);
}

/* ---- transactions ---- */

PyObject *mlp_py_address_text(const uint8_t address20[20])
{
    char text[MLP_ETHEREUM_ADDRESS_TEXT + 1];
    mlp_ethereum_address_encode(text, address20);
    return PyUnicode_FromString(text);
}

static PyObject *MlpCore_ethereum_address(PyObject *module, PyObject *text)
{
    uint8_t address20[20];
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    if (mlp_py_address(state, address20, text, "ethereum_address: text") != 0)
        return NULL;
    return mlp_py_address_text(address20);
}

PyObject *mlp_py_intent_tuple(const struct mlp_ethereum_intent *intent)
{
    PyObject *to =
        intent->creates_contract ? Py_NewRef(Py_None) : mlp_py_address_text(intent->to20);
    PyObject *value = PyObject_CallMethod((PyObject *)&PyLong_Type, "from_bytes", "y#s",
                                          (const char *)intent->value32,
                                          (Py_ssize_t)sizeof intent->value32, "big");
    return Py_BuildValue(
        "KKKKKNNN", (unsigned long long)intent->chain_id, (unsigned long long)intent->nonce,
        (unsigned long long)intent->max_priority_fee, (unsigned long long)intent->max_fee,
        (unsigned long long)intent->gas, to, value, mlp_py_bytes(intent->data, intent->data_len));
}

static PyObject *MlpCore_ethereum_transaction(PyObject *module, PyObject *raw)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, raw, "ethereum_transaction: raw") != 0)
        return NULL;
    struct mlp_ethereum_transaction transaction;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status =
        mlp_ethereum_transaction_decode(&transaction, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    PyObject *answer =
        status != 0 ? mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error)
                    : Py_BuildValue("NNN", mlp_py_intent_tuple(&transaction.fields),
                                    mlp_py_address_text(transaction.sender20),
                                    mlp_py_bytes(transaction.hash32, sizeof transaction.hash32));
    PyBuffer_Release(&buffer);
    return answer;
}

/* Without the GIL. */
static int check_transaction(const Py_buffer *raw, const uint8_t sender20[20],
                             const struct mlp_ethereum_intent *intent, struct mlp_error *error)
{
    struct mlp_ethereum_transaction transaction;
    int status = mlp_ethereum_transaction_decode(&transaction, raw->buf, (size_t)raw->len, error);
    if (status == 0)
        status = mlp_ethereum_transaction_compare(&transaction, intent, sender20, error);
    return status;
}

static PyObject *MlpCore_ethereum_check_transaction(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *raw_object, *sender_object, *intent_object;
    uint8_t sender[20];
    Py_buffer raw;
    struct mlp_py_intent read;
    if (!PyArg_ParseTuple(args, "OOO:ethereum_check_transaction", &raw_object, &sender_object,
                          &intent_object) ||
        mlp_py_address(state, sender, sender_object, "ethereum_check_transaction: sender") != 0 ||
        mlp_py_buffer(&raw, raw_object, "ethereum_check_transaction: raw") != 0)
        return NULL;
    PyObject *answer = NULL;
    if (mlp_py_intent(state, &read, intent_object) == 0) {
        struct mlp_error error;
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        int status = check_transaction(&raw, sender, &read.intent, &error);
        mlp_py_gil_take(released);
        answer = status == 0 ? Py_NewRef(Py_None) : mlp_py_raise(&state->exceptions, &error);
    }
    mlp_py_intent_release(&read);
    PyBuffer_Release(&raw);
    return answer;
}

/* ---- evidence ---- */

/* The elements of an array. Returns: 0 (free *receipts). */
static int list_receipts(const struct mlp_json_value ***receipts,
                         const struct mlp_json_value *array, struct mlp_error *error)
{
    size_t count = mlp_json_count(array);
    const struct mlp_json_value **listed = calloc(count + 1, sizeof *listed);
    if (listed == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot prove the Ethereum anchor: out of memory");
    for (size_t i = 0; i < count; i++)
        listed[i] = mlp_json_at(array, i);
    *receipts = listed;
    return 0;
}

/* Without the GIL. */
static int prove(struct mlp_buffer *json, const Py_buffer answers[2], struct mlp_trie_bytes header,
                 const uint8_t transaction32[32], const uint8_t digest32[32],
                 struct mlp_error *error)
{
    struct mlp_json_document *block = NULL, *receipts = NULL;
    const struct mlp_json_value **each = NULL;
    struct mlp_ethereum_anchor anchor;
    int status = mlp_json_read(&block, answers[0].buf, (size_t)answers[0].len, ANSWER_MAX,
                               ANSWER_DEPTH, error);
    if (status == 0)
        status = mlp_json_read(&receipts, answers[1].buf, (size_t)answers[1].len, ANSWER_MAX,
                               ANSWER_DEPTH, error);
    if (status == 0)
        status = list_receipts(&each, mlp_json_root(receipts), error);
    if (status == 0)
        status = mlp_ethereum_prove(json, &anchor, mlp_json_root(block), each,
                                    mlp_json_count(mlp_json_root(receipts)), header, transaction32,
                                    digest32, error);
    free(each);
    mlp_json_free(receipts);
    mlp_json_free(block);
    return status;
}

static PyObject *prove_with(struct mlp_py_state *state, PyObject *answers_object,
                            PyObject *header_object, const uint8_t transaction32[32],
                            const uint8_t digest32[32])
{
    struct mlp_py_buffers answers = {0};
    Py_buffer header = {0};
    PyObject *evidence = NULL;
    if (mlp_py_buffers_take(&answers, answers_object, "ethereum_prove: block, receipts") == 0 &&
        (Py_IsNone(header_object) ||
         mlp_py_buffer(&header, header_object, "ethereum_prove: header") == 0)) {
        struct mlp_buffer json = {0};
        struct mlp_error error;
        struct mlp_trie_bytes raw_header = {header.buf, (size_t)header.len};
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        int status = prove(&json, answers.items, raw_header, transaction32, digest32, &error);
        mlp_py_gil_take(released);
        if (status == 0) {
            evidence = mlp_py_bytes_of_buffer(&json);
        } else {
            mlp_buffer_clear(&json);
            mlp_py_raise(&state->exceptions, &error);
        }
    }
    if (header.obj != NULL)
        PyBuffer_Release(&header);
    mlp_py_buffers_release(&answers);
    return evidence;
}

static PyObject *MlpCore_ethereum_prove(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "", "header", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *block, *receipts, *transaction, *digest, *header = Py_None;
    uint8_t transaction32[32], digest32[32];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$O:ethereum_prove", names, &block,
                                     &receipts, &transaction, &digest, &header) ||
        mlp_py_bytes_exact(state, transaction32, 32, transaction, "ethereum_prove: transaction",
                           MLP_E_ARGUMENT) != 0 ||
        mlp_py_bytes_exact(state, digest32, 32, digest, "ethereum_prove: digest", MLP_E_ARGUMENT) !=
            0)
        return NULL;
    PyObject *answers = PyTuple_Pack(2, block, receipts);
    if (answers == NULL)
        return NULL;
    PyObject *evidence = prove_with(state, answers, header, transaction32, digest32);
    Py_DECREF(answers);
    return evidence;
}

static PyObject *anchor_dict(const struct mlp_ethereum_anchor *anchor)
{
    return Py_BuildValue(
        "{sK sN sN sN sN sK sK sK sK ss}", "chain_id", (unsigned long long)anchor->chain_id,
        "contract", mlp_py_address_text(anchor->contract20), "sender",
        mlp_py_address_text(anchor->sender20), "transaction",
        mlp_py_bytes(anchor->transaction32, 32), "block", mlp_py_bytes(anchor->block32, 32),
        "number", (unsigned long long)anchor->block_number, "time",
        (unsigned long long)anchor->block_time, "index", (unsigned long long)anchor->index, "log",
        (unsigned long long)anchor->log, "event", mlp_ethereum_event_name(anchor->event));
}

static PyObject *MlpCore_ethereum_verify(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *evidence, *digest;
    uint8_t digest32[32];
    Py_buffer json;
    if (!PyArg_ParseTuple(args, "OO:ethereum_verify", &evidence, &digest) ||
        mlp_py_bytes_exact(state, digest32, 32, digest, "ethereum_verify: digest",
                           MLP_E_ARGUMENT) != 0 ||
        mlp_py_buffer(&json, evidence, "ethereum_verify: evidence") != 0)
        return NULL;
    struct mlp_ethereum_anchor anchor;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status =
        mlp_ethereum_evidence_verify(&anchor, json.buf, (size_t)json.len, digest32, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&json);
    return status == 0 ? anchor_dict(&anchor) : mlp_py_raise(&state->exceptions, &error);
}

static PyMethodDef functions[] = {
    {"keccak256", MlpCore_keccak256, METH_O,
     PyDoc_STR("keccak256($module, data, /)\n--\n\nEthereum's hash (not SHA3-256).")},
    {"ethereum_address", MlpCore_ethereum_address, METH_O,
     PyDoc_STR("ethereum_address($module, text, /)\n--\n\nAn address in the case of EIP-55.")},
    {"ethereum_transaction", MlpCore_ethereum_transaction, METH_O,
     PyDoc_STR("ethereum_transaction($module, raw, /)\n--\n\n"
               "(intent, sender, hash) of a signed transaction.")},
    {"ethereum_check_transaction", MlpCore_ethereum_check_transaction, METH_VARARGS,
     PyDoc_STR("ethereum_check_transaction($module, raw, sender, intent, /)\n--\n\n"
               "None when raw is the intent, signed by sender; VerificationError when not.")},
    {"ethereum_prove", MLP_PY_WITH_KEYWORDS(MlpCore_ethereum_prove), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("ethereum_prove($module, block, receipts, transaction, digest, /, *, header=None)\n"
               "--\n\nEvidence of an anchor, of what a node answered about its block.")},
    {"ethereum_verify", MlpCore_ethereum_verify, METH_VARARGS,
     PyDoc_STR("ethereum_verify($module, evidence, digest, /)\n--\n\n"
               "What the evidence shows; VerificationError when it does not hold.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_ethereum_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
