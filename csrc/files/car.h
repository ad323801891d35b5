/* car.h - a file as a CAR, and a file out of one (codec/car.h has the frames).
 *
 * A CAR of a file has one root, the file's CID, and the blocks in the order in which they are made: each
 * chunk as it is read, each node after all that is under it. The same file gives the same bytes. A chunk
 * that occurs twice is there twice.
 *
 * Threads: a struct mlp_car belongs to one thread at a time; hashing has the pool's help.
 * Memory: at most 8 MiB, and for a CAR that is read 56 bytes for each block.
 */
#ifndef MLP_FILES_CAR_H
#define MLP_FILES_CAR_H

#include "codec/car.h"
#include "files/unixfs.h"

/* ---- writing ---- */

/* Reads the file twice: its name comes first.
 * Out:     root: the file; car_len: bytes written.
 * In:      fd: where to write, from its position on. car_path: names it in error texts.
 * Returns: as mlp_file_blocks; as mlp_file_write_all; MLP_E_CHANGED.
 */
int mlp_car_write(struct mlp_unixfs_link *root, uint64_t *car_len, int fd, const char *car_path,
                  const char *path, const struct mlp_unixfs *unixfs, size_t threads,
                  const struct mlp_files_look *look, struct mlp_error *error);

/* ---- reading ---- */

#define MLP_CAR_BLOCKS_MAX ((size_t)1 << 24)

struct mlp_car_block {
    uint8_t cid36[MLP_CID_LEN];
    uint32_t len;
    uint64_t offset;
};

struct mlp_car {
    struct mlp_reader reader;
    uint8_t roots[MLP_CAR_ROOTS_MAX][MLP_CID_LEN];
    size_t roots_count;
    struct mlp_car_block *blocks; /* sorted by CID */
    size_t blocks_count;
    uint64_t blocks_len;  /* of all together */
    size_t block_len_max; /* of the longest */
};

/* Opens a CAR and reads all of it: every block has the hash that its CID says, and every root is there.
 * Returns: 0 (mlp_car_close); MLP_E_MISMATCH (a block's hash); MLP_E_MALFORMED (also: a root that is
 *          missing, more blocks than MLP_CAR_BLOCKS_MAX, a block above MLP_CAR_BLOCK_MAX); as
 *          mlp_reader_open (only_regular); MLP_E_CHANGED; what look returned.
 */
int mlp_car_open(struct mlp_car *car, const char *path, const struct mlp_files_look *look,
                 struct mlp_error *error);
void mlp_car_close(struct mlp_car *car);

/* Returns: the first block of that CID; NULL: there is none. */
const struct mlp_car_block *mlp_car_find(const struct mlp_car *car,
                                         const uint8_t cid36[MLP_CID_LEN]);

/* Writes the file that a CID names. Blocks are hashed again as they are read.
 * Out:     file_len.
 * In:      len_max: what is longer is refused before anything is written: blocks may be named again and
 *          again, so that a small CAR can stand for a file without end.
 *          fd, out_path: as mlp_car_write.
 * Returns: 0; MLP_E_MALFORMED (a block that is no part of a file, lengths that do not add up, deeper than
 *          MLP_CAR_DEPTH_MAX); MLP_E_NOT_FOUND (a block is not in the CAR); MLP_E_RANGE (len_max);
 *          MLP_E_CHANGED; MLP_E_MISMATCH; as mlp_file_write_all.
 */
#define MLP_CAR_DEPTH_MAX 16
int mlp_car_extract(struct mlp_car *car, uint64_t *file_len, int fd, const char *out_path,
                    const uint8_t cid36[MLP_CID_LEN], uint64_t len_max,
                    const struct mlp_files_look *look, struct mlp_error *error);

#endif
