/* curl_library.h - libcurl, opened at run time. Internal to the net room.
 *
 * Recording and verifying need no network, so nothing is linked: libcurl is opened (dlopen) by the
 * first call that needs it, once for the process, and stays open. Its headers are needed when mlprov
 * is built (scripts/native_libraries.py); without them MLP_HAVE_CURL is 0 and http_common.c stands
 * in for http.c.
 *
 * Threads: any; the table is filled once and then constant.
 */
#ifndef MLP_NET_CURL_LIBRARY_H
#define MLP_NET_CURL_LIBRARY_H

#include "base/status.h"

#if !defined(MLP_HAVE_CURL) && defined(__has_include)
#if __has_include(<curl/curl.h>)
#define MLP_HAVE_CURL 1
#endif
#endif
#ifndef MLP_HAVE_CURL
#define MLP_HAVE_CURL 0
#endif

#if MLP_HAVE_CURL
#include <curl/curl.h>

/* Members have no "curl_" in front: curl.h has macros of some of those names. All are there since
 * 7.68 (curl_multi_wakeup). */
#define MLP_CURL_FUNCTIONS(X)                                                                      \
    X(global_init)                                                                                 \
    X(version_info)                                                                                \
    X(easy_init)                                                                                   \
    X(easy_reset)                                                                                  \
    X(easy_setopt)                                                                                 \
    X(easy_getinfo)                                                                                \
    X(easy_strerror)                                                                               \
    X(easy_cleanup)                                                                                \
    X(multi_init)                                                                                  \
    X(multi_add_handle)                                                                            \
    X(multi_remove_handle)                                                                         \
    X(multi_perform)                                                                               \
    X(multi_poll)                                                                                  \
    X(multi_wakeup)                                                                                \
    X(multi_info_read)                                                                             \
    X(multi_cleanup)                                                                               \
    X(slist_append)                                                                                \
    X(slist_free_all)                                                                              \
    X(url)                                                                                         \
    X(url_set)                                                                                     \
    X(url_get)                                                                                     \
    X(url_cleanup)                                                                                 \
    X(getdate)                                                                                     \
    X(free)

struct mlp_curl {
#define MLP_CURL_MEMBER(name) __typeof__(curl_##name) *name;
    MLP_CURL_FUNCTIONS(MLP_CURL_MEMBER)
#undef MLP_CURL_MEMBER
};

/* Out:     curl: constant, for the rest of the process.
 * Returns: 0; MLP_E_CONFIG (not installed, too old, or built without TLS: names the package).
 */
int mlp_curl_load(const struct mlp_curl **curl, struct mlp_error *error);
#endif

#endif
