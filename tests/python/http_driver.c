/* http_driver.c - csrc/net as a program, for the tests that have a real server in Python beside it.
 *
 *     http_driver [--post TEXT] [--header H] [--ca FILE] [--max N] [--timeout MS] [--rpc METHOD]
 *                 [--times N] [--interrupt MS] URL
 *
 * Prints, for each time, one line: status, class, HTTP status, Retry-After, how many bytes, body (hex),
 * message; last, whether libcurl is loaded.
 */
#include "net/http.h"
#include "net/json_rpc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct mlp_http_client *client;
static long interrupt_ms;

static void *interrupt(void *unused)
{
    (void)unused;
    (void)usleep((useconds_t)interrupt_ms * 1000);
    mlp_http_interrupt(client);
    return NULL;
}

static void print_hex(const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        printf("%02x", ((const unsigned char *)bytes)[i]);
    printf("\n");
}

static int call(const char *method, const struct mlp_http_request *request, uint64_t id)
{
    struct mlp_error error = {0};
    struct mlp_json_rpc_answer answer = {0};
    int status = method != NULL
                     ? mlp_json_rpc_call(client, &answer, request, method, "[]", id, &error)
                     : mlp_http_send(client, &answer.http, request, &error);
    printf("status %d\nclass %s\nhttp_status %ld\nretry_after_ms %ld\n", status,
           mlp_http_class_name(answer.http.class), answer.http.http_status,
           answer.http.retry_after_ms);
    printf("body ");
    print_hex(answer.http.body.data, answer.http.body.len);
    printf("result %s\ncode %lld\n", answer.result != NULL ? "there" : "none",
           (long long)answer.code);
    printf("message %s\n\n", error.message);
    mlp_json_rpc_answer_clear(&answer);
    return status;
}

int main(int count, char **words)
{
    const char *headers[8];
    struct mlp_http_request request = {
        .headers = headers, .answer_max = 65536, .timeout_ms = 5000, .url = words[count - 1]};
    const char *method = NULL;
    long times = 1;
    for (int i = 1; i + 2 < count; i += 2) {
        const char *value = words[i + 1];
        if (strcmp(words[i], "--post") == 0) {
            request.post = true;
            request.body = value;
            request.body_len = strlen(value);
        } else if (strcmp(words[i], "--header") == 0)
            headers[request.headers_count++] = value;
        else if (strcmp(words[i], "--ca") == 0)
            request.ca_file = value;
        else if (strcmp(words[i], "--max") == 0)
            request.answer_max = strtoul(value, NULL, 10);
        else if (strcmp(words[i], "--timeout") == 0)
            request.timeout_ms = strtol(value, NULL, 10);
        else if (strcmp(words[i], "--rpc") == 0)
            method = value;
        else if (strcmp(words[i], "--times") == 0)
            times = strtol(value, NULL, 10);
        else if (strcmp(words[i], "--interrupt") == 0)
            interrupt_ms = strtol(value, NULL, 10);
    }
    struct mlp_error error = {0};
    int status = mlp_http_client_new(&client, &error);
    if (status != 0) {
        printf("status %d\nclass none\nmessage %s\n\n", status, error.message);
        return 0;
    }
    pthread_t thread;
    if (interrupt_ms > 0 && pthread_create(&thread, NULL, interrupt, NULL) != 0)
        return 2;
    for (long i = 0; i < times; i++)
        (void)call(method, &request, 7 + (uint64_t)i);
    if (interrupt_ms > 0)
        pthread_join(thread, NULL);
    mlp_http_client_free(client);
    return 0;
}
