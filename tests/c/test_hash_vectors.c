/* BLAKE3's official vectors in every kernel and mode, without Python, for machines that are emulated:
 * ../shared/vectors/blake3, from the project's folder. The file is JSON with one member a line. */
#include "check.h"
#include "hash/hash.h"
#include "hash_fixture.h"

#include <stdlib.h>

#define VECTORS   "../shared/vectors/blake3/test_vectors/test_vectors.json"
#define KEY       "whats the Elvish word for friend"
#define CONTEXT   "BLAKE3 2019-12-27 16:29:52 test vectors context"
#define OUT_LEN   131
#define INPUT_MAX (1U << 17)

static uint8_t input[INPUT_MAX];
static size_t cases_count;

static struct mlp_hasher *make_hasher(const char *member)
{
    struct mlp_hasher *hasher = NULL;
    if (strcmp(member, "derive_key") == 0)
        CHECK(mlp_hasher_new_derive_key(&hasher, CONTEXT, strlen(CONTEXT), NULL) == 0);
    else
        CHECK(mlp_hasher_new(&hasher, MLP_BLAKE3,
                             strcmp(member, "keyed_hash") == 0 ? (const uint8_t *)KEY : NULL,
                             NULL) == 0);
    return hasher;
}

static void check_case(const char *member, size_t len, const char *hex)
{
    const char *names[MLP_KERNELS_MAX];
    bool usable[MLP_KERNELS_MAX];
    size_t kernels_count = mlp_hash_kernels(names, usable);
    for (size_t k = 0; k < kernels_count; k++) {
        if (!usable[k])
            continue;
        uint8_t out[OUT_LEN];
        CHECK(mlp_hash_kernel_force(names[k], NULL) == 0);
        struct mlp_hasher *hasher = make_hasher(member);
        CHECK(mlp_hasher_update(hasher, input, len, NULL) == 0);
        CHECK(mlp_hasher_xof(hasher, 0, out, OUT_LEN, NULL) == 0);
        mlp_hasher_free(hasher);
        if (!CHECK(equals_hex(out, OUT_LEN, hex)))
            printf("  kernel %s, %s of %zu bytes\n", names[k], member, len);
    }
    cases_count++;
}

static void the_official_vectors_hold_in_every_kernel(void)
{
    static char line[4096];
    FILE *file = fopen(VECTORS, "r");
    if (!CHECK(file != NULL))
        return;
    size_t len = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char member[32], hex[2 * OUT_LEN + 1];
        if (sscanf(line, " \"input_len\": %zu", &len) == 1)
            CHECK(len <= INPUT_MAX);
        else if (sscanf(line, " \"%31[a-z_]\": \"%262[0-9a-f]\"", member, hex) == 2 &&
                 strlen(hex) == sizeof hex - 1)
            check_case(member, len, hex);
    }
    (void)fclose(file);
    CHECK(cases_count == 3 * 35); /* hash, keyed_hash and derive_key of 35 lengths */
}

int main(void)
{
    if (access(VECTORS, R_OK) != 0) {
        printf("the third-party vectors are not here: %s\n", VECTORS);
        return 77;
    }
    for (size_t i = 0; i < INPUT_MAX; i++)
        input[i] = (uint8_t)(i % 251);
    RUN(the_official_vectors_hold_in_every_kernel);
    return check_finish();
}
