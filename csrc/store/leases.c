/* Leases of outbox.h. */
#include "store/outbox.h"
#include "store/store_internal.h"

#include "base/file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOOT_LEN 36 /* a UUID */

/* Empty where the system does not say: then a lease of a process that ended has to run out. */
static void read_boot(char boot[BOOT_LEN + 1])
{
    struct mlp_buffer bytes = {0};
    boot[0] = '\0';
    if (mlp_file_read_path(&bytes, AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, NULL) == 0 &&
        bytes.len >= BOOT_LEN) {
        memcpy(boot, bytes.data, BOOT_LEN);
        boot[BOOT_LEN] = '\0';
    }
    mlp_buffer_clear(&bytes);
}

void mlp_lease_holder(char *holder, uint64_t number)
{
    char boot[BOOT_LEN + 1];
    read_boot(boot);
    (void)snprintf(holder, MLP_INTENT_TEXT_MAX + 1, "%s %ld %llu", boot, (long)getpid(),
                   (unsigned long long)number);
}

/* A process id that was given away again reads as alive: then the lease runs out. */
static bool has_ended(const char *holder)
{
    char boot[BOOT_LEN + 1];
    read_boot(boot);
    if (boot[0] == '\0' || strncmp(holder, boot, BOOT_LEN) != 0 || holder[BOOT_LEN] != ' ')
        return false;
    long process = strtol(holder + BOOT_LEN + 1, NULL, 10);
    return process > 0 && kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

/* In a transaction. */
static int is_free(struct mlp_store *store, bool *answer, const char *chain, const char *account,
                   const char *holder, int64_t now_ms, struct mlp_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = mlp_sqlite_prepare(
        store, &statement, error,
        "SELECT holder, until FROM anchor_leases WHERE chain = ?1 AND account = ?2", "tt", chain,
        account);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status == 0) {
        *answer = true;
    } else if (status > 0) {
        const char *other = (const char *)sqlite3_column_text(statement, 0);
        int64_t until = sqlite3_column_int64(statement, 1);
        /* A clock that was set back would keep a lease for ever. */
        *answer = other == NULL || strcmp(other, holder) == 0 || until <= now_ms ||
                  until > now_ms + MLP_LEASE_MS || has_ended(other);
        status = 0;
    }
    sqlite3_finalize(statement);
    return status;
}

int mlp_outbox_lease(struct mlp_store *store, bool *taken, const char *chain, const char *account,
                     const char *holder, int64_t now_ms, struct mlp_error *error)
{
    bool mine = false;
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = is_free(store, &mine, chain, account, holder, now_ms, error);
    if (status == 0 && mine)
        status = mlp_sqlite_execute(
            store, error,
            "INSERT INTO anchor_leases(chain, account, holder, until) VALUES(?1, ?2, ?3, ?4)"
            " ON CONFLICT(chain, account) DO UPDATE SET holder = excluded.holder,"
            " until = excluded.until",
            "ttti", chain, account, holder, now_ms + MLP_LEASE_MS);
    status = mlp_store_end(store, status, error);
    if (status == 0)
        *taken = mine;
    return status;
}

int mlp_outbox_release(struct mlp_store *store, const char *chain, const char *account,
                       const char *holder, struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_execute(
        store, error, "DELETE FROM anchor_leases WHERE chain = ?1 AND account = ?2 AND holder = ?3",
        "ttt", chain, account, holder);
    return mlp_store_end(store, status, error);
}
