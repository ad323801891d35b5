/* Sets of views, and the tree over named tensors, against leaves that are hashed one by one. */
#include "base/bytes.h"
#include "check.h"
#include "hash/hash.h"
#include "merkle/merkle.h"
#include "system_faults.h"
#include "tensor/model.h"

#include <stdlib.h>
#include <string.h>

static uint8_t memory[1 << 16];

static struct mlp_view vector(const void *data, int dtype, int64_t count)
{
    struct mlp_view view = {
        .data = data, .storage = data, .dtype = dtype, .ndim = 1, .shape = {count}};
    view.item_len = mlp_dtype_info(dtype)->item_len;
    CHECK(mlp_view_set_dense_strides(&view, NULL) == 0);
    return view;
}

/* ---- sets ---- */

static bool same_view(const struct mlp_view *one, const struct mlp_view *other)
{
    size_t dims_len = (size_t)one->ndim * sizeof *one->shape;
    return memcmp(one, other, MLP_VIEW_HEAD_LEN) == 0 &&
           memcmp(one->shape, other->shape, dims_len) == 0 &&
           memcmp(one->strides, other->strides, dims_len) == 0;
}

static void a_set_gives_back_what_was_added(void)
{
    struct mlp_view_set set;
    struct mlp_view views[MLP_VIEW_DIMS_MAX + 1], seen;
    size_t index = 99;
    CHECK(mlp_view_set_init(&set, MLP_VIEW_DIMS_MAX + 1, false, NULL) == 0);
    for (int ndim = 0; ndim <= MLP_VIEW_DIMS_MAX; ndim++) {
        struct mlp_view *view = &views[ndim];
        *view = vector(memory, MLP_DTYPE_I16, 1);
        view->ndim = ndim;
        for (int i = 0; i < ndim; i++) {
            view->shape[i] = i % 3 == 0 ? 2 : 1;
            view->strides[i] = 2 * i;
        }
        CHECK(mlp_view_set_add(&set, &index, view, NULL) == 0 && index == (size_t)ndim);
        CHECK(set.lens[index] == UINT64_C(2) << (ndim + 2) / 3);
    }
    for (size_t i = 0; i < set.count; i++) {
        mlp_view_set_get(&seen, &set, i);
        CHECK(same_view(&seen, &views[i]));
    }
    CHECK(set.packed.len < sizeof views / 4 * 3); /* less than half of each dimension's room */
    mlp_view_set_clear(&set);
    mlp_view_set_clear(&set);
}

static void an_alias_is_kept_once_and_anything_else_by_itself(void)
{
    struct mlp_view one = vector(memory, MLP_DTYPE_F32, 6);
    struct mlp_view others[10];
    struct mlp_view_set set;
    size_t index = 99;
    for (size_t i = 0; i < 10; i++)
        others[i] = one;
    others[0].storage = memory + 4;
    others[1].storage_offset = 4;
    others[2].dtype = MLP_DTYPE_I32;
    others[3].flags = MLP_VIEW_NEG;
    others[4].shape[0] = 5;
    others[5].strides[0] = 8;
    others[6].ndim = 2;
    others[6].shape[1] = 1;
    others[7] = vector(memory, MLP_DTYPE_DATETIME64, 3);
    memcpy(others[7].unit, "[ns]", 5);
    others[8] = others[7];
    memcpy(others[8].unit, "[us]", 5);
    others[9] = vector(memory, MLP_DTYPE_F32, 0);
    CHECK(mlp_view_set_init(&set, 30, true, NULL) == 0);
    CHECK(mlp_view_set_add(&set, &index, &one, NULL) == 0 && index == 0);
    CHECK(mlp_view_set_add(&set, &index, &one, NULL) == 0 && index == 0);
    for (size_t i = 0; i < 10; i++)
        CHECK(mlp_view_set_add(&set, &index, &others[i], NULL) == 0 && index == i + 1);
    for (size_t i = 0; i < 9; i++)
        CHECK(mlp_view_set_add(&set, &index, &others[i], NULL) == 0 && index == i + 1);
    CHECK(mlp_view_set_add(&set, &index, &others[9], NULL) == 0 && index == 11); /* empty */
    one.version = 5; /* neither the counter nor what is staged makes another tensor */
    CHECK(mlp_view_set_add(&set, &index, &one, NULL) == 0 && index == 0);
    CHECK(set.count == 12);
    mlp_view_set_clear(&set);
}

static void a_full_set_still_finds_aliases(void)
{
    struct mlp_view_set set;
    struct mlp_view view;
    size_t index;
    CHECK(mlp_view_set_init(&set, 1000, true, NULL) == 0);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 1000; i++) {
            view = vector(memory + i, MLP_DTYPE_U8, 64);
            CHECK(mlp_view_set_add(&set, &index, &view, NULL) == 0 && index == i);
        }
    }
    view = vector(memory, MLP_DTYPE_U8, 65);
    CHECK(mlp_view_set_add(&set, &index, &view, NULL) == MLP_E_RANGE);
    CHECK(set.count == 1000);
    mlp_view_set_clear(&set);
}

