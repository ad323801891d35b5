/* Workers: handing over from many threads, endpoints that are dead or silent, fork, exit. */
#include "store_fixture.h"

#include "anchor/deliver.h"
#include "anchor/workers.h"
#include "base/clock.h"
#include "codec/cid.h"
#include "store/outbox.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

static char path[PATH_MAX];
static const uint8_t root32[32] = {1};

/* A socket that is bound, and listens or not: who connects waits for ever, or is refused. */
static int bound_socket(char url[64], bool listens)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    CHECK(!listens || listen(fd, 8) == 0);
    (void)snprintf(url, 64, "http://127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

static struct mlp_store *store_with_an_intent(void)
{
    struct mlp_error error = {0};
    int64_t id = 0;
    bool made = false;
    struct mlp_intent_subject subject = {"ipfs", "ipfs", "", "", "mlprov/store/x", 7, root32};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(FINE(mlp_outbox_plan(store, &id, &made, &subject, "note", 4, &error)));
    return store;
}

static struct mlp_workers *start_many(const char *url, size_t count)
{
    struct mlp_error error = {0};
    struct mlp_workers *workers = NULL;
    struct mlp_anchor_endpoint endpoints[MLP_WORKERS_MAX];
    struct mlp_anchor_endpoint endpoint = {.kind = &mlp_anchor_ipfs,
                                           .url = url,
                                           .timeout_ms = 20000,
                                           .chain = "ipfs",
                                           .target = "",
                                           .account = ""};
    for (size_t i = 0; i < count; i++)
        endpoints[i] = endpoint;
    CHECK(FINE(mlp_workers_start(&workers, path, endpoints, count, 0, &error)));
    return workers;
}

static struct mlp_workers *start(const char *url)
{
    return start_many(url, 1);
}

static void *hand_over_often(void *workers)
{
    for (int i = 0; i < 1000; i++)
        mlp_workers_hand_over(workers, i % 2 == 0);
    return NULL;
}

static void a_dead_endpoint_leaves_the_intent_in_the_outbox(void)
{
    char url[64];
    pthread_t threads[4];
    int fd = bound_socket(url, false);
    struct mlp_store *store = store_with_an_intent();
    struct mlp_workers *workers = start(url);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, hand_over_often, workers) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK(mlp_workers_wait(workers, 20000));
    CHECK(mlp_workers_stop(workers, 10000));
    CHECK(query_number(store, "SELECT count(*) FROM anchor_intents WHERE state = 'sent' AND"
                              " failures > 0 AND note LIKE '%could not be reached%'") == 1);
    CHECK(query_number(store, "SELECT count(*) FROM anchor_attempts") == 1);
    CHECK(query_number(store, "SELECT count(*) FROM anchor_leases") == 0);
    mlp_store_free(store);
    (void)close(fd);
    fixture_remove(path);
}

/* The server is dead for all of them: one try, and not one for each. */
static void a_dead_endpoint_is_left_alone_whatever_waits_for_it(void)
{
    char url[64];
    struct mlp_error error = {0};
    int64_t id = 0;
    bool made = false;
    int fd = bound_socket(url, false);
    struct mlp_store *store = store_with_an_intent();
    for (uint64_t size = 8; size < 40; size++) {
        struct mlp_intent_subject subject = {"ipfs",           "ipfs", "",    "",
                                             "mlprov/store/x", size,   root32};
        CHECK(FINE(mlp_outbox_plan(store, &id, &made, &subject, "note", 4, &error)));
    }
    struct mlp_workers *workers = start(url);
    mlp_workers_hand_over(workers, false);
    CHECK(mlp_workers_wait(workers, 20000));
    CHECK(mlp_workers_stop(workers, 10000));
    CHECK(query_number(store, "SELECT sum(failures) FROM anchor_intents") == 1);
    mlp_store_free(store);
    (void)close(fd);
    fixture_remove(path);
}

static int64_t cpu_ms(void)
{
    struct timespec spent;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (int64_t)spent.tv_sec * 1000 + spent.tv_nsec / 1000000;
}

static void idle_workers_sleep_and_do_not_wake_each_other(void)
{
    char url[64];
    const struct timespec half_a_second = {.tv_nsec = 500000000};
    int fd = bound_socket(url, false);
    struct mlp_store *store = store_with_an_intent();
    struct mlp_workers *workers = start_many(url, 3);
    mlp_workers_hand_over(workers, false);
    CHECK(mlp_workers_wait(workers, 20000));
    int64_t before = cpu_ms();
    (void)nanosleep(&half_a_second, NULL);
    CHECK(cpu_ms() - before < 250); /* waking each other took all of it */
    CHECK(mlp_workers_stop(workers, 10000));
    mlp_store_free(store);
    (void)close(fd);
    fixture_remove(path);
}

/* Until somebody connects: a request is under way then. */
static void wait_for_connection(int fd)
{
    int connection = accept(fd, NULL, NULL);
    CHECK(connection >= 0); /* left open: silence */
}

static void a_silent_endpoint_does_not_hold_up_the_end(void)
{
    char url[64];
    int fd = bound_socket(url, true);
    struct mlp_store *store = store_with_an_intent();
    struct mlp_workers *workers = start(url);
    wait_for_connection(fd);
    int64_t began = mlp_clock_now();
    CHECK(mlp_workers_stop(workers, 10000));
    CHECK(mlp_clock_now() - began < INT64_C(2000000000));
    CHECK(query_number(store, "SELECT count(*) FROM anchor_intents WHERE state = 'sent' AND"
                              " failures = 0") == 1);
    mlp_store_free(store);
    (void)close(fd);
    fixture_remove(path);
}

