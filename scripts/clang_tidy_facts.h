/* clang_tidy_facts.h - what the analyzer cannot see from one file; given to clang-tidy alone (native.mk).
 *
 * mlp_fail answers the status that it was given, mlp_fail_errno never answers 0. Without that the
 * analyzer follows paths on which a failure looks like success and outputs are used unset.
 */
#include "base/status.h"

#define mlp_fail(error, status, ...) (mlp_fail(error, status, __VA_ARGS__), (status))
#define mlp_fail_errno(error, code, ...) (mlp_fail_errno(error, code, __VA_ARGS__), MLP_E_IO)
