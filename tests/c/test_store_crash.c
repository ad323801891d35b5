/* kill -9 at random points, and many processes at once: nothing acknowledged is lost, the log
 * verifies.
 */
#include "log_audit.h"

#include "store/leaves.h"
#include "store/stream.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define KILLS     40
#define PROCESSES 8
#define RUNS_EACH 50

static char path[PATH_MAX];

/* What a recorder says through its pipe once it is true. */
struct news {
    enum { COMMITTED, LOGGED, SYNCED, CLOSED } kind;
    unsigned run;
    uint64_t size;
    uint8_t root32[32];
};

static void tell(int pipe_fd, const struct news *news)
{
    if (write(pipe_fd, news, sizeof *news) != (ssize_t)sizeof *news)
        _exit(3);
}

static void give_up(const char *step, const struct mlp_error *error)
{
    printf("  recorder, %s: %s\n", step, error->message);
    (void)fflush(stdout);
    _exit(2);
}

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != 0)                                                                           \
            give_up(#call, &error);                                                                \
    } while (0)

/* ---- the recorder that is killed ---- */

static void record_stream(struct mlp_store *store, unsigned run, int pipe_fd)
{
    struct mlp_error error = {0};
    struct mlp_stream *stream = NULL;
    struct news news = {.kind = SYNCED, .run = run};
    char leaf[3000];
    memset(leaf, 'x', sizeof leaf);
    MUST(mlp_stream_open(&stream, store, run_id(run), "train", &error));
    for (unsigned i = 0; i < 60; i++) {
        MUST(mlp_stream_append(stream, &news.size, leaf, sizeof leaf - i, &error));
        if (i % 20 == 19) {
            MUST(mlp_stream_sync(stream, &error));
            tell(pipe_fd, &news);
        }
    }
    MUST(mlp_stream_close(stream, news.root32, &error));
    news.kind = CLOSED;
    tell(pipe_fd, &news);
    mlp_stream_free(stream);
}

static void record_run(struct mlp_store *store, struct mlp_tlog *tlog, unsigned run, int pipe_fd)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    MUST(mlp_runlog_create(&log, store, run_id(run), "name", NULL, &error));
    for (unsigned i = 0; i < 6; i++) {
        struct news news = {.kind = COMMITTED, .run = run};
        MUST(add_record(log, "epoch", &error));
        MUST(add_record(log, i == 5 ? "run.end" : "metrics", &error));
        MUST(mlp_runlog_commit(log, NULL, NULL, &error));
        mlp_runlog_head(log, &news.size, news.root32);
        tell(pipe_fd, &news);
        if (i % 2 == 1) {
            news.kind = LOGGED;
            MUST(mlp_tlog_integrate(tlog, &news.size, &error));
            tell(pipe_fd, &news);
        }
    }
    MUST(mlp_runlog_destroy_key(log, &error));
    mlp_runlog_free(log);
}

static void record_for_ever(unsigned first_run, int pipe_fd)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    struct mlp_tlog *tlog = NULL;
    MUST(mlp_store_open(&store, path, MLP_STORE_CREATE, &error));
    MUST(mlp_tlog_open(&tlog, store, &error));
    for (unsigned run = first_run;; run++) {
        record_stream(store, run, pipe_fd);
        record_run(store, tlog, run, pipe_fd);
    }
}

/* ---- what must be there afterwards ---- */

static void check_committed(struct mlp_store *store, const struct news *news)
{
    char sql[160];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM records WHERE run = '%s'",
                   run_id(news->run));
    CHECK(query_number(store, sql) >= (int64_t)news->size);
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM heads WHERE run = '%s' AND size = %llu",
                   run_id(news->run), (unsigned long long)news->size);
    CHECK(query_number(store, sql) == 1);
}

/* A stream is open or closed; in both states it has what was synced. */
static void check_synced(struct mlp_store *store, const struct news *news, bool closed)
{
    struct mlp_error error = {0};
    struct mlp_stream *stream = NULL;
    char name[128];
    (void)snprintf(name, sizeof name, "trees/%s-train.open", run_id(news->run));
    if (closed || !file_exists(path, name))
        return;
    CHECK(FINE(mlp_stream_open(&stream, store, run_id(news->run), "train", &error)));
    CHECK(mlp_stream_size(stream) > news->size);
    mlp_stream_free(stream);
}

static void check_closed(struct mlp_store *store, const struct news *news)
{
    struct mlp_error error = {0};
    struct mlp_leaves leaves = {0};
    CHECK(FINE(mlp_store_get_leaves(store, &leaves, news->root32, &error)) && leaves.count == 60);
    mlp_leaves_clear(&leaves);
}

/* The run that was being recorded goes on. */
static void check_goes_on(struct mlp_store *store, const struct news *news)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    if (news->size == 12)
        return; /* ended */
    int status = mlp_runlog_open(&log, store, run_id(news->run), &error);
    if (status == MLP_E_ARGUMENT)
        return; /* its end was committed and not yet told */
    CHECK(FINE(status) && mlp_runlog_size(log) >= news->size);
    CHECK(FINE(add_record(log, "run.end", &error)));
    CHECK(FINE(mlp_runlog_commit(log, NULL, "failed", &error)));
    mlp_runlog_free(log);
}

