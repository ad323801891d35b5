#include "hash/blake3_members.h"

#define LANES MLP_BLAKE3_LANES_MAX

void mlp_blake3_members_init(struct mlp_blake3_members *members,
                             const struct mlp_blake3_kernel *kernel)
{
    members->kernel = kernel;
    members->count = 0;
    members->chunks_count = 0;
    members->work = (struct mlp_blake3_work){
        .blocks_count = 1, .key = mlp_blake3_iv, .flags = MLP_BLAKE3_PARENT};
    for (size_t i = 0; i < LANES; i++) {
        members->work.last_len[i] = MLP_BLAKE3_BLOCK_LEN;
        members->work.ahead[i] = (uintptr_t)members; /* nothing to fetch: it is in the cache */
    }
}

bool mlp_blake3_members_have_room(const struct mlp_blake3_members *members, size_t chunks_count)
{
    return members->chunks_count + chunks_count <= MLP_BLAKE3_MEMBERS_CHUNKS_MAX;
}

uint8_t *mlp_blake3_add_member(struct mlp_blake3_members *members, size_t chunks_count,
                               uint8_t digest32[32])
{
    struct mlp_blake3_member *member = &members->members[members->count++];
    member->cvs = members->cvs + members->chunks_count * MLP_BLAKE3_OUT_LEN;
    member->cvs_count = chunks_count;
    member->digest32 = digest32;
    members->chunks_count += chunks_count;
    return member->cvs;
}

static void compress_parents(struct mlp_blake3_members *members)
{
    if (members->work.count > 0)
        members->kernel->compress_lanes(&members->work);
    members->work.count = 0;
}

static void add_parent(struct mlp_blake3_members *members, const uint8_t *children64,
                       uint32_t root_flag, uint8_t *cv32)
{
    struct mlp_blake3_work *work = &members->work;
    size_t lane = work->count++;
    work->last_block[lane] = children64;
    work->cvs[lane] = cv32;
    work->flags_end[lane] = root_flag;
    if (work->count == LANES)
        compress_parents(members);
}

/* Parents of a member's neighbouring pairs; the last pair is the root. */
static void add_parents(struct mlp_blake3_members *members, const struct mlp_blake3_member *member)
{
    if (member->cvs_count == 2) {
        add_parent(members, member->cvs, MLP_BLAKE3_ROOT, member->digest32);
        return;
    }
    for (size_t pair = 0; pair < member->cvs_count / 2; pair++)
        add_parent(members, member->cvs + pair * MLP_BLAKE3_BLOCK_LEN, 0,
                   member->cvs + pair * MLP_BLAKE3_OUT_LEN);
}

/* What is left of a member on the next level. An odd chaining value moves up (section 2.1: the left
 * subtree is the largest complete one), now that no waiting lane reads where it goes. */
static void move_up(struct mlp_blake3_member *member)
{
    size_t pairs_count = member->cvs_count / 2;
    if (member->cvs_count > 2 && member->cvs_count % 2 == 1) {
        memmove(member->cvs + pairs_count * MLP_BLAKE3_OUT_LEN,
                member->cvs + 2 * pairs_count * MLP_BLAKE3_OUT_LEN, MLP_BLAKE3_OUT_LEN);
        pairs_count++;
    }
    member->cvs_count = pairs_count;
}

void mlp_blake3_finish_members(struct mlp_blake3_members *members)
{
    for (bool more = members->count > 0; more;) {
        for (size_t i = 0; i < members->count; i++)
            add_parents(members, &members->members[i]);
        compress_parents(members);
        more = false;
        for (size_t i = 0; i < members->count; i++) {
            move_up(&members->members[i]);
            more = more || members->members[i].cvs_count > 1;
        }
    }
    members->count = 0;
    members->chunks_count = 0;
}
