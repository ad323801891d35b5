/* status.h - what a core function answers: one table of codes, and the detail beside a code.
 *
 * Every fallible function returns 0 or one of the negative codes below and leaves its outputs
 * untouched on failure. "The check says no" (MLP_E_MISMATCH) is a code of its own, never mixed with
 * "could not check": an auditor must tell them apart. The detail (what was attempted, seen,
 * expected) goes into a caller-owned struct mlp_error; passing NULL is allowed wherever a struct
 * mlp_error * is taken.
 *
 * Threads: everything here is reentrant; a struct mlp_error belongs to one thread at a time.
 */
#ifndef MLP_BASE_STATUS_H
#define MLP_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/* X(NAME, value, Python class, retryable, text). The binding builds its exception map from this
 * table. */
#define MLP_STATUS_TABLE(X)                                                                        \
    X(MISMATCH, -1, "VerificationError", false, "the check does not hold")                         \
    X(MALFORMED, -2, "EvidenceError", false, "malformed evidence")                                 \
    X(MEMORY, -3, "MemoryError", true, "out of memory")                                            \
    X(ARGUMENT, -4, "ValueError", false, "invalid argument")                                       \
    X(RANGE, -5, "IndexError", false, "index out of range")                                        \
    X(IO, -6, "StoreError", true, "input/output error")                                            \
    X(FULL, -7, "StoreError", true, "no space left")                                               \
    X(READONLY, -8, "StoreError", false, "not writable")                                           \
    X(BUSY, -9, "StoreError", true, "locked by another process")                                   \
    X(CORRUPT, -10, "StoreError", false, "the store is corrupt")                                   \
    X(NOT_FOUND, -11, "StoreError", false, "not found")                                            \
    X(CLOSED, -12, "StoreError", false, "already closed")                                          \
    X(FORKED, -13, "StoreError", false, "opened by the parent process")                            \
    X(CHANGED, -14, "EvidenceError", true, "changed while it was read")                            \
    X(KEY, -15, "ConfigError", false, "the key cannot be used")                                    \
    X(CONFIG, -16, "ConfigError", false, "invalid configuration")                                  \
    X(TENSOR, -17, "UnsupportedTensorError", false, "the tensor has no values that can be hashed") \
    X(CRYPTO, -18, "Error", false, "the cryptographic library failed")                             \
    X(NETWORK, -19, "AnchorError", true, "the server could not be asked")                          \
    X(REMOTE, -20, "AnchorError", false, "the server's answer cannot be used")

enum mlp_status {
    MLP_OK = 0,
#define MLP_STATUS_ENUM(name, value, python_class, retryable, text) MLP_E_##name = (value),
    MLP_STATUS_TABLE(MLP_STATUS_ENUM)
#undef MLP_STATUS_ENUM
};

/* In bytes. Two names that a user gave may be longer than both together (PATH_MAX is 4096): of such a
 * text the two ends are kept, with U+2026 between, so that reason and remedy are always there. */
#define MLP_ERROR_WHAT_MAX   1024
#define MLP_ERROR_REMEDY_MAX 509
#define MLP_ERROR_MAX        (MLP_ERROR_WHAT_MAX + 2 + MLP_ERROR_REMEDY_MAX + 1)

struct mlp_error {
    int status;                  /* the code that was returned with it */
    int system_errno;            /* errno at the failure, 0 where none was involved */
    size_t remedy;               /* where in the message what to do begins; 0: there is none */
    char message[MLP_ERROR_MAX]; /* NUL-terminated; UTF-8 but for names that are none */
};

/* Returns: the table's text for a code ("unknown status" for a number that is none). Never NULL. */
const char *mlp_status_text(int status);

/* Returns: the name of the Python exception class for a code; never NULL. */
const char *mlp_status_python_class(int status);

/* Returns: whether trying again later can help. */
bool mlp_status_retryable(int status);

/* Returns: what to do, or "". It lives in error. */
const char *mlp_error_remedy(const struct mlp_error *error);

/* Returns: how long the message is without the remedy and what stands before it. */
size_t mlp_error_what_len(const struct mlp_error *error);

/* Fills error (unless NULL) with a printf-style message: what was attempted, seen, expected; after the
 * first "; " of the format, what to do. The format alone is looked at: whatever stands in the names
 * that it takes, the remedy begins where we wrote it. The command line shows it on its own line.
 * In:      format: a literal, of fewer than 512 bytes before the remedy; an empty remedy ("; %s" with
 *          "") is none.
 * Returns: status, so that a failure is one line: return mlp_fail(error, MLP_E_RANGE, "...", ...);
 */
int mlp_fail(struct mlp_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts a printf-style text and ": " in front of the message that error (unless NULL) holds; all else
 * stays.
 * Returns: status.
 */
int mlp_fail_in(struct mlp_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* mlp_fail for a failed system call: maps errno to a status (ENOSPC, EDQUOT -> FULL; EROFS, EACCES,
 * EPERM -> READONLY; ENOENT -> NOT_FOUND; ENOMEM -> MEMORY; otherwise IO), and appends strerror and
 * what to do. format says what was attempted; a remedy of its own would be taken for a part of that.
 */
int mlp_fail_errno(struct mlp_error *error, int system_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