static void what_cannot_be_hashed_is_not_added(void)
{
    struct mlp_view view = vector(NULL, MLP_DTYPE_F32, 3);
    struct mlp_view_set set;
    size_t index = 99;
    CHECK(mlp_view_set_init(&set, 1, true, NULL) == 0);
    CHECK(mlp_view_set_add(&set, &index, &view, NULL) == MLP_E_TENSOR);
    CHECK(set.count == 0 && index == 99);
    view.data = memory;
    CHECK(mlp_view_set_add(&set, &index, &view, NULL) == 0 && index == 0);
    mlp_view_set_clear(&set);
}

/* ---- trees ---- */

#define TENSORS 5

/* Names in no order; the second and the last are one tensor. */
static const char *const names[TENSORS] = {"b.weight", "tied", "b", "\xc3\xa9", "a"};
static const size_t in_order[TENSORS] = {4, 2, 0, 1, 3};

static void fill_model(struct mlp_view_set *set, struct mlp_model_entry *entries, bool aliases)
{
    CHECK(mlp_view_set_init(set, TENSORS, aliases, NULL) == 0);
    for (size_t i = 0; i < TENSORS; i++) {
        struct mlp_view view = vector(memory + 100 * (i % 4), MLP_DTYPE_F32, 3 + (int64_t)(i % 4));
        if (i == TENSORS - 1)
            view = vector(memory + 100, MLP_DTYPE_F32, 4);
        entries[i] = (struct mlp_model_entry){.name = names[i], .name_len = strlen(names[i])};
        CHECK(mlp_view_set_add(set, &entries[i].view, &view, NULL) == 0);
    }
}

static void expected_leaf(struct mlp_buffer *leaf, const struct mlp_view_set *set,
                          const struct mlp_model_entry *entry)
{
    struct mlp_view view;
    uint8_t digest[32];
    char text[200];
    mlp_view_set_get(&view, set, entry->view);
    mlp_blake3(digest, view.data, 4 * (size_t)view.shape[0]);
    leaf->len = 0;
    mlp_buffer_append_text(leaf, "{\"digest\":\"blake3:");
    mlp_buffer_append_hex(leaf, digest, sizeof digest);
    (void)snprintf(text, sizeof text,
                   "\",\"dtype\":\"F32\",\"len\":%d,\"name\":\"%s\",\"shape\":[%d]}",
                   4 * (int)view.shape[0], entry->name, (int)view.shape[0]);
    mlp_buffer_append_text(leaf, text);
}

static void leaves_stand_in_order_of_name_under_the_root(void)
{
    for (int aliases = 0; aliases < 2; aliases++) {
        struct mlp_view_set set;
        struct mlp_model_entry entries[TENSORS];
        struct mlp_model model = {0};
        struct mlp_buffer leaf = {0};
        uint8_t hashes[TENSORS * 32], root[32];
        size_t begin = 0, failed = 99;
        fill_model(&set, entries, aliases != 0);
        CHECK(set.count == (aliases ? TENSORS - 1 : TENSORS));
        CHECK(mlp_model_digest(&model, entries, TENSORS, &set, MLP_BLAKE3, 1, &failed, NULL) == 0);
        CHECK(failed == TENSORS && model.size == TENSORS);
        for (size_t i = 0; i < TENSORS; i++) {
            CHECK(model.order[i] == in_order[i]);
            expected_leaf(&leaf, &set, &entries[in_order[i]]);
            CHECK(model.ends[i] - begin == leaf.len &&
                  memcmp(model.leaves.data + begin, leaf.data, leaf.len) == 0);
            CHECK(mlp_merkle_leaf_hash(hashes + 32 * i, leaf.data, leaf.len, NULL) == 0);
            begin = model.ends[i];
        }
        CHECK(begin == model.leaves.len);
        CHECK(mlp_merkle_root(root, hashes, TENSORS, NULL) == 0);
        CHECK(memcmp(root, model.root32, 32) == 0);
        mlp_buffer_clear(&leaf);
        mlp_model_clear(&model);
        mlp_view_set_clear(&set);
    }
}

static void leaves_that_are_ready_take_their_place(void)
{
    struct mlp_view_set set;
    struct mlp_model_entry entries[TENSORS];
    struct mlp_model model = {0};
    fill_model(&set, entries, true);
    entries[2].leaf = "ready";
    entries[2].leaf_len = 5;
    CHECK(mlp_model_digest(&model, entries, TENSORS, &set, MLP_SHA256, 1, NULL, NULL) == 0);
    CHECK(model.ends[1] - model.ends[0] == 5 &&
          memcmp(model.leaves.data + model.ends[0], "ready", 5) == 0);
    mlp_model_clear(&model);
    mlp_view_set_clear(&set);
}

