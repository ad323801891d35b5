/* http.h - one HTTP request and its answer, with every limit that a hostile server calls for.
 *
 * The only user of libcurl (curl_library.h). What always holds:
 *   - https, unless the URL's host is this machine; then the address connected to is checked to be
 *     this machine's, and no proxy is used. Certificates are verified; nothing turns that off.
 *   - no redirect is followed; no link-local, metadata, multicast or unspecified address is connected
 *     to (address.h), whatever the name resolves to.
 *   - the answer, its headers and the whole exchange are bounded in bytes and in time.
 *   - proxies come from the environment (https_proxy, all_proxy, no_proxy), for https alone.
 *   - MLPROV_OFFLINE=1 in the environment: no socket is opened, and libcurl is not either.
 *   - credentials (user and password in the URL, its path and query, headers) stand in no message:
 *     a message names scheme, host and port.
 *
 * Threads: a client belongs to one thread at a time; mlp_http_interrupt may be called from any.
 * Fork: a child must not use its parent's client, nor free it.
 */
#ifndef MLP_NET_HTTP_H
#define MLP_NET_HTTP_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define MLP_HTTP_URL_MAX         2048
#define MLP_HTTP_HEADERS_LEN_MAX 65536 /* all headers of an answer */

/* What came of a request. Where "delivered" is in doubt the request may have had its effect. */
enum mlp_http_class {
    MLP_HTTP_OK = 0,    /* a 2xx with its whole body */
    MLP_HTTP_OFFLINE,   /* MLPROV_OFFLINE: not tried */
    MLP_HTTP_FORBIDDEN, /* URL or address is not allowed: not delivered */
    MLP_HTTP_REFUSED,   /* name not resolved, connection or handshake ended early: not delivered */
    MLP_HTTP_TLS,       /* the certificate does not hold: not delivered */
    MLP_HTTP_TIMEOUT,   /* in doubt */
    MLP_HTTP_BROKEN,    /* the connection ended early, or what came is no HTTP: in doubt */
    MLP_HTTP_TOO_LARGE, /* the answer exceeds answer_max: delivered */
    MLP_HTTP_RATE,      /* 429: not accepted; retry_after_ms */
    MLP_HTTP_SERVER,    /* 5xx: in doubt; retry_after_ms */
    MLP_HTTP_STATUS,    /* any other status (3xx, 4xx): delivered and not accepted */
    MLP_HTTP_STOPPED,   /* mlp_http_interrupt: in doubt */
};

/* A word for a class, such as "timeout"; never NULL. */
const char *mlp_http_class_name(enum mlp_http_class class);

struct mlp_http_client; /* opaque, heap: a libcurl handle, which keeps its connections */

/* Opens libcurl at the first call in the process.
 * Returns: 0 (mlp_http_client_free); MLP_E_CONFIG (no libcurl, at build or at run time); MLP_E_MEMORY;
 *          MLP_E_NETWORK (MLPROV_OFFLINE).
 */
int mlp_http_client_new(struct mlp_http_client **client, struct mlp_error *error);
void mlp_http_client_free(struct mlp_http_client *client); /* NULL is allowed */

/* Ends the request that another thread makes, and every later one of this client, at once. */
void mlp_http_interrupt(struct mlp_http_client *client);

/* What to ask. Everything lives until mlp_http_send returns. */
struct mlp_http_request {
    const char *url; /* at most MLP_HTTP_URL_MAX bytes */
    bool post;       /* with body; false: GET */
    const void *body;
    size_t body_len;
    const char *const *headers; /* "Name: value", without line ends */
    size_t headers_count;
    const char *ca_file; /* PEM certificates to trust in place of the system's; NULL */
    size_t answer_max;   /* bytes of the body that are taken; above 0 */
    long timeout_ms;     /* for the whole exchange; above 0 */
};

/* What came back. Zero-initialise; mlp_http_answer_clear; may be used again. */
struct mlp_http_answer {
    enum mlp_http_class class;
    long http_status;    /* 0: none was received */
    long retry_after_ms; /* -1: not said (RFC 9110 section 10.2.3) */
    struct mlp_buffer body;
};
void mlp_http_answer_clear(struct mlp_http_answer *answer);

/* Out:     answer: class, http_status and retry_after_ms also after MLP_E_NETWORK and MLP_E_REMOTE.
 * Returns: 0 (MLP_HTTP_OK); MLP_E_NETWORK (later may do: OFFLINE, REFUSED, TIMEOUT, BROKEN, RATE,
 *          SERVER, STOPPED); MLP_E_REMOTE (repeating it will not help: FORBIDDEN, TLS, TOO_LARGE,
 *          STATUS); MLP_E_ARGUMENT (a header with a line end); MLP_E_MEMORY.
 */
int mlp_http_send(struct mlp_http_client *client, struct mlp_http_answer *answer,
                  const struct mlp_http_request *request, struct mlp_error *error);

/* Whether a URL may be asked, as far as its text says: for checking a configuration. Opens libcurl (it
 * reads the URL as the request will), and no socket.
 * Out:     shown: room for MLP_HTTP_URL_MAX + 1 bytes: scheme, host and port, for messages; NULL.
 * Returns: 0; MLP_E_CONFIG (no URL, no host, scheme, http to another machine, too long; libcurl
 *          missing).
 */
int mlp_http_check_url(char *shown, const char *url, struct mlp_error *error);

/* Whether MLPROV_OFFLINE is set to anything but "", "0", "false" and "no". */
bool mlp_http_is_offline(void);

#endif
