/* thread_faults.h - pthread_create made to fail.
 *
 * A program that includes this defines pthread_create itself; it counts down, and refuses as a system
 * at its limits does. Include it in one file of a program.
 */
#ifndef MLP_TESTS_THREAD_FAULTS_H
#define MLP_TESTS_THREAD_FAULTS_H

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define THREADS_ARE_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_ARE_WATCHED 1
#endif
#endif

/* So many more can be made; below 0: all. */
static atomic_long threads_to_go __attribute__((unused)) = -1;

#if defined(THREADS_ARE_WATCHED) /* the sanitizer's own pthread_create stands there */
#else
#define THREADS_ARE_WATCHED 0

#ifndef RTLD_NEXT
#define RTLD_NEXT ((void *)-1L) /* the headers hide it without _GNU_SOURCE (dlsym(3)) */
#endif

typedef int create_function(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread,
                                                          const pthread_attr_t *attributes,
                                                          void *(*start)(void *), void *argument)
{
    create_function *create;
    void *symbol = dlsym(RTLD_NEXT, "pthread_create");
    memcpy(&create, &symbol, sizeof create);
    if (atomic_load(&threads_to_go) == 0)
        return EAGAIN;
    if (atomic_load(&threads_to_go) > 0)
        atomic_fetch_sub(&threads_to_go, 1);
    return create(thread, attributes, start, argument);
}
#endif

#endif
