#include "store/store_internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Cells row by row; texts and blobs are owned, one block each. */
struct mlp_rows {
    struct mlp_value *cells;
    size_t cells_count;
    size_t cells_capacity;
    size_t columns;
};

void mlp_rows_free(struct mlp_rows *rows)
{
    if (rows == NULL)
        return;
    for (size_t i = 0; i < rows->cells_count; i++)
        free((void *)(uintptr_t)rows->cells[i].bytes);
    free(rows->cells);
    free(rows);
}

size_t mlp_rows_count(const struct mlp_rows *rows)
{
    return rows->columns == 0 ? 0 : rows->cells_count / rows->columns;
}

size_t mlp_rows_columns(const struct mlp_rows *rows)
{
    return rows->columns;
}

const struct mlp_value *mlp_rows_at(const struct mlp_rows *rows, size_t row, size_t column)
{
    return &rows->cells[row * rows->columns + column];
}

static int grow(struct mlp_rows *rows)
{
    if (rows->cells_capacity - rows->cells_count >= rows->columns)
        return 0;
    size_t capacity = rows->cells_capacity * 2 + rows->columns * 8;
    struct mlp_value *cells = realloc(rows->cells, capacity * sizeof *cells);
    if (cells == NULL)
        return MLP_E_MEMORY;
    rows->cells = cells;
    rows->cells_capacity = capacity;
    return 0;
}

static int copy_bytes(struct mlp_value *cell, sqlite3_stmt *statement, const void *bytes, int len)
{
    if (bytes == NULL && sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        return MLP_E_MEMORY; /* else an empty blob */
    cell->bytes_len = len > 0 ? (size_t)len : 0;
    void *copy = malloc(cell->bytes_len + 1); /* never NULL for an empty text */
    if (copy == NULL)
        return MLP_E_MEMORY;
    if (bytes != NULL && cell->bytes_len > 0)
        memcpy(copy, bytes, cell->bytes_len);
    cell->bytes = copy;
    return 0;
}

static int copy_cell(struct mlp_value *cell, sqlite3_stmt *statement, int column)
{
    memset(cell, 0, sizeof *cell);
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        cell->type = MLP_VALUE_INTEGER;
        cell->integer = sqlite3_column_int64(statement, column);
        return 0;
    case SQLITE_FLOAT:
        cell->type = MLP_VALUE_REAL;
        cell->real = sqlite3_column_double(statement, column);
        return 0;
    case SQLITE_TEXT:
        cell->type = MLP_VALUE_TEXT;
        return copy_bytes(cell, statement, sqlite3_column_text(statement, column),
                          sqlite3_column_bytes(statement, column));
    case SQLITE_BLOB:
        cell->type = MLP_VALUE_BLOB;
        return copy_bytes(cell, statement, sqlite3_column_blob(statement, column),
                          sqlite3_column_bytes(statement, column));
    default:
        return 0;
    }
}

static int copy_row(struct mlp_rows *rows, sqlite3_stmt *statement)
{
    int status = grow(rows);
    for (int column = 0; status == 0 && column < (int)rows->columns; column++) {
        struct mlp_value *cell = &rows->cells[rows->cells_count];
        status = copy_cell(cell, statement, column);
        if (status == 0)
            rows->cells_count++;
    }
    return status;
}

static int bind_value(sqlite3_stmt *statement, int index, const struct mlp_value *value)
{
    const void *bytes = value->bytes != NULL ? value->bytes : "";
    switch (value->type) {
    case MLP_VALUE_INTEGER:
        return sqlite3_bind_int64(statement, index, value->integer);
    case MLP_VALUE_REAL:
        return sqlite3_bind_double(statement, index, value->real);
    case MLP_VALUE_TEXT:
        return sqlite3_bind_text64(statement, index, bytes, value->bytes_len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case MLP_VALUE_BLOB:
        return sqlite3_bind_blob64(statement, index, bytes, value->bytes_len, SQLITE_STATIC);
    default:
        return sqlite3_bind_null(statement, index);
    }
}

static bool blank(const char *text, const char *end)
{
    while (text < end && strchr(" \t\r\n;", *text) != NULL && *text != '\0')
        text++;
    return text == end;
}

/* The user's own statement: what SQLite says about it is the user's news, not damage. */
static int fail_statement(struct mlp_store *store, int result, struct mlp_error *error)
{
    int primary = result & 0xFF;
    if (primary == SQLITE_ERROR || primary == SQLITE_AUTH || primary == SQLITE_RANGE ||
        primary == SQLITE_MISMATCH || primary == SQLITE_TOOBIG)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot run the query: %s",
                        sqlite3_errmsg(store->db));
    return mlp_sqlite_fail(store, result, "read", error);
}

static int prepare(struct mlp_store *store, sqlite3_stmt **statement, const char *sql,
                   size_t sql_len, const struct mlp_value *parameters, size_t parameters_count,
                   struct mlp_error *error)
{
    const char *rest = NULL;
    if (sql_len > INT_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot run the query: it is too long");
    int result = sqlite3_prepare_v2(store->db, sql, (int)sql_len, statement, &rest);
    if (result != SQLITE_OK)
        return fail_statement(store, sqlite3_extended_errcode(store->db), error);
    if (*statement == NULL || !blank(rest, sql + sql_len))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot run the query: give one statement, no more and no less");
    if (!sqlite3_stmt_readonly(*statement))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "refused the query: it could write, and queries only read");
    int wanted = sqlite3_bind_parameter_count(*statement);
    if (parameters_count != (size_t)wanted)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot run the query: it has %d parameters and %zu were given", wanted,
                        parameters_count);
    for (int i = 0; i < wanted && result == SQLITE_OK; i++)
        result = bind_value(*statement, i + 1, &parameters[i]);
    return result == SQLITE_OK ? 0 : fail_statement(store, result, error);
}

static int collect(struct mlp_rows *rows, struct mlp_store *store, sqlite3_stmt *statement,
                   struct mlp_error *error)
{
    rows->columns = (size_t)sqlite3_column_count(statement);
    for (;;) {
        int result = sqlite3_step(statement);
        if (result == SQLITE_DONE)
            return 0;
        if (result != SQLITE_ROW)
            return fail_statement(store, sqlite3_extended_errcode(store->db), error);
        if (copy_row(rows, statement) != 0)
            return mlp_fail(error, MLP_E_MEMORY, "cannot keep the query's rows: out of memory");
    }
}

int mlp_store_query(struct mlp_rows **rows, struct mlp_store *store, const char *sql,
                    size_t sql_len, const struct mlp_value *parameters, size_t parameters_count,
                    struct mlp_error *error)
{
    struct mlp_rows *found = calloc(1, sizeof *found);
    if (found == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot run the query: out of memory");
    sqlite3_stmt *statement = NULL;
    int status = mlp_store_hold(store, false, error);
    if (status != 0) {
        mlp_rows_free(found);
        return status;
    }
    store->answering = true;
    status = prepare(store, &statement, sql, sql_len, parameters, parameters_count, error);
    if (status == 0)
        status = collect(found, store, statement, error);
    sqlite3_finalize(statement);
    store->answering = false;
    mlp_store_let_go(store);
    if (status != 0)
        mlp_rows_free(found);
    else
        *rows = found;
    return status;
}
