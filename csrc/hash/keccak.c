#include "hash/keccak.h"

#include "base/bytes.h"

#define RATE   136 /* bytes: (1600 - 512) / 8 */
#define LANES  25
#define ROUNDS 24

/* The Keccak reference, section 1.2, iota: the round constants. */
static const uint64_t round_constants[ROUNDS] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

/* rho and pi as one walk over the lanes, which visits every lane but (0, 0): step t rotates by
 * (t + 1)(t + 2) / 2 what it carries and sets it down at the next place. Lane (x, y) is x + 5y. */
static const uint8_t walk_lane[LANES - 1] = {10, 7,  11, 17, 18, 3, 5,  16, 8,  21, 24, 4,
                                             15, 23, 19, 13, 12, 2, 20, 14, 22, 9,  6,  1};
static const uint8_t walk_rotation[LANES - 1] = {1,  3,  6,  10, 15, 21, 28, 36, 45, 55, 2,  14,
                                                 27, 41, 56, 8,  25, 43, 62, 18, 39, 61, 20, 44};

static inline uint64_t rotate_left(uint64_t lane, unsigned bits)
{
    return lane << bits | lane >> (64 - bits);
}

static void mix_columns(uint64_t state[LANES]) /* theta */
{
    uint64_t parity[5];
    for (size_t x = 0; x < 5; x++)
        parity[x] = state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20];
    for (size_t x = 0; x < 5; x++) {
        uint64_t mixed = parity[(x + 4) % 5] ^ rotate_left(parity[(x + 1) % 5], 1);
        for (size_t y = 0; y < LANES; y += 5)
            state[x + y] ^= mixed;
    }
}

static void walk_lanes(uint64_t state[LANES]) /* rho, pi */
{
    uint64_t carried = state[1];
    for (size_t t = 0; t < LANES - 1; t++) {
        uint64_t next = state[walk_lane[t]];
        state[walk_lane[t]] = rotate_left(carried, walk_rotation[t]);
        carried = next;
    }
}

static void mix_rows(uint64_t state[LANES]) /* chi */
{
    for (size_t y = 0; y < LANES; y += 5) {
        uint64_t row[5];
        for (size_t x = 0; x < 5; x++)
            row[x] = state[y + x];
        for (size_t x = 0; x < 5; x++)
            state[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
    }
}

static void permute(uint64_t state[LANES])
{
    for (size_t round = 0; round < ROUNDS; round++) {
        mix_columns(state);
        walk_lanes(state);
        mix_rows(state);
        state[0] ^= round_constants[round];
    }
}

static void absorb_block(uint64_t state[LANES], const uint8_t block[RATE])
{
    for (size_t lane = 0; lane < RATE / 8; lane++)
        state[lane] ^= mlp_load_le64(block + 8 * lane);
    permute(state);
}

void mlp_keccak256(uint8_t digest32[32], const void *data, size_t data_len)
{
    uint64_t state[LANES] = {0};
    const uint8_t *bytes = data;
    for (; data_len >= RATE; data_len -= RATE, bytes += RATE)
        absorb_block(state, bytes);

    uint8_t last[RATE] = {0};
    if (data_len > 0)
        memcpy(last, bytes, data_len);
    last[data_len] = 0x01;
    last[RATE - 1] |= 0x80;
    absorb_block(state, last);
    memcpy(digest32, state, MLP_KECCAK256_LEN); /* lanes are little-endian, as the host is */
}
