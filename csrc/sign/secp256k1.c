#include "sign/secp256k1.h"

#if defined(__has_include)
#if __has_include(<secp256k1.h>) && __has_include(<secp256k1_recovery.h>)
#define HAVE_HEADERS 1
#endif
#endif

#ifdef HAVE_HEADERS

#include "base/bytes.h"
#include "base/secret.h"

#include <dlfcn.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdbool.h>
#include <stdio.h>

#define TO_INSTALL "install libsecp256k1 (Debian 12: apt-get install libsecp256k1-1)"

/* What is called of it: X(name without its prefix). */
#define FUNCTIONS(X)                                                                               \
    X(context_create)                                                                              \
    X(context_randomize)                                                                           \
    X(ec_pubkey_create)                                                                            \
    X(ec_pubkey_serialize)                                                                         \
    X(ecdsa_recover)                                                                               \
    X(ecdsa_recoverable_signature_parse_compact)                                                   \
    X(ecdsa_recoverable_signature_serialize_compact)                                               \
    X(ecdsa_sign_recoverable)

static struct {
#define FUNCTION_POINTER(name) __typeof__(&secp256k1_##name) name;
    FUNCTIONS(FUNCTION_POINTER)
#undef FUNCTION_POINTER
    const secp256k1_context *context;
    struct mlp_error error; /* status 0: usable */
} library;

static pthread_once_t opened = PTHREAD_ONCE_INIT;

/* ---- opening ---- */

/* Released interfaces, newest first; what is called has been the same in all. The soname stands for
 * the interface that the headers declare, so a development link without a number is not tried. */
static void *open_library(void)
{
    static const int versions[] = {6, 5, 2, 1};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        char name[48];
#ifdef __APPLE__
        (void)snprintf(name, sizeof name, "libsecp256k1.%d.dylib", versions[i]);
#else
        (void)snprintf(name, sizeof name, "libsecp256k1.so.%d", versions[i]);
#endif
        void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (handle != NULL)
            return handle;
    }
    return NULL;
}

/* Returns: the name of the first function that is not there, or NULL. */
static const char *find_functions(void *handle)
{
    /* POSIX: dlsym's answer may be stored as a function pointer; ISO C has no cast for it. */
#define FIND_FUNCTION(name)                                                                        \
    {                                                                                              \
        void *address = dlsym(handle, "secp256k1_" #name);                                         \
        if (address == NULL)                                                                       \
            return #name;                                                                          \
        memcpy(&library.name, &address, sizeof address);                                           \
    }
    FUNCTIONS(FIND_FUNCTION)
#undef FIND_FUNCTION
    return NULL;
}

/* Blinding (secp256k1.h, context_randomize) hides the secret from measurements of time and power. */
static bool make_context(void)
{
    uint8_t seed[32];
    secp256k1_context *context = library.context_create(SECP256K1_CONTEXT_NONE);
    bool made = context != NULL && RAND_priv_bytes(seed, sizeof seed) == 1 &&
                library.context_randomize(context, seed) == 1;
    mlp_secret_wipe(seed, sizeof seed);
    library.context = context; /* kept until the process ends, as the library is */
    return made;
}

static void open_once(void)
{
    void *handle = open_library();
    if (handle == NULL) {
        mlp_fail(
            &library.error, MLP_E_CRYPTO,
            "cannot use Ethereum signatures: the library libsecp256k1 is not found; " TO_INSTALL);
        return;
    }
    const char *missing = find_functions(handle);
    if (missing != NULL)
        mlp_fail(&library.error, MLP_E_CRYPTO,
                 "cannot use Ethereum signatures: libsecp256k1 has no secp256k1_%s, it was built "
                 "without the recovery module; " TO_INSTALL,
                 missing);
    else if (!make_context())
        mlp_fail(&library.error, MLP_E_CRYPTO,
                 "cannot use Ethereum signatures: libsecp256k1 could not be started");
}

int mlp_secp256k1_available(struct mlp_error *error)
{
    (void)pthread_once(&opened, open_once);
    if (library.error.status != 0 && error != NULL)
        *error = library.error;
    return library.error.status;
}

/* ---- using ---- */

static int fail_secret(struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_KEY,
                    "the secp256k1 secret is zero or not below the group's order");
}