static void check_everything(const struct mlp_buffer *told)
{
    struct mlp_error error = {0};
    struct mlp_tlog *tlog = NULL;
    const struct news *news = (const struct news *)(const void *)told->data;
    size_t count = told->len / sizeof *news;
    const struct news *last = NULL;
    uint64_t logged = 0;
    uint64_t size = 0;
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    for (size_t i = 0; i < count; i++) {
        bool closed = i + 1 < count && news[i + 1].kind == CLOSED;
        if (news[i].kind == COMMITTED)
            check_committed(store, last = &news[i]);
        else if (news[i].kind == SYNCED)
            check_synced(store, &news[i], closed);
        else if (news[i].kind == CLOSED)
            check_closed(store, &news[i]);
        else
            logged = news[i].size;
    }
    CHECK(FINE(mlp_tlog_open(&tlog, store, &error)));
    CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size >= logged);
    if (last != NULL)
        check_goes_on(store, last);
    CHECK(FINE(mlp_tlog_integrate(tlog, &size, &error)));
    CHECK((int64_t)size == query_number(store, "SELECT count(*) FROM heads"));
    CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size));
    mlp_tlog_free(tlog);
    mlp_store_free(store);
}

/* Reads what the recorder says until it has said `words` things, waits a little and kills it. */
static void record_and_kill(struct mlp_buffer *told, unsigned first_run, size_t words,
                            long delay_us)
{
    int ends[2];
    struct timespec delay = {.tv_sec = 0, .tv_nsec = delay_us * 1000};
    struct news block;
    if (!CHECK(pipe(ends) == 0))
        return;
    pid_t child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        record_for_ever(first_run, ends[1]);
    }
    (void)close(ends[1]);
    while (words-- > 0 && CHECK(read(ends[0], &block, sizeof block) == (ssize_t)sizeof block))
        mlp_buffer_append(told, &block, sizeof block);
    (void)nanosleep(&delay, NULL);
    CHECK(kill(child, SIGKILL) == 0);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    while (read(ends[0], &block, sizeof block) == (ssize_t)sizeof block)
        mlp_buffer_append(told, &block, sizeof block);
    (void)close(ends[0]);
}

static void a_killed_recorder_loses_nothing_acknowledged(void)
{
    unsigned seed = 3;
    size_t said = 0;
    fixture_path(path, "store");
    for (unsigned i = 0; i < KILLS; i++) {
        struct mlp_buffer told = {0};
        seed = seed * 1103515245U + 12345U;
        record_and_kill(&told, (i + 1) * 1000, (seed >> 24) % 40, (seed >> 8) % 3000);
        said += told.len / sizeof(struct news);
        check_everything(&told);
        mlp_buffer_clear(&told);
    }
    CHECK(said > KILLS * 5); /* they did record something */
    fixture_remove(path);
}

static void a_process_killed_while_it_makes_a_store_leaves_one_that_opens(void)
{
    unsigned seed = 4;
    for (unsigned i = 0; i < KILLS; i++) {
        struct mlp_buffer told = {0};
        seed = seed * 1103515245U + 12345U;
        fixture_path(path, "store");
        record_and_kill(&told, 1, 0, (seed >> 8) % 5000);
        check_everything(&told);
        mlp_buffer_clear(&told);
        fixture_remove(path);
    }
}

/* ---- many at once ---- */

static void record_some_runs(unsigned process)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    struct mlp_tlog *tlog = NULL;
    uint64_t size = 0;
    MUST(mlp_store_open(&store, path, MLP_STORE_CREATE, &error));
    MUST(mlp_tlog_open(&tlog, store, &error));
    for (unsigned run = 0; run < RUNS_EACH; run++) {
        struct mlp_runlog *log = NULL;
        MUST(mlp_runlog_create(&log, store, run_id(process * 1000 + run), "name", NULL, &error));
        MUST(add_record(log, "run.start", &error));
        MUST(mlp_runlog_commit(log, NULL, NULL, &error));
        MUST(add_record(log, "run.end", &error));
        MUST(mlp_runlog_commit(log, NULL, "finished", &error));
        MUST(mlp_tlog_integrate(tlog, &size, &error));
        MUST(mlp_runlog_destroy_key(log, &error));
        mlp_runlog_free(log);
    }
    mlp_tlog_free(tlog);
    mlp_store_free(store);
    _exit(0);
}

static void many_processes_record_into_one_store(void)
{
    pid_t children[PROCESSES];
    struct mlp_error error = {0};
    struct mlp_tlog *tlog = NULL;
    uint64_t size = 0;
    fixture_path(path, "store");
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0)
            record_some_runs(i + 1);
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status = 0;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    struct mlp_store *store = open_store(path, 0);
    CHECK(query_number(store, "SELECT count(*) FROM runs WHERE status = 'finished'") ==
          PROCESSES * RUNS_EACH);
    CHECK(query_number(store, "SELECT count(*) FROM heads WHERE log_index IS NOT NULL") ==
          2 * PROCESSES * RUNS_EACH);
    CHECK(FINE(mlp_tlog_open(&tlog, store, &error)));
    CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size == 2 * PROCESSES * RUNS_EACH);
    mlp_tlog_free(tlog);
    mlp_store_free(store);
    fixture_remove(path);
}

int main(void)
{
    RUN(a_killed_recorder_loses_nothing_acknowledged);
    RUN(a_process_killed_while_it_makes_a_store_leaves_one_that_opens);
    RUN(many_processes_record_into_one_store);
    return check_finish();
}
