#include "net/http.h"

#include "net/curl_library.h"

#if MLP_HAVE_CURL

#include "base/clock.h"
#include "net/address.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#if defined(__linux__)
#define SOCKET_FLAGS SOCK_CLOEXEC
#else
#define SOCKET_FLAGS 0
#endif

#define CONNECT_MS_MAX  10000
#define RETRY_AFTER_MAX 86400 /* seconds: a longer wish is cut to a day */
#define ORIGIN_MAX      512

struct mlp_http_client {
    const struct mlp_curl *curl;
    CURL *easy;
    CURLM *multi;
    atomic_bool stopped;
    char detail[CURL_ERROR_SIZE]; /* libcurl's own words */
};

/* One request under way. */
struct exchange {
    const struct mlp_curl *curl;
    const struct mlp_http_request *request;
    struct mlp_http_answer *answer;
    CURLU *url;
    char origin[ORIGIN_MAX]; /* for messages */
    bool to_loopback;        /* plain http: nothing but this machine */
    bool address_refused;
    bool too_large;
    bool no_memory;
    size_t headers_len;
};

/* ---- URLs ---- */

static int check_parts(const struct mlp_curl *curl, struct exchange *exchange,
                       struct mlp_error *error)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    int status = 0;
    (void)curl->url_get(exchange->url, CURLUPART_PORT, &port, 0);
    if (curl->url_get(exchange->url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl->url_get(exchange->url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        status =
            mlp_fail(error, MLP_E_CONFIG, "a URL has no scheme or no host; write https://HOST");
    } else {
        bool plain = strcmp(scheme, "http") == 0;
        (void)snprintf(exchange->origin, sizeof exchange->origin, "%s://%s%s%s", scheme, host,
                       port != NULL ? ":" : "", port != NULL ? port : "");
        exchange->to_loopback = plain;
        if (!plain && strcmp(scheme, "https") != 0)
            status = mlp_fail(error, MLP_E_CONFIG, "%s: only https may be used; write https://HOST",
                              exchange->origin);
        else if (plain && !mlp_host_is_loopback(host))
            status =
                mlp_fail(error, MLP_E_CONFIG,
                         "%s: http is for this machine alone, since anyone on the way could read "
                         "and change what is said; write https://",
                         exchange->origin);
    }
    curl->free(scheme);
    curl->free(host);
    curl->free(port);
    return status;
}

/* Out: exchange->url, to be freed by the caller also after a failure. */
static int parse_url(const struct mlp_curl *curl, struct exchange *exchange, const char *text,
                     struct mlp_error *error)
{
    if (strlen(text) > MLP_HTTP_URL_MAX)
        return mlp_fail(error, MLP_E_CONFIG, "a URL is longer than %d bytes; use a shorter one",
                        MLP_HTTP_URL_MAX);
    exchange->url = curl->url();
    if (exchange->url == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read a URL: out of memory");
    CURLUcode result = curl->url_set(exchange->url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
    if (result == CURLUE_OUT_OF_MEMORY)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read a URL: out of memory");
    if (result != CURLUE_OK) /* the text itself may hold a key */
        return mlp_fail(
            error, MLP_E_CONFIG,
            "what was given as a URL is none (%zu bytes, not shown); write https://HOST",
            strlen(text));
    return check_parts(curl, exchange, error);
}

int mlp_http_check_url(char *shown, const char *url, struct mlp_error *error)
{
    const struct mlp_curl *curl;
    struct exchange exchange = {0};
    int status = mlp_curl_load(&curl, error);
    if (status != 0)
        return status;
    status = parse_url(curl, &exchange, url, error);
    if (status == 0 && shown != NULL)
        (void)snprintf(shown, MLP_HTTP_URL_MAX + 1, "%s", exchange.origin);
    curl->url_cleanup(exchange.url);
    return status;
}

/* ---- what libcurl calls ---- */

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct exchange *exchange = context;
    bool allowed =
        purpose == CURLSOCKTYPE_IPCXN && mlp_address_is_allowed(&address->addr, address->addrlen) &&
        (!exchange->to_loopback || mlp_address_is_loopback(&address->addr, address->addrlen));
    if (!allowed) {
        exchange->address_refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCKET_FLAGS, address->protocol);
}

static size_t take_body(char *bytes, size_t unit, size_t count, void *context)
{
    struct exchange *exchange = context;
    struct mlp_buffer *body = &exchange->answer->body;
    size_t len = unit * count; /* unit is 1 */
    if (len > exchange->request->answer_max - body->len) {
        exchange->too_large = true;
        return 0;
    }
    mlp_buffer_append(body, bytes, len);
    exchange->no_memory = mlp_buffer_status(body) != 0;
    return exchange->no_memory ? 0 : len;
}

static bool is_header(const char *line, size_t line_len, const char *name)
{
    size_t name_len = strlen(name);
    return line_len > name_len && strncasecmp(line, name, name_len) == 0 && line[name_len] == ':';
}

/* RFC 9110 section 10.2.3: seconds, or a date, which is measured by this machine's clock. */
static long retry_after(const struct mlp_curl *curl, const char *value, size_t value_len)
{
    char text[64];
    while (value_len > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        value_len--;
    }
    (void)snprintf(text, sizeof text, "%.*s", value_len < 63 ? (int)value_len : 63, value);
    text[strcspn(text, "\r\n")] = '\0';
    size_t digits = strspn(text, "0123456789");
    double seconds = 0;
    if (digits > 0 && text[digits + strspn(text + digits, " \t")] == '\0') {
        seconds = strtod(text, NULL);
    } else {
        time_t date = curl->getdate(text, NULL);
        if (date == (time_t)-1)
            return -1;
        seconds = difftime(date, time(NULL));
    }
    seconds = seconds < 0 ? 0 : seconds > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : seconds;
    return (long)seconds * 1000;
}

static size_t take_header(char *line, size_t unit, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t len = unit * count;
    exchange->headers_len += len;
    if (exchange->headers_len > MLP_HTTP_HEADERS_LEN_MAX) {
        exchange->too_large = true;
        return 0;
    }
    if (is_header(line, len, "Retry-After"))
        exchange->answer->retry_after_ms = retry_after(exchange->curl, line + 12, len - 12);
    return len;
}

/* ---- setting up ---- */

/* Remembers the first option that libcurl refused. */
#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (failed == CURLE_OK)                                                                    \
            failed = curl->easy_setopt(client->easy, (option), (value));                           \
    } while (0)

static CURLcode set_limits(const struct mlp_http_client *client, const struct exchange *exchange)
{
    const struct mlp_curl *curl = client->curl;
    long timeout_ms = exchange->request->timeout_ms;
    CURLcode failed = CURLE_OK;
    SET(CURLOPT_NOSIGNAL, 1L); /* signals are the program's */
    SET(CURLOPT_TIMEOUT_MS, timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, timeout_ms < CONNECT_MS_MAX ? timeout_ms : CONNECT_MS_MAX);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (exchange->request->ca_file != NULL)
        SET(CURLOPT_CAINFO, exchange->request->ca_file);
    if (exchange->to_loopback)
        SET(CURLOPT_PROXY, "");
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Without it a resolver that does not answer holds up the end of a thread for its own patience; a
     * libcurl older than the headers does not know it. */
    (void)curl->easy_setopt(client->easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    return failed;
}

static CURLcode set_request(struct mlp_http_client *client, struct exchange *exchange,
                            struct curl_slist *headers)
{
    const struct mlp_curl *curl = client->curl;
    const struct mlp_http_request *request = exchange->request;
    CURLcode failed = CURLE_OK;
    SET(CURLOPT_CURLU, exchange->url);
    SET(CURLOPT_ERRORBUFFER, client->detail);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, exchange);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, exchange);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, exchange);
    if (request->post) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
        SET(CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "");
    }
    return failed;
}