static int write_public(uint8_t public64[64], const secp256k1_pubkey *key, struct mlp_error *error)
{
    uint8_t serialized[65]; /* 0x04 || x || y: SEC 1 section 2.3.3 */
    size_t serialized_len = sizeof serialized;
    if (library.ec_pubkey_serialize(library.context, serialized, &serialized_len, key,
                                    SECP256K1_EC_UNCOMPRESSED) != 1 ||
        serialized_len != sizeof serialized)
        return mlp_fail(error, MLP_E_CRYPTO, "libsecp256k1 cannot write a public key");
    memcpy(public64, serialized + 1, 64);
    return 0;
}

int mlp_secp256k1_public(uint8_t public64[64], const uint8_t secret32[32], struct mlp_error *error)
{
    int status = mlp_secp256k1_available(error);
    if (status != 0)
        return status;
    secp256k1_pubkey key;
    if (library.ec_pubkey_create(library.context, &key, secret32) != 1)
        return fail_secret(error);
    return write_public(public64, &key, error);
}

int mlp_secp256k1_sign(struct mlp_secp256k1_signature *signature, const uint8_t digest32[32],
                       const uint8_t secret32[32], struct mlp_error *error)
{
    int status = mlp_secp256k1_available(error);
    if (status != 0)
        return status;
    secp256k1_ecdsa_recoverable_signature made;
    int recovery_id = 0;
    /* No nonce function means RFC 6979 with HMAC-SHA-256; the library makes s low. */
    if (library.ecdsa_sign_recoverable(library.context, &made, digest32, secret32, NULL, NULL) != 1)
        return fail_secret(error);
    uint8_t rs[64];
    if (library.ecdsa_recoverable_signature_serialize_compact(library.context, rs, &recovery_id,
                                                              &made) != 1 ||
        recovery_id < 0 || recovery_id > 1)
        /* 2 and 3 mean that x of the nonce point is not below the order: once in 2^127. */
        return mlp_fail(error, MLP_E_CRYPTO, "libsecp256k1 made a signature that Ethereum refuses");
    memcpy(signature->rs64, rs, sizeof rs);
    signature->y_parity = (uint8_t)recovery_id;
    return 0;
}

/* Yellow Paper, appendix F, equation 311: s is at most half the group's order n. */
static bool is_low(const uint8_t s32[32])
{
    static const uint8_t half_order[32] = {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                           0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                           0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d,
                                           0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0};
    return memcmp(s32, half_order, sizeof half_order) <= 0;
}

int mlp_secp256k1_recover(uint8_t public64[64], const struct mlp_secp256k1_signature *signature,
                          const uint8_t digest32[32], struct mlp_error *error)
{
    int status = mlp_secp256k1_available(error);
    if (status != 0)
        return status;
    secp256k1_ecdsa_recoverable_signature parsed;
    secp256k1_pubkey key;
    if (signature->y_parity > 1 || !is_low(signature->rs64 + 32))
        return mlp_fail(error, MLP_E_MISMATCH,
                        "the secp256k1 signature is not canonical: y parity %u, s %s",
                        signature->y_parity, is_low(signature->rs64 + 32) ? "low" : "high");
    if (library.ecdsa_recoverable_signature_parse_compact(library.context, &parsed, signature->rs64,
                                                          signature->y_parity) != 1 ||
        library.ecdsa_recover(library.context, &key, &parsed, digest32) != 1)
        return mlp_fail(error, MLP_E_MISMATCH,
                        "no secp256k1 key makes this signature: r or s is out of range, or r is no "
                        "point of the curve");
    return write_public(public64, &key, error);
}

#else /* no headers when mlprov was built */

int mlp_secp256k1_available(struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_CRYPTO,
                    "cannot use Ethereum signatures: mlprov was built without the headers of "
                    "libsecp256k1; install them (Debian: apt-get install libsecp256k1-dev) and "
                    "build mlprov again");
}

int mlp_secp256k1_public(uint8_t public64[64], const uint8_t secret32[32], struct mlp_error *error)
{
    (void)public64;
    (void)secret32;
    return mlp_secp256k1_available(error);
}

int mlp_secp256k1_sign(struct mlp_secp256k1_signature *signature, const uint8_t digest32[32],
                       const uint8_t secret32[32], struct mlp_error *error)
{
    (void)signature;
    (void)digest32;
    (void)secret32;
    return mlp_secp256k1_available(error);
}

int mlp_secp256k1_recover(uint8_t public64[64], const struct mlp_secp256k1_signature *signature,
                          const uint8_t digest32[32], struct mlp_error *error)
{
    (void)public64;
    (void)signature;
    (void)digest32;
    return mlp_secp256k1_available(error);
}

#endif
