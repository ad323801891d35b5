/* hash.h - the contract of the hash room: BLAKE3 (ours) and SHA-2 (OpenSSL EVP) behind one face.
 *
 * Sources: BLAKE3, "one function, fast everywhere" (2021), sections 2.1-2.6; FIPS 180-4 for SHA-2.
 *
 * Threads: a struct mlp_hasher belongs to one thread at a time. One-shot functions may be called
 * from any thread. Large inputs, and many that are large together, are hashed by several threads of
 * the process's pool (pool.h) unless a function says otherwise; digests never depend on it. The
 * globals are the pool, the chosen kernel and OpenSSL's fetched algorithms, the last two set at first
 * use under pthread_once (mlp_hash_kernel_force replaces the kernel atomically; digests never depend on
 * it).
 * Stack: some 20 KiB for an input in memory, 40 KiB for one from a source, 90 KiB for many in a call; in
 * the first call of a process 90 KiB more, for the self-test of the kernels [gcc 12 -fstack-usage, x86-64].
 * Errors: a SHA-2 function fails with MLP_E_CRYPTO when OpenSSL does (out of memory, FIPS policy);
 * BLAKE3 never fails, and allocates nothing but a plan for several threads and room for what comes
 * from sources, doing without where there is no memory.
 */
#ifndef MLP_HASH_HASH_H
#define MLP_HASH_HASH_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_BLAKE3_OUT_LEN   32
#define MLP_BLAKE3_KEY_LEN   32
#define MLP_BLAKE3_BLOCK_LEN 64
#define MLP_BLAKE3_CHUNK_LEN 1024
#define MLP_HASH_MAX_LEN     64 /* the longest digest here, SHA-512 */

enum mlp_algorithm {
    MLP_BLAKE3 = 1,
    MLP_SHA256 = 2,
    MLP_SHA384 = 3,
    MLP_SHA512 = 4,
};

/* Returns: the algorithm of a name as it stands before the colon of a text digest ("blake3",
 *          "sha256", "sha384", "sha512"), or 0 for any other.
 */
int mlp_algorithm_from_name(const char *name, size_t name_len);
const char *mlp_algorithm_name(int algorithm);  /* NULL for a number that is none */
size_t mlp_algorithm_digest_len(int algorithm); /* 0 for a number that is none */
size_t mlp_algorithm_block_len(int algorithm);  /* 64 or 128; 0 for a number that is none */

/* ---- incremental, any algorithm ---- */

struct mlp_hasher; /* opaque, heap */

/* In:      key32: for MLP_BLAKE3 alone: NULL (plain hash) or MLP_BLAKE3_KEY_LEN bytes (keyed hash);
 *          NULL for SHA-2.
 * Returns: 0 (free with mlp_hasher_free); MLP_E_ARGUMENT (unknown algorithm, or a key for SHA-2);
 *          MLP_E_MEMORY; MLP_E_CRYPTO.
 */
int mlp_hasher_new(struct mlp_hasher **hasher, int algorithm, const uint8_t *key32,
                   struct mlp_error *error);

/* BLAKE3's derive-key mode.
 * In:      context: hard-coded, globally unique text (BLAKE3 section 2.3).
 * Returns: 0 (free with mlp_hasher_free) or MLP_E_MEMORY.
 */
int mlp_hasher_new_derive_key(struct mlp_hasher **hasher, const char *context, size_t context_len,
                              struct mlp_error *error);

/* Another hasher that has taken the same bytes; the two are independent.
 * Returns: 0 (free with mlp_hasher_free); MLP_E_MEMORY; MLP_E_CRYPTO.
 */
int mlp_hasher_copy(struct mlp_hasher **copy, const struct mlp_hasher *hasher,
                    struct mlp_error *error);

/* Adds data_len bytes; data may be NULL where that is 0.
 * Returns: 0 or MLP_E_CRYPTO; never fails for BLAKE3.
 */
int mlp_hasher_update(struct mlp_hasher *hasher, const void *data, size_t data_len,
                      struct mlp_error *error);
/* The same on at most threads threads, 0: the setting; 1, within a task of the pool. */
int mlp_hasher_update_by(struct mlp_hasher *hasher, const void *data, size_t data_len,
                         size_t threads, struct mlp_error *error);

/* Does not change the hasher: more may be added afterwards.
 * Out:     digest: mlp_algorithm_digest_len bytes.
 * Returns: 0 or MLP_E_CRYPTO; never fails for BLAKE3.
 */
int mlp_hasher_digest(const struct mlp_hasher *hasher, uint8_t *digest, struct mlp_error *error);

/* BLAKE3's extendable output, any length, starting at byte offset.
 * Returns: 0 or MLP_E_ARGUMENT (SHA-2).
 */
int mlp_hasher_xof(const struct mlp_hasher *hasher, uint64_t offset, uint8_t *out, size_t out_len,
                   struct mlp_error *error);

void mlp_hasher_free(struct mlp_hasher *hasher); /* NULL is allowed; wipes the state */

/* ---- one shot ---- */