/* A line end in a header would begin another one, or the body. */
static int make_headers(const struct mlp_http_client *client, struct curl_slist **list,
                        const struct mlp_http_request *request, struct mlp_error *error)
{
    *list = client->curl->slist_append(NULL, "Expect:"); /* no waiting for "100 Continue" */
    for (size_t i = 0; *list != NULL && i < request->headers_count; i++) {
        if (strpbrk(request->headers[i], "\r\n") != NULL) {
            client->curl->slist_free_all(*list);
            return mlp_fail(error, MLP_E_ARGUMENT,
                            "header %zu of a request has a line end in it; remove it", i + 1);
        }
        struct curl_slist *longer = client->curl->slist_append(*list, request->headers[i]);
        if (longer == NULL)
            client->curl->slist_free_all(*list);
        *list = longer;
    }
    return *list != NULL ? 0 : mlp_fail(error, MLP_E_MEMORY, "cannot send: out of memory");
}

/* ---- what came of it ---- */

static enum mlp_http_class class_of_status(long http_status)
{
    if (http_status >= 200 && http_status < 300)
        return MLP_HTTP_OK;
    return http_status == 429                        ? MLP_HTTP_RATE
           : http_status >= 500 && http_status < 600 ? MLP_HTTP_SERVER
                                                     : MLP_HTTP_STATUS;
}

