#include "files/watch.h"

#include <time.h>

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void mlp_files_watch_init(struct mlp_files_watch *watch, const struct mlp_files_look *look)
{
    watch->look = look;
    watch->owner = pthread_self();
    watch->next_ms = now_ms() + MLP_FILES_LOOK_MS;
    atomic_init(&watch->files, 0);
    atomic_init(&watch->bytes, 0);
    atomic_init(&watch->ended, 0);
}

void mlp_files_watch_add(struct mlp_files_watch *watch, uint64_t files, uint64_t bytes)
{
    atomic_fetch_add_explicit(&watch->files, files, memory_order_relaxed);
    atomic_fetch_add_explicit(&watch->bytes, bytes, memory_order_relaxed);
}

static int look_now(struct mlp_files_watch *watch)
{
    int answer = watch->look->look(watch->look->context, atomic_load(&watch->files),
                                   atomic_load(&watch->bytes));
    if (answer != 0)
        atomic_store(&watch->ended, answer);
    watch->next_ms = now_ms() + MLP_FILES_LOOK_MS;
    return answer;
}

static bool may_look(const struct mlp_files_watch *watch)
{
    return watch->look != NULL && pthread_equal(watch->owner, pthread_self());
}

int mlp_files_watch_check(struct mlp_files_watch *watch)
{
    int ended = atomic_load_explicit(&watch->ended, memory_order_relaxed);
    if (ended != 0 || !may_look(watch) || now_ms() < watch->next_ms)
        return ended;
    return look_now(watch);
}

static int interrupted(void *context)
{
    struct mlp_files_watch *watch = context;
    int ended = atomic_load(&watch->ended);
    return ended != 0 || !may_look(watch) ? ended : look_now(watch);
}

struct mlp_reader_ask mlp_files_watch_ask(struct mlp_files_watch *watch)
{
    return (struct mlp_reader_ask){interrupted, watch};
}