static void a_child_has_no_workers_and_the_parent_keeps_its_own(void)
{
    char url[64];
    int fd = bound_socket(url, true);
    struct mlp_store *store = store_with_an_intent();
    struct mlp_workers *workers = start(url);
    wait_for_connection(fd);
    pid_t child = fork();
    if (child == 0) {
        mlp_workers_hand_over(workers, true);
        /* exit would take what the parent's threads hold for leaks. */
        _exit(mlp_workers_wait(workers, 20000) && mlp_workers_stop(workers, 20000) ? 0 : 1);
    }
    int ended = -1;
    CHECK(waitpid(child, &ended, 0) == child && ended == 0);
    CHECK(!mlp_workers_wait(workers, 0));
    CHECK(mlp_workers_stop(workers, 10000));
    mlp_store_free(store);
    (void)close(fd);
    fixture_remove(path);
}

static void a_process_that_ends_with_a_request_under_way_ends_soon(void)
{
    char url[64];
    int fd = bound_socket(url, true);
    mlp_store_free(store_with_an_intent());
    int64_t began = mlp_clock_now();
    pid_t child = fork();
    if (child == 0) {
        (void)start(url);
        wait_for_connection(fd);
        exit(0);
    }
    int ended = -1;
    CHECK(waitpid(child, &ended, 0) == child && ended == 0);
    CHECK(mlp_clock_now() - began < INT64_C(5000000000));
    (void)close(fd);
    fixture_remove(path);
}

static void pauses_double_are_bounded_and_obey_the_server(void)
{
    for (uint64_t random = 0; random < 10000; random += 7) {
        int64_t first = mlp_deliver_pause_ms(0, -1, random);
        int64_t third = mlp_deliver_pause_ms(2, -1, random);
        int64_t last = mlp_deliver_pause_ms(INT64_MAX, -1, random * 1000);
        CHECK(first >= 750 && first <= 1250 && third >= 3000 && third <= 5000);
        CHECK(last >= 675000 && last <= 1125000);
        CHECK(mlp_deliver_pause_ms(0, 60000, random) == 60000);
    }
}

/* docs.ipfs.tech and ipfs/specs, unixfs.md, "Test vectors": raw blocks. */
static void cids_are_those_of_the_specification(void)
{
    static const char text[] = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4";
    static const char empty[] = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    static const char base58[] = "zb2rhiNedvrkpYhcrgtpmhKk5UPzcgizgSXaQLYXNY745BmYP";
    uint8_t cid[MLP_CID_LEN], read[MLP_CID_LEN];
    char written[MLP_CID_TEXT_MAX];
    CHECK(mlp_cid_of_block(cid, MLP_CID_RAW, "hello world\n", 12, NULL) == 0);
    mlp_cid_encode(written, cid);
    CHECK(strcmp(written, text) == 0);
    CHECK(mlp_cid_decode(read, text, strlen(text), NULL) == 0 && memcmp(read, cid, 36) == 0);
    CHECK(mlp_cid_of_block(cid, MLP_CID_RAW, "", 0, NULL) == 0);
    mlp_cid_encode(written, cid);
    CHECK(strcmp(written, empty) == 0);
    CHECK(mlp_cid_of_block(cid, MLP_CID_RAW, "\0\1\2", 3, NULL) == 0);
    CHECK(mlp_cid_decode(read, base58, strlen(base58), NULL) == 0 && memcmp(read, cid, 36) == 0);
    /* The empty directory, in both versions. */
    static const char v0[] = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    static const char v1[] = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";
    CHECK(mlp_cid_decode(read, v0, strlen(v0), NULL) == 0 &&
          mlp_cid_decode(cid, v1, strlen(v1), NULL) == 0 && memcmp(read, cid, 36) == 0);
    for (size_t i = 0; i < strlen(text); i++) { /* no other text stands for it */
        char other[sizeof text];
        memcpy(other, text, sizeof text);
        other[i] = other[i] == 'a' ? 'c' : 'a';
        if (other[i] != text[i] && mlp_cid_decode(read, other, strlen(other), NULL) == 0) {
            (void)mlp_cid_of_block(cid, MLP_CID_RAW, "hello world\n", 12, NULL);
            CHECK(memcmp(read, cid, 36) != 0);
        }
        CHECK(mlp_cid_decode(read, text, i, NULL) == MLP_E_MALFORMED);
    }
    CHECK(mlp_cid_decode(read, "bafkq", 5, NULL) == MLP_E_MALFORMED);
}

int main(void)
{
    RUN(cids_are_those_of_the_specification);
    RUN(pauses_double_are_bounded_and_obey_the_server);
    if (mlp_http_check_url(NULL, "http://127.0.0.1/", NULL) != 0) {
        SKIP("there is no libcurl here");
        return check_finish();
    }
    RUN(a_dead_endpoint_leaves_the_intent_in_the_outbox);
    RUN(a_dead_endpoint_is_left_alone_whatever_waits_for_it);
    RUN(idle_workers_sleep_and_do_not_wake_each_other);
    RUN(a_silent_endpoint_does_not_hold_up_the_end);
    RUN(a_child_has_no_workers_and_the_parent_keeps_its_own);
    RUN(a_process_that_ends_with_a_request_under_way_ends_soon);
    return check_finish();
}
