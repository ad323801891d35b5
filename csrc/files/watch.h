/* watch.h - how whoever asked for files to be hashed learns how far it is, and ends it.
 *
 * Threads: the one that asked for the hashing owns the watch: look is called on it alone, never on a
 * worker. The other functions may be called by any thread of the job.
 */
#ifndef MLP_FILES_WATCH_H
#define MLP_FILES_WATCH_H

#include "base/reader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* How long it takes at least from one look to the next, the first one included. */
#define MLP_FILES_LOOK_MS 50

struct mlp_files_look {
    /* files, bytes: how many are done. Returns: 0, or what ends the hashing and is returned. */
    int (*look)(void *context, uint64_t files, uint64_t bytes);
    void *context;
};

/* ---- for this room ---- */

struct mlp_files_watch {
    const struct mlp_files_look *look; /* may be NULL */
    pthread_t owner;
    int64_t next_ms; /* the owner's */
    atomic_uint_least64_t files;
    atomic_uint_least64_t bytes;
    atomic_int ended; /* what look returned */
};

/* The calling thread is the owner. */
void mlp_files_watch_init(struct mlp_files_watch *watch, const struct mlp_files_look *look);

void mlp_files_watch_add(struct mlp_files_watch *watch, uint64_t files, uint64_t bytes);

/* On the owner's thread, looks when it is time. Returns: 0, or what ended the hashing. */
int mlp_files_watch_check(struct mlp_files_watch *watch);

/* What ends a call of base/reader.h that a signal interrupted: a look on the owner's thread, whatever
 * the time. watch: as long as the answer is used. */
struct mlp_reader_ask mlp_files_watch_ask(struct mlp_files_watch *watch);

#endif
