/* hash_fixture.h - what the tests of the hash room share: input between unmapped pages, hexadecimal.
 */
#ifndef MLP_TESTS_HASH_FIXTURE_H
#define MLP_TESTS_HASH_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes with an unmapped page on either side: reading one byte too early or too late faults. */
struct guarded {
    uint8_t *begin; /* the start of a page */
    uint8_t *end;   /* the end of a page */
};

/* Maps at least len bytes that do not repeat within a chunk's distance (a linear congruential
 * generator: Numerical Recipes, section 7.1). */
static inline bool map_guarded(struct guarded *guarded, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (len + page - 1) / page * page;
    uint8_t *pages =
        mmap(NULL, room + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages, page, PROT_NONE) != 0 ||
        mprotect(pages + page + room, page, PROT_NONE) != 0)
        return false;
    guarded->begin = pages + page;
    guarded->end = guarded->begin + room;
    uint32_t word = 1;
    for (uint8_t *at = guarded->begin; at < guarded->end; at++) {
        word = word * 1664525U + 1013904223U;
        *at = (uint8_t)(word >> 24);
    }
    return true;
}

static inline void unmap_guarded(const struct guarded *guarded)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    (void)munmap(guarded->begin - page, (size_t)(guarded->end - guarded->begin) + 2 * page);
}

static inline bool equals_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    for (size_t i = 0; i < len; i++) {
        char byte[3];
        (void)snprintf(byte, sizeof byte, "%02x", bytes[i]);
        if (strncmp(byte, hex + 2 * i, 2) != 0)
            return false;
    }
    return hex[2 * len] == '\0';
}

#endif
