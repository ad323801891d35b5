/* SHA-2 behind the hash room's face: published digests, one shot against pieces, many inputs. NIST's
 * vectors are tested from Python. Needs OpenSSL, as sha2.c does.
 */
#include "check.h"
#include "hash/hash.h"
#include "hash_fixture.h"

static const int algorithms[] = {MLP_SHA256, MLP_SHA384, MLP_SHA512};
#define ALGORITHMS_COUNT (sizeof algorithms / sizeof algorithms[0])

static struct guarded input;

/* FIPS 180-4's message "abc", from NIST's example values. */
static void known_digests_are_reproduced(void)
{
    static const char *const expected[ALGORITHMS_COUNT] = {
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
        "8086072ba1e7cc2358baeca134c825a7",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    };
    for (size_t i = 0; i < ALGORITHMS_COUNT; i++) {
        uint8_t digest[MLP_HASH_MAX_LEN];
        CHECK(mlp_hash(algorithms[i], digest, "abc", 3, NULL) == 0);
        CHECK(equals_hex(digest, mlp_algorithm_digest_len(algorithms[i]), expected[i]));
    }
}

static void a_copy_of_a_hasher_goes_its_own_way(void)
{
    for (size_t i = 0; i < ALGORITHMS_COUNT; i++) {
        struct mlp_hasher *hasher, *copy;
        uint8_t first[MLP_HASH_MAX_LEN], second[MLP_HASH_MAX_LEN], expected[MLP_HASH_MAX_LEN];
        size_t digest_len = mlp_algorithm_digest_len(algorithms[i]);
        CHECK(mlp_hasher_new(&hasher, algorithms[i], NULL, NULL) == 0);
        CHECK(mlp_hasher_update(hasher, input.begin, 3000, NULL) == 0);
        CHECK(mlp_hasher_copy(&copy, hasher, NULL) == 0);
        CHECK(mlp_hasher_update(copy, input.begin + 3000, 1000, NULL) == 0);
        CHECK(mlp_hasher_digest(hasher, first, NULL) == 0);
        CHECK(mlp_hasher_digest(copy, second, NULL) == 0);
        CHECK(mlp_hash(algorithms[i], expected, input.begin, 3000, NULL) == 0);
        CHECK(memcmp(first, expected, digest_len) == 0);
        CHECK(mlp_hash(algorithms[i], expected, input.begin, 4000, NULL) == 0);
        CHECK(memcmp(second, expected, digest_len) == 0);
        mlp_hasher_free(hasher);
        mlp_hasher_free(copy);
    }
}

static void many_inputs_give_the_digests_of_each(void)
{
    enum { COUNT = 50 };
    struct mlp_hash_input inputs[COUNT] = {{0}};
    for (size_t i = 0; i < COUNT; i++) {
        inputs[i].len = 1024 * (i % 9) + i % 3;
        inputs[i].data = inputs[i].len > 0 ? input.end - inputs[i].len : NULL;
    }
    for (size_t i = 0; i < ALGORITHMS_COUNT; i++) {
        uint8_t digests[COUNT * MLP_HASH_MAX_LEN], expected[MLP_HASH_MAX_LEN];
        size_t digest_len = mlp_algorithm_digest_len(algorithms[i]);
        CHECK(mlp_hash_many(algorithms[i], digests, inputs, COUNT, NULL) == 0);
        for (size_t j = 0; j < COUNT; j++) {
            CHECK(mlp_hash(algorithms[i], expected, inputs[j].data, inputs[j].len, NULL) == 0);
            CHECK(memcmp(digests + j * digest_len, expected, digest_len) == 0);
        }
    }
}

static void extendable_output_is_refused(void)
{
    struct mlp_hasher *hasher = NULL;
    struct mlp_error error;
    uint8_t byte;
    CHECK(mlp_hasher_new(&hasher, MLP_SHA512, NULL, NULL) == 0);
    CHECK(mlp_hasher_xof(hasher, 0, &byte, 1, &error) == MLP_E_ARGUMENT);
    mlp_hasher_free(hasher);
}

int main(void)
{
    if (!CHECK(map_guarded(&input, 16384)))
        return 1;
    RUN(known_digests_are_reproduced);
    RUN(a_copy_of_a_hasher_goes_its_own_way);
    RUN(many_inputs_give_the_digests_of_each);
    RUN(extendable_output_is_refused);
    return check_finish();
}
