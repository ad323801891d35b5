/* Keccak-256. Every length to three blocks is compared with js-sha3 by the Python tests. */
#include "check.h"
#include "hash/keccak.h"
#include "hash_fixture.h"

static void the_published_values_hold(void)
{
    static const struct {
        const char *text, *digest;
    } cases[] = {
        {"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"},
        {"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"},
        {"The quick brown fox jumps over the lazy dog",
         "4d741b6f1eb29cb2a9b9911c82f56fa8d73b04959d3d9d222895df6c0b28aa15"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t digest[MLP_KECCAK256_LEN];
        mlp_keccak256(digest, cases[i].text, strlen(cases[i].text));
        CHECK(equals_hex(digest, sizeof digest, cases[i].digest));
    }
    uint8_t digest[MLP_KECCAK256_LEN];
    mlp_keccak256(digest, NULL, 0);
    CHECK(equals_hex(digest, sizeof digest, cases[0].digest));
}

static void it_is_not_sha3(void)
{
    uint8_t digest[MLP_KECCAK256_LEN];
    mlp_keccak256(digest, "", 0);
    CHECK(!equals_hex(digest, sizeof digest,
                      "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"));
}

static void nothing_is_read_outside_the_input(void)
{
    struct guarded guarded;
    if (!CHECK(map_guarded(&guarded, 1024)))
        return;
    for (size_t len = 0; len <= 3 * 136 + 1; len++) {
        uint8_t at_begin[MLP_KECCAK256_LEN], at_end[MLP_KECCAK256_LEN];
        mlp_keccak256(at_begin, guarded.begin, len);
        memmove(guarded.end - len, guarded.begin, len);
        mlp_keccak256(at_end, guarded.end - len, len);
        CHECK(memcmp(at_begin, at_end, sizeof at_end) == 0);
    }
    unmap_guarded(&guarded);
}

int main(void)
{
    RUN(the_published_values_hold);
    RUN(it_is_not_sha3);
    RUN(nothing_is_read_outside_the_input);
    return check_finish();
}