static enum mlp_http_class class_of_result(CURLcode result, const struct exchange *exchange)
{
    if (exchange->address_refused && result != CURLE_OK)
        return MLP_HTTP_FORBIDDEN;
    if (exchange->too_large)
        return MLP_HTTP_TOO_LARGE;
    switch (result) {
    case CURLE_OK:
        return class_of_status(exchange->answer->http_status);
    case CURLE_OPERATION_TIMEDOUT:
        return MLP_HTTP_TIMEOUT;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR: /* the handshake broke off: no certificate was judged */
        return MLP_HTTP_REFUSED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_USE_SSL_FAILED:
        return MLP_HTTP_TLS;
    default:
        return MLP_HTTP_BROKEN;
    }
}

static int status_of_class(enum mlp_http_class class)
{
    switch (class) {
    case MLP_HTTP_OK:
        return 0;
    case MLP_HTTP_FORBIDDEN:
    case MLP_HTTP_TLS:
    case MLP_HTTP_TOO_LARGE:
    case MLP_HTTP_STATUS:
        return MLP_E_REMOTE;
    default:
        return MLP_E_NETWORK;
    }
}

static int explain(const struct mlp_http_client *client, const struct exchange *exchange,
                   struct mlp_error *error)
{
    const struct mlp_http_answer *answer = exchange->answer;
    const char *origin = exchange->origin;
    int status = status_of_class(answer->class);
    switch (answer->class) {
    case MLP_HTTP_OK:
        return 0;
    case MLP_HTTP_FORBIDDEN:
        return mlp_fail(error, status,
                        "%s leads to an address that is not asked (%s); name another server",
                        origin,
                        exchange->to_loopback ? "http, and not of this machine"
                                              : "link-local, metadata or no single machine's");
    case MLP_HTTP_REFUSED:
        return mlp_fail(error, status, "%s could not be reached: %s; look whether it runs", origin,
                        client->detail);
    case MLP_HTTP_TLS:
        return mlp_fail(error, status,
                        "%s has no certificate that holds: %s; mend the server's, or "
                        "name its authority's in the configuration",
                        origin, client->detail);
    case MLP_HTTP_TIMEOUT:
        return mlp_fail(error, status, "%s did not answer within %ld ms", origin,
                        exchange->request->timeout_ms);
    case MLP_HTTP_TOO_LARGE:
        return mlp_fail(error, status, "%s answered with more than the %zu bytes that are taken",
                        origin, exchange->request->answer_max);
    case MLP_HTTP_RATE:
    case MLP_HTTP_SERVER:
        return mlp_fail(error, status, "%s answered with the status %ld", origin,
                        answer->http_status);
    case MLP_HTTP_STATUS:
        return mlp_fail(error, status, "%s answered with the status %ld%s", origin,
                        answer->http_status,
                        answer->http_status / 100 == 3 ? " (redirects are not followed); name the "
                                                         "server that it leads to"
                                                       : "; check the endpoint and its key");
    case MLP_HTTP_STOPPED:
        return mlp_fail(error, status, "the request to %s was stopped", origin);
    default:
        return mlp_fail(error, status, "%s broke off before a whole answer was there", origin);
    }
}

/* ---- the exchange ---- */

/* Until done, or until somebody interrupts (curl_multi_wakeup ends the wait).
 * Returns: whether *result was set. */
static bool drive(struct mlp_http_client *client, CURLcode *result)
{
    const struct mlp_curl *curl = client->curl;
    int running = 1;
    while (!atomic_load(&client->stopped)) {
        if (curl->multi_perform(client->multi, &running) != CURLM_OK)
            return false;
        int left;
        const CURLMsg *message = curl->multi_info_read(client->multi, &left);
        if (message != NULL && message->msg == CURLMSG_DONE) {
            *result = message->data.result;
            return true;
        }
        if (curl->multi_poll(client->multi, NULL, 0, 1000, NULL) != CURLM_OK)
            return false;
    }
    return false;
}

