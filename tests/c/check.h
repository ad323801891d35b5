/* check.h - all that a C test needs: tests are functions named as sentences, run one after another.
 *
 *     static void a_proof_for_the_wrong_index_is_refused(void) { CHECK(verify(...) ==
 * MLP_E_MISMATCH); } int main(void) { RUN(a_proof_for_the_wrong_index_is_refused); return
 * check_finish(); }
 *
 * Output: "ok NAME" or "FAIL NAME" for each, SKIP lines with a reason, "N passed, N failed" at the
 * end; the exit status is 1 when one failed. A failed CHECK is shown with file and line and does
 * not stop the test.
 */
#ifndef MLP_TESTS_CHECK_H
#define MLP_TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>

static int check_passed, check_failed, check_failures_here;

static inline bool check_that(bool holds, const char *what, const char *file, int line)
{
    if (!holds) {
        check_failures_here++;
        printf("  %s:%d: does not hold: %s\n", file, line, what);
    }
    return holds;
}

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)

static inline void check_run(const char *name, void (*test)(void))
{
    check_failures_here = 0;
    test();
    if (check_failures_here == 0)
        check_passed++;
    else
        check_failed++;
    printf("%s %s\n", check_failures_here == 0 ? "ok" : "FAIL", name);
    (void)fflush(stdout);
}

#define RUN(test) check_run(#test, test)

/* Says why something was not checked. */
#define SKIP(reason) printf("  SKIP: %s\n", (reason))

static inline int check_finish(void)
{
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed == 0 ? 0 : 1;
}

#endif
