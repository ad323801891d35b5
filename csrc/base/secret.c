#include "base/secret.h"

#include <string.h>
#include <sys/mman.h>

void *mlp_secret_new(size_t len)
{
    if (len == 0)
        return NULL;
    /* Pages of its own: mlock and madvise work on pages, and munlock on a shared page would unlock
     * a neighbour's secret. */
    void *secret = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret == MAP_FAILED)
        return NULL;
    (void)mlock(secret, len); /* best effort: RLIMIT_MEMLOCK may be 0 */
#ifdef MADV_DONTDUMP
    (void)madvise(secret, len, MADV_DONTDUMP);
#endif
    return secret;
}

void mlp_secret_free(void *secret, size_t len)
{
    if (secret == NULL)
        return;
    mlp_secret_wipe(secret, len);
    (void)munmap(secret, len);
}

void mlp_secret_wipe(void *bytes, size_t len)
{
    if (len == 0)
        return;
    memset(bytes, 0, len);
    /* The barrier tells the compiler that the zeros are read. */
    __asm__ __volatile__("" : : "r"(bytes) : "memory");
}
