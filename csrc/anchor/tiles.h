/* tiles.h - the files of a C2SP tlog-tiles directory, written from the store log's rows.
 *
 * Full tiles are 256 hashes wide; the rightmost of each level are partial and named .p/<width>
 * (C2SP tlog-tiles, "Partial tiles"). A partial tile stays until the full one is there.
 *
 * Threads: the caller holds log/.lock.
 * Errors: as in store.h.
 */
#ifndef MLP_ANCHOR_TILES_H
#define MLP_ANCHOR_TILES_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct mlp_store;

#define MLP_TILE_PATH_MAX 96
#define MLP_TILE_ENTRIES  (-1) /* in place of a level: the entry bundles */

/* Writes "log/tile/<L>/<N>" or, for width below 256, "log/tile/<L>/<N>.p/<W>", and a NUL. <N> is
 * the index in groups of three digits, all but the last with an x in front: 1234067 is
 * x001/x234/067. */
void mlp_tile_path(char path[MLP_TILE_PATH_MAX], int level, uint64_t index, unsigned width);

/* Writes every tile and entry bundle that a log of size `to` has and one of size `from` had not,
 * each under a temporary name, fsynced, renamed; then removes the partial ones of tiles that are
 * full now. Whatever stood under those names is replaced.
 * In:      to: at most the entries that the database has.
 * Returns: 0.
 */
int mlp_tiles_write(struct mlp_store *store, int directory_fd, uint64_t from, uint64_t to,
                    struct mlp_error *error);

#endif
