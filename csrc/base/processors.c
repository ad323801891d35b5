#include "base/processors.h"

#include "base/file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/syscall.h>
#endif

#define MASK_WORDS    128  /* 8,192 processors */
#define SHORT_FILE    4096 /* more than /proc/self/cgroup or cpu.max ever have */
#define CGROUP_ROOT   "/sys/fs/cgroup"
#define UNIFIED_GROUP "0::" /* the line of cgroup v2 in /proc/self/cgroup (cgroups(7)) */

/* The system call, not the library's wrapper: that is hidden without _GNU_SOURCE.
 * Returns: 0 where the system does not say. */
static size_t of_affinity(void)
{
#if defined(__linux__)
    uint64_t mask[MASK_WORDS] = {0};
    long len = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    size_t count = 0;
    for (size_t i = 0; len > 0 && i < MASK_WORDS; i++)
        count += (size_t)__builtin_popcountll(mask[i]);
    return count;
#else
    return 0;
#endif
}

size_t mlp_processors_of_quota(const char *line)
{
    char *rest;
    unsigned long long quota = strtoull(line, &rest, 10); /* "max": no digits */
    if (rest == line || *rest != ' ')
        return 0;
    unsigned long long period = strtoull(rest, NULL, 10);
    if (quota == 0 || period == 0)
        return 0;
    return (size_t)((quota - 1) / period + 1);
}

/* Reads a short file as text. Returns: whether it could be read. */
static bool read_text(struct mlp_buffer *text, const char *path)
{
    text->len = 0;
    if (mlp_file_read_path(text, AT_FDCWD, path, SHORT_FILE, NULL) != 0)
        return false;
    mlp_buffer_append(text, "", 1);
    return mlp_buffer_status(text) == 0;
}

/* The smallest quota of a group and those above it; 0 where none has one. */
static size_t of_group(struct mlp_buffer *text, char *group)
{
    size_t smallest = 0;
    for (;;) {
        char path[SHORT_FILE + 64];
        (void)snprintf(path, sizeof path, CGROUP_ROOT "%s/cpu.max", group);
        size_t count =
            read_text(text, path) ? mlp_processors_of_quota((const char *)text->data) : 0;
        if (count > 0 && (smallest == 0 || count < smallest))
            smallest = count;
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return smallest;
        *slash = '\0';
    }
}

static size_t of_control_group(void)
{
#if defined(__linux__)
    struct mlp_buffer text = {0};
    size_t count = 0;
    char group[SHORT_FILE] = "";
    if (read_text(&text, "/proc/self/cgroup")) {
        const char *line = strstr((const char *)text.data, UNIFIED_GROUP);
        if (line != NULL)
            (void)snprintf(group, sizeof group, "%.*s", (int)strcspn(line, "\n") - 3, line + 3);
        if (strcmp(group, "/") == 0)
            group[0] = '\0';
        count = of_group(&text, group);
    }
    mlp_buffer_clear(&text);
    return count;
#else
    return 0;
#endif
}

size_t mlp_processors(void)
{
    size_t count = of_affinity();
    if (count == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        count = online > 0 ? (size_t)online : 1;
    }
    size_t allowed = of_control_group();
    return allowed > 0 && allowed < count ? allowed : count;
}