static void a_tree_of_nothing_has_the_empty_root(void)
{
    struct mlp_view_set set;
    struct mlp_model model = {0};
    uint8_t root[32];
    CHECK(mlp_view_set_init(&set, 0, true, NULL) == 0);
    CHECK(mlp_model_digest(&model, NULL, 0, &set, MLP_BLAKE3, 1, NULL, NULL) == 0);
    CHECK(mlp_merkle_empty_root(root, NULL) == 0 && memcmp(root, model.root32, 32) == 0);
    mlp_model_clear(&model);
    mlp_view_set_clear(&set);
}

static void two_entries_of_one_name_are_refused_wherever_they_stand(void)
{
    for (size_t at = 1; at < TENSORS; at++) {
        struct mlp_view_set set;
        struct mlp_model_entry entries[TENSORS];
        struct mlp_model model = {0};
        struct mlp_error error = {0};
        size_t failed = 99;
        fill_model(&set, entries, true);
        entries[at].name = entries[0].name;
        entries[at].name_len = entries[0].name_len;
        CHECK(mlp_model_digest(&model, entries, TENSORS, &set, MLP_BLAKE3, 1, &failed, &error) ==
              MLP_E_CONFIG);
        CHECK(failed == at || failed == 0);
        CHECK(strstr(error.message, "\"b.weight\"") != NULL);
        mlp_model_clear(&model);
        mlp_view_set_clear(&set);
    }
}

static int lost_device(void *context, uint64_t first, size_t count, void *out,
                       struct mlp_error *error)
{
    (void)context, (void)first, (void)count, (void)out;
    return mlp_fail(error, MLP_E_TENSOR, "device lost");
}

static void what_fails_is_named_by_its_entry(void)
{
    struct mlp_view_set set;
    struct mlp_model_entry entries[TENSORS];
    struct mlp_model model = {0};
    struct mlp_view view = vector(memory, MLP_DTYPE_F32, 9);
    size_t failed = 99;
    fill_model(&set, entries, true);
    entries[3].name = "\xff";
    entries[3].name_len = 1;
    CHECK(mlp_model_digest(&model, entries, TENSORS, &set, MLP_BLAKE3, 1, &failed, NULL) ==
          MLP_E_ARGUMENT);
    CHECK(failed == 3);
    mlp_model_clear(&model);
    CHECK(mlp_model_digest(&model, entries, TENSORS, &set, 77, 1, &failed, NULL) == MLP_E_ARGUMENT);
    CHECK(failed == TENSORS);
    mlp_model_clear(&model);
    view.stage = lost_device;
    CHECK(mlp_view_set_add(&set, &entries[3].view, &view, NULL) == 0);
    CHECK(mlp_model_digest(&model, entries, TENSORS, &set, MLP_BLAKE3, 1, &failed, NULL) ==
          MLP_E_TENSOR);
    CHECK(failed == 3);
    mlp_model_clear(&model);
    mlp_view_set_clear(&set);
}

/* Every allocation of a call, failed in turn; the call that follows works. */
static void a_failing_allocation_is_said_and_changes_nothing(void)
{
    if (!ALLOCATIONS_CAN_FAIL) {
        SKIP("the sanitizer's allocator stands where allocations would be made to fail");
        return;
    }
    unsigned failures = 0;
    fault_kind = ALLOCATIONS;
    for (bool finished = false; !finished && failures < 1000; failures += !finished) {
        struct mlp_view_set set;
        struct mlp_model_entry entries[TENSORS];
        struct mlp_model model = {0};
        fill_model(&set, entries, true);
        fault_happened = false;
        calls_to_go = failures;
        failing = fault_kind;
        int status = mlp_model_digest(&model, entries, TENSORS, &set, MLP_BLAKE3, 2, NULL, NULL);
        failing = NOTHING;
        finished = !fault_happened;
        /* OpenSSL allocates too, and has a status of its own. */
        CHECK(status == (finished ? 0 : MLP_E_MEMORY) || (!finished && status == MLP_E_CRYPTO));
        mlp_model_clear(&model);
        CHECK(mlp_model_digest(&model, entries, TENSORS, &set, MLP_BLAKE3, 2, NULL, NULL) == 0);
        mlp_model_clear(&model);
        mlp_view_set_clear(&set);
    }
    CHECK(failures > 8);
}

int main(void)
{
    for (size_t i = 0; i < sizeof memory; i++)
        memory[i] = (uint8_t)(i * 7 + i / 251);
    RUN(a_set_gives_back_what_was_added);
    RUN(an_alias_is_kept_once_and_anything_else_by_itself);
    RUN(a_full_set_still_finds_aliases);
    RUN(what_cannot_be_hashed_is_not_added);
    RUN(leaves_stand_in_order_of_name_under_the_root);
    RUN(leaves_that_are_ready_take_their_place);
    RUN(a_tree_of_nothing_has_the_empty_root);
    RUN(two_entries_of_one_name_are_refused_wherever_they_stand);
    RUN(what_fails_is_named_by_its_entry);
    RUN(a_failing_allocation_is_said_and_changes_nothing);
    return check_finish();
}
