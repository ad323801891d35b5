/* Every system call that writes, and every allocation, fails once: the store stays whole.
 *
 * The program's own write, fsync, rename, ... stand before those of libc, for our code and for
 * SQLite's alike; they count the calls of a scenario and fail the n-th. The scenario is repeated
 * for every n until it meets no failure.
 */
#include <stdlib.h> /* says which libc it is */

#if !defined(__linux__) || !defined(__GLIBC__)
#include "check.h"

int main(void)
{
    SKIP("failing system calls are put in place of glibc's on Linux only");
    return 77;
}
#else

#include "store_scenario.h"

#include <sys/mman.h>
#include <sys/wait.h>

/* One more run in the store that a failure was met in. */
static void check_usable(void)
{
    struct scene scene = {.run = 2};
    CHECK(play(&scene));
    clear_scene(&scene);
}

/* Fails calls n, n + stride, ... of the scenario. Returns: how many failures there were. */
static unsigned sweep(enum kind kind, int system_errno, bool again, long stride)
{
    unsigned met = 0;
    for (long n = 0;; n += stride) {
        struct scene scene = {.run = 1, .again = again};
        int before = check_failures_here;
        fixture_path(path, "store");
        fault_errno = system_errno;
        fault_happened = false;
        calls_to_go = n;
        fault_kind = kind;
        failing = kind;
        bool finished = play(&scene);
        failing = NOTHING;
        CHECK(finished || (fault_happened && !again));
        clear_scene(&scene);
        check_whole(&scene);
        if (n % (8 * stride) == 0)
            check_usable();
        fixture_remove(path);
        if (check_failures_here > before)
            printf("  call %ld of kind %d with errno %d, again %d\n", n, kind, system_errno, again);
        if (!fault_happened || check_failures_here > 20)
            return met;
        met++;
    }
}

static void a_full_disk_at_any_call_leaves_the_store_whole(void)
{
    CHECK(sweep(SYSTEM_CALLS, ENOSPC, false, 1) > 100);
}

static void a_failing_disk_at_any_call_leaves_the_store_whole(void)
{
    CHECK(sweep(SYSTEM_CALLS, EIO, false, 2) > 100);
}

static void a_refused_access_at_any_call_leaves_the_store_whole(void)
{
    CHECK(sweep(SYSTEM_CALLS, EACCES, false, 3) > 100);
}

static void what_failed_once_can_be_done_again(void)
{
    CHECK(sweep(SYSTEM_CALLS, EIO, true, 1) > 100);
    CHECK(sweep(SYSTEM_CALLS, ENOSPC, true, 3) > 100);
}

static void a_failing_allocation_leaves_the_store_whole(void)
{
    if (!ALLOCATIONS_CAN_FAIL) {
        SKIP("a sanitizer has the allocator");
        return;
    }
    /* OpenSSL keeps for ever what it could not set up at first use: that has happened by now. */
    CHECK(sweep(ALLOCATIONS, 0, false, 41) > 100);
    CHECK(sweep(ALLOCATIONS, 0, true, 67) > 50);
}

/* As sweep, but the call is the process's last. Returns: how many died. */
static unsigned sweep_deaths(void)
{
    struct scene *scene =
        mmap(NULL, sizeof *scene, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned died = 0;
    bool finished = !CHECK(scene != MAP_FAILED);
    for (long n = 0; !finished && check_failures_here <= 20; n++) {
        int status = 0;
        *scene = (struct scene){.run = 1};
        fixture_path(path, "store");
        pid_t child = fork();
        if (child == 0) {
            calls_to_go = n;
            fault_dies = true;
            failing = SYSTEM_CALLS;
            _exit(play(scene) ? 0 : 1);
        }
        CHECK(waitpid(child, &status, 0) == child);
        finished = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        CHECK(finished || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        died += !finished;
        fault_dies = true;
        check_whole(scene);
        fault_dies = false;
        if (n % 8 == 0)
            check_usable();
        fixture_remove(path);
    }
    return died;
}

static void a_process_that_dies_at_any_call_leaves_the_store_whole(void)
{
    CHECK(sweep_deaths() > 100);
}

static void the_calls_of_sqlite_are_among_those_that_fail(void)
{
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    struct mlp_error error = {0};
    CHECK(FINE(mlp_store_begin(store, &error)));
    int status = mlp_store_meta_put(store, "a", "b", &error);
    fault_errno = ENOSPC;
    calls_to_go = 0;
    failing = SYSTEM_CALLS;
    CHECK(mlp_store_end(store, status, &error) == MLP_E_FULL);
    failing = NOTHING;
    SAYS("free some space");
    CHECK(query_number(store, "SELECT count(*) FROM meta WHERE key = 'a'") == 0);
    mlp_store_free(store);
    fixture_remove(path);
}

int main(void)
{
    RUN(the_calls_of_sqlite_are_among_those_that_fail);
    RUN(a_full_disk_at_any_call_leaves_the_store_whole);
    RUN(a_failing_disk_at_any_call_leaves_the_store_whole);
    RUN(a_refused_access_at_any_call_leaves_the_store_whole);
    RUN(what_failed_once_can_be_done_again);
    RUN(a_process_that_dies_at_any_call_leaves_the_store_whole);
    RUN(a_failing_allocation_leaves_the_store_whole);
    return check_finish();
}

#endif