/* Out:     digest: mlp_algorithm_digest_len bytes.
 * Returns: 0; MLP_E_ARGUMENT (unknown algorithm); MLP_E_CRYPTO.
 */
int mlp_hash(int algorithm, uint8_t *digest, const void *data, size_t data_len,
             struct mlp_error *error);
/* BLAKE3 on the calling thread alone. */
void mlp_blake3(uint8_t digest32[32], const void *data, size_t data_len);

/* An input whose bytes do not lie in memory one after another. */
struct mlp_hash_source {
    /* Finds bytes of the input, on any thread, several calls at a time; cannot fail.
     * In:      offset: of the first byte, a multiple of MLP_BLAKE3_CHUNK_LEN. len: 1 to what is left
     *          of the input. buffer: room for len bytes.
     * Returns: where they lie: in memory that stays as it is until the hashing call returns, or in
     *          buffer, after they were gathered there.
     */
    const uint8_t *(*read)(const void *context, uint64_t offset, size_t len, uint8_t *buffer);
    const void *context;
    size_t
        piece_len; /* what a long input is best read by: a power of two, at least a chunk's length;
                         a thread allocates as much while it hashes one */
};

struct mlp_hash_input {
    const void *data; /* may be NULL when len is 0 */
    size_t len;
    const struct mlp_hash_source *source; /* not NULL: data is not used */
};

/* Many inputs in one call; small ones are hashed side by side.
 * Out:     digests: inputs_count rows of mlp_algorithm_digest_len bytes.
 * Returns: as mlp_hash.
 */
int mlp_hash_many(int algorithm, uint8_t *digests, const struct mlp_hash_input *inputs,
                  size_t inputs_count, struct mlp_error *error);

/* The same on the calling thread alone: within a task of the pool. */
int mlp_hash_many_alone(int algorithm, uint8_t *digests, const struct mlp_hash_input *inputs,
                        size_t inputs_count, struct mlp_error *error);

/* How many algorithms one reading of a file or of tensors may be hashed by: twice as many as there are. */
#define MLP_HASH_REQUESTS_MAX 8

/* An algorithm, and where its digests go: inputs_count rows of mlp_algorithm_digest_len bytes. */
struct mlp_hash_request {
    int algorithm;
    uint8_t *digests;
};

/* Many inputs by several algorithms at once: with two threads, one hashes with SHA-256 while the other
 * hashes with BLAKE3.
 * In:      threads: how many may take part, the caller included, 1 to MLP_THREADS_MAX (pool.h); 0:
 *          the setting, mlp_pool_threads.
 * Returns: as mlp_hash; digests are of no use after a failure.
 */
int mlp_hash_many_by(const struct mlp_hash_request *requests, size_t requests_count,
                     const struct mlp_hash_input *inputs, size_t inputs_count, size_t threads,
                     struct mlp_error *error);

/* Chaining value of a complete BLAKE3 subtree that is not the root: data_len bytes that start at
 * chunk chunk_offset of the whole input. Aligned: chunk_offset is a multiple of the subtree's chunk
 * count rounded up to a power of two; data_len > 0. Joined with mlp_blake3_parent; the topmost join
 * is mlp_blake3_root_of_parents (the ROOT flag makes a root another value than a chaining value).
 * In:      key32: NULL, or the key of a keyed hash.
 * Returns: 0, MLP_E_ARGUMENT (empty, not aligned, counter beyond 2^64 - 1 chunks).
 */
int mlp_blake3_subtree(uint8_t cv32[32], const void *data, size_t data_len, uint64_t chunk_offset,
                       const uint8_t *key32, struct mlp_error *error);
void mlp_blake3_parent(uint8_t cv32[32], const uint8_t left32[32], const uint8_t right32[32],
                       const uint8_t *key32);
void mlp_blake3_root_of_parents(uint8_t digest32[32], const uint8_t left32[32],
                                const uint8_t right32[32], const uint8_t *key32);

/* ---- kernels ---- */

#define MLP_KERNELS_MAX 8

/* The kernels of this build and machine, in order of preference; the last is "portable".
 * Out:     names, usable: room for MLP_KERNELS_MAX; a kernel is usable that is compiled in, that
 *          the CPU has, and that passed its self-test.
 * Returns: their count.
 */
size_t mlp_hash_kernels(const char *names[MLP_KERNELS_MAX], bool usable[MLP_KERNELS_MAX]);

/* The kernel in use, chosen at the first call: MLPROV_HASH_IMPL if set, else the fastest usable. */
const char *mlp_hash_kernel_name(void);

/* Why that kernel is in use: a phrase for people. */
const char *mlp_hash_kernel_reason(void);

/* Forces a kernel by name.
 * Returns: 0, MLP_E_CONFIG (unknown, lists the known; not supported by this CPU; failed its
 *          self-test).
 */
int mlp_hash_kernel_force(const char *name, struct mlp_error *error);

/* Whether MLPROV_HASH_IMPL names a kernel that cannot be used. Asked by the binding when the module
 * is imported, so that a wrong name is an error and no silent change.
 * Returns: 0 or MLP_E_CONFIG.
 */
int mlp_hash_kernel_check_environment(struct mlp_error *error);

#endif
