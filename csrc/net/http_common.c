/* What of http.h needs no libcurl, and what stands in where its headers were missing. */
#include "net/curl_library.h"
#include "net/http.h"

#include <stdlib.h>
#include <strings.h>

const char *mlp_http_class_name(enum mlp_http_class class)
{
    static const char *const names[] = {
        [MLP_HTTP_OK] = "ok",
        [MLP_HTTP_OFFLINE] = "offline",
        [MLP_HTTP_FORBIDDEN] = "forbidden",
        [MLP_HTTP_REFUSED] = "refused",
        [MLP_HTTP_TLS] = "tls",
        [MLP_HTTP_TIMEOUT] = "timeout",
        [MLP_HTTP_BROKEN] = "broken",
        [MLP_HTTP_TOO_LARGE] = "too large",
        [MLP_HTTP_RATE] = "rate",
        [MLP_HTTP_SERVER] = "server",
        [MLP_HTTP_STATUS] = "status",
        [MLP_HTTP_STOPPED] = "stopped",
    };
    return (size_t) class < sizeof names / sizeof names[0] ? names[class] : "unknown";
}

void mlp_http_answer_clear(struct mlp_http_answer *answer)
{
    mlp_buffer_clear(&answer->body);
}

bool mlp_http_is_offline(void)
{
    const char *value = getenv("MLPROV_OFFLINE");
    return value != NULL && value[0] != '\0' && strcasecmp(value, "0") != 0 &&
           strcasecmp(value, "false") != 0 && strcasecmp(value, "no") != 0;
}

#if !MLP_HAVE_CURL

static int fail_missing(struct mlp_error *error)
{
    return mlp_fail(
        error, MLP_E_CONFIG,
        "cannot use the network: this build of mlprov has no libcurl, whose headers were "
        "missing; install them (Debian: libcurl4-openssl-dev) and build mlprov again");
}

int mlp_http_client_new(struct mlp_http_client **client, struct mlp_error *error)
{
    (void)client;
    return fail_missing(error);
}

void mlp_http_client_free(struct mlp_http_client *client)
{
    (void)client;
}

void mlp_http_interrupt(struct mlp_http_client *client)
{
    (void)client;
}

int mlp_http_send(struct mlp_http_client *client, struct mlp_http_answer *answer,
                  const struct mlp_http_request *request, struct mlp_error *error)
{
    (void)client;
    (void)answer;
    (void)request;
    return fail_missing(error);
}

int mlp_http_check_url(char *shown, const char *url, struct mlp_error *error)
{
    (void)shown;
    (void)url;
    return fail_missing(error);
}

#endif
