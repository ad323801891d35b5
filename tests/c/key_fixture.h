/* key_fixture.h - signing keys of known seeds. */
#ifndef MLP_TESTS_KEY_FIXTURE_H
#define MLP_TESTS_KEY_FIXTURE_H

#include "check.h"
#include "sign/key.h"

#include <string.h>

/* name: NULL for an owner key's. */
static inline struct mlp_signing_key *key_named(const char *name, uint8_t seed_byte)
{
    uint8_t seed[32];
    struct mlp_signing_key *key = NULL;
    memset(seed, seed_byte, sizeof seed);
    CHECK(mlp_signing_key_from_seed(&key, name, name == NULL ? 0 : strlen(name), seed, NULL) == 0);
    return key;
}

#endif
