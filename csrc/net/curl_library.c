#include "net/curl_library.h"

#if MLP_HAVE_CURL

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The first: upstream's, then Debian's GnuTLS flavour, which has the same interface. */
static const char *const names[] = {
#if defined(__APPLE__)
    "libcurl.4.dylib",
#else
    "libcurl.so.4",
    "libcurl-gnutls.so.4",
#endif
};

static struct mlp_curl table;
static bool loaded;
static char reason[256]; /* why it is not */

static bool find_functions(void *library)
{
    /* POSIX has function pointers in void *, ISO C does not: copied, not cast. */
#define FIND(name)                                                                                 \
    {                                                                                              \
        void *found = dlsym(library, "curl_" #name);                                               \
        if (found == NULL) {                                                                       \
            (void)snprintf(reason, sizeof reason, "it has no curl_" #name ": 7.68 is needed");     \
            return false;                                                                          \
        }                                                                                          \
        memcpy(&table.name, &found, sizeof found);                                                 \
    }
    MLP_CURL_FUNCTIONS(FIND)
#undef FIND
    return true;
}

static void load(void)
{
    void *library = NULL;
    for (size_t i = 0; library == NULL && i < sizeof names / sizeof names[0]; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        (void)snprintf(reason, sizeof reason, "%s was not found", names[0]);
        return;
    }
    if (!find_functions(library))
        return;
    if (table.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        (void)snprintf(reason, sizeof reason, "curl_global_init failed");
    else if ((table.version_info(CURLVERSION_NOW)->features & CURL_VERSION_SSL) == 0)
        (void)snprintf(reason, sizeof reason, "it was built without TLS");
    else
        loaded = true;
}

int mlp_curl_load(const struct mlp_curl **curl, struct mlp_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (!loaded)
        return mlp_fail(error, MLP_E_CONFIG,
                        "cannot use the network: libcurl could not be opened: %s; install it "
                        "(Debian: libcurl4)",
                        reason);
    *curl = &table;
    return 0;
}

#else
/* ISO C wants a translation unit to have something in it. */
typedef int mlp_curl_is_missing;
#endif