static int perform(struct mlp_http_client *client, struct exchange *exchange,
                   struct mlp_error *error)
{
    const struct mlp_curl *curl = client->curl;
    CURLcode result = CURLE_FAILED_INIT;
    client->detail[0] = '\0';
    if (curl->multi_add_handle(client->multi, client->easy) != CURLM_OK)
        return mlp_fail(error, MLP_E_MEMORY, "cannot send to %s: out of memory", exchange->origin);
    bool done = drive(client, &result);
    (void)curl->multi_remove_handle(client->multi, client->easy);
    if (done)
        (void)curl->easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE,
                                 &exchange->answer->http_status);
    if (exchange->no_memory || result == CURLE_OUT_OF_MEMORY)
        return mlp_fail(error, MLP_E_MEMORY, "cannot take the answer of %s: out of memory",
                        exchange->origin);
    if (client->detail[0] == '\0')
        (void)snprintf(client->detail, sizeof client->detail, "%s", curl->easy_strerror(result));
    bool stopped = !done && atomic_load(&client->stopped);
    exchange->answer->class = stopped ? MLP_HTTP_STOPPED : class_of_result(result, exchange);
    return explain(client, exchange, error);
}

static int send_to(struct mlp_http_client *client, struct exchange *exchange,
                   struct mlp_error *error)
{
    struct curl_slist *headers = NULL;
    int status = make_headers(client, &headers, exchange->request, error);
    if (status != 0)
        return status;
    client->curl->easy_reset(client->easy);
    if (set_limits(client, exchange) != CURLE_OK ||
        set_request(client, exchange, headers) != CURLE_OK)
        status = mlp_fail(error, MLP_E_MEMORY, "cannot send to %s: libcurl refused its settings",
                          exchange->origin);
    else
        status = perform(client, exchange, error);
    /* Nothing of the request outlives it. */
    client->curl->easy_reset(client->easy);
    client->curl->slist_free_all(headers);
    return status;
}

int mlp_http_send(struct mlp_http_client *client, struct mlp_http_answer *answer,
                  const struct mlp_http_request *request, struct mlp_error *error)
{
    struct exchange exchange = {.request = request, .answer = answer, .curl = client->curl};
    answer->http_status = 0;
    answer->retry_after_ms = -1;
    answer->body.len = 0;
    answer->class = MLP_HTTP_OFFLINE;
    if (mlp_http_is_offline())
        return mlp_fail(error, MLP_E_NETWORK,
                        "the network was not used: MLPROV_OFFLINE is set; unset it to go on");
    int status = parse_url(client->curl, &exchange, request->url, error);
    if (status == MLP_E_CONFIG) {
        answer->class = MLP_HTTP_FORBIDDEN;
        status = MLP_E_REMOTE;
        if (error != NULL)
            error->status = status;
    } else if (status == 0) {
        status = send_to(client, &exchange, error);
    }
    client->curl->url_cleanup(exchange.url);
    return status;
}

/* ---- clients ---- */

int mlp_http_client_new(struct mlp_http_client **client, struct mlp_error *error)
{
    const struct mlp_curl *curl;
    if (mlp_http_is_offline())
        return mlp_fail(error, MLP_E_NETWORK,
                        "the network was not used: MLPROV_OFFLINE is set; unset it to go on");
    int status = mlp_curl_load(&curl, error);
    if (status != 0)
        return status;
    struct mlp_http_client *made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->curl = curl;
        made->easy = curl->easy_init();
        made->multi = curl->multi_init();
    }
    if (made == NULL || made->easy == NULL || made->multi == NULL) {
        mlp_http_client_free(made);
        return mlp_fail(error, MLP_E_MEMORY, "cannot use the network: out of memory");
    }
    *client = made;
    return 0;
}

void mlp_http_client_free(struct mlp_http_client *client)
{
    if (client == NULL)
        return;
    if (client->easy != NULL)
        client->curl->easy_cleanup(client->easy);
    if (client->multi != NULL)
        (void)client->curl->multi_cleanup(client->multi);
    free(client);
}

void mlp_http_interrupt(struct mlp_http_client *client)
{
    atomic_store(&client->stopped, true);
    (void)client->curl->multi_wakeup(client->multi);
}

#endif
