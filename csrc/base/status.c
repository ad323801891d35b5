#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct status_row {
    int status;
    const char *python_class;
    bool retryable;
    const char *text;
};

static const struct status_row status_rows[] = {
#define STATUS_ROW(name, value, python_class, retryable, text)                                     \
    {(value), (python_class), (retryable), (text)},
    MLP_STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
};

static const struct status_row *find_row(int status)
{
    for (size_t i = 0; i < sizeof status_rows / sizeof status_rows[0]; i++) {
        if (status_rows[i].status == status)
            return &status_rows[i];
    }
    return NULL;
}

const char *mlp_status_text(int status)
{
    const struct status_row *row = find_row(status);
    return row != NULL ? row->text : status == MLP_OK ? "ok" : "unknown status";
}

const char *mlp_status_python_class(int status)
{
    const struct status_row *row = find_row(status);
    return row != NULL ? row->python_class : "Error";
}

bool mlp_status_retryable(int status)
{
    const struct status_row *row = find_row(status);
    return row != NULL && row->retryable;
}

/* ---- writing the message ---- */

#define SEPARATOR "; "
#define ELLIPSIS  "\xE2\x80\xA6" /* U+2026 */
#define NUL_LEN   1

/* Formats are literals of ours, shorter than this. */
#define FORMAT_MAX 512
#define REASON_MAX 128

/* What is formatted before it is shortened: in room, or, where that does not hold it, in memory of its
 * own (allocated); where there is none, in room without its end. */
struct text {
    char room[MLP_ERROR_MAX];
    char *allocated;
    const char *start;
    size_t len;
    size_t what_len; /* without the remedy and what stands before it */
};

/* Only the format is looked at: a "; " in a name that it takes separates nothing. */
static size_t length_of_what(size_t len, const char *format, va_list arguments)
{
    char what[FORMAT_MAX];
    const char *separator = strstr(format, SEPARATOR);
    if (separator == NULL || separator - format >= FORMAT_MAX)
        return len;
    memcpy(what, format, (size_t)(separator - format));
    what[separator - format] = '\0';
    int what_len = vsnprintf(NULL, 0, what, arguments);
    bool is_whole = what_len >= 0 && (size_t)what_len + strlen(SEPARATOR) <= len;
    return is_whole ? (size_t)what_len : len;
}

/* Give the text to free. */
static void make_text(struct text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int needed = vsnprintf(text->room, sizeof text->room, format, again);
    va_end(again);
    size_t len = needed > 0 ? (size_t)needed : 0;
    text->allocated = len >= sizeof text->room ? malloc(len + NUL_LEN) : NULL;
    text->start = text->room;
    text->len = len < sizeof text->room ? len : sizeof text->room - NUL_LEN;
    if (text->allocated != NULL) {
        va_copy(again, arguments);
        (void)vsnprintf(text->allocated, len + NUL_LEN, format, again);
        va_end(again);
        text->start = text->allocated;
        text->len = len;
    }
    text->what_len = length_of_what(text->len, format, arguments);
}

/* Whether the byte goes on with a character of UTF-8. (Where it does not, because the name is none, no
 * more is left out than a character has.) */
static bool is_inside(const char *at)
{
    return ((unsigned char)*at & 0xC0) == 0x80;
}

/* Appends a text; of one that is longer than room its two ends, with an ellipsis between. */
static void append_ends(struct mlp_error *error, const char *text, size_t text_len, size_t room)
{
    size_t used = strlen(error->message);
    size_t kept = (room - strlen(ELLIPSIS)) / 2;
    size_t head = kept, tail = kept;
    if (text_len <= room) {
        memcpy(error->message + used, text, text_len);
        error->message[used + text_len] = '\0';
        return;
    }
    for (int i = 0; i < 3 && is_inside(text + head); i++)
        head--;
    for (int i = 0; i < 3 && is_inside(text + text_len - tail); i++)
        tail--;
    memcpy(error->message + used, text, head);
    memcpy(error->message + used + head, ELLIPSIS, strlen(ELLIPSIS));
    used += head + strlen(ELLIPSIS);
    memcpy(error->message + used, text + text_len - tail, tail);
    error->message[used + tail] = '\0';
}

static void append_remedy(struct mlp_error *error, const char *remedy, size_t remedy_len)
{
    if (remedy_len == 0)
        return;
    append_ends(error, SEPARATOR, strlen(SEPARATOR), strlen(SEPARATOR));
    error->remedy = strlen(error->message);
    append_ends(error, remedy, remedy_len, MLP_ERROR_REMEDY_MAX);
}

int mlp_fail(struct mlp_error *error, int status, const char *format, ...)
{
    if (error == NULL)
        return status;
    struct text text;
    va_list arguments;
    va_start(arguments, format);
    make_text(&text, format, arguments);
    va_end(arguments);
    *error = (struct mlp_error){.status = status};
    append_ends(error, text.start, text.what_len, MLP_ERROR_WHAT_MAX);
    if (text.what_len < text.len)
        append_remedy(error, text.start + text.what_len + strlen(SEPARATOR),
                      text.len - text.what_len - strlen(SEPARATOR));
    free(text.allocated);
    return status;
}

int mlp_fail_in(struct mlp_error *error, int status, const char *format, ...)
{
    if (error == NULL)
        return status;
    const struct mlp_error inner = *error;
    struct text place;
    va_list arguments;
    va_start(arguments, format);
    make_text(&place, format, arguments);
    va_end(arguments);
    (void)mlp_fail(error, status, "%.*s: %.*s; %s", (int)place.len, place.start,
                   (int)mlp_error_what_len(&inner), inner.message, mlp_error_remedy(&inner));
    error->system_errno = inner.system_errno;
    free(place.allocated);
    return status;
}

size_t mlp_error_what_len(const struct mlp_error *error)
{
    return error->remedy != 0 ? error->remedy - strlen(SEPARATOR) : strlen(error->message);
}

const char *mlp_error_remedy(const struct mlp_error *error)
{
    return error->remedy != 0 ? error->message + error->remedy : "";
}

/* ---- failed system calls ---- */

static int status_of_errno(int system_errno)
{
    switch (system_errno) {
    case ENOSPC:
    case EDQUOT:
        return MLP_E_FULL;
    case EROFS:
    case EACCES:
    case EPERM:
        return MLP_E_READONLY;
    case ENOENT:
        return MLP_E_NOT_FOUND;
    case ENOMEM:
        return MLP_E_MEMORY;
    default:
        return MLP_E_IO;
    }
}

static const char *remedy_for(int system_errno)
{
    switch (system_errno) {
    case ENOSPC:
    case EDQUOT:
        return "free space and try again";
    case EROFS:
        return "make it writable or choose another place";
    case EACCES:
    case EPERM:
        return "change its permissions or choose another place";
    case ENOENT:
        return "check the path";
    default:
        return "";
    }
}

/* ": " and the system's text. Returns: its length. */
static size_t reason_of(char reason[static REASON_MAX], int system_errno)
{
    reason[0] = ':';
    reason[1] = ' ';
    /* The XSI strerror_r: _POSIX_C_SOURCE is set for every core file. */
    if (strerror_r(system_errno, reason + 2, REASON_MAX - 2) != 0)
        (void)snprintf(reason + 2, REASON_MAX - 2, "error %d", system_errno);
    return strlen(reason);
}

int mlp_fail_errno(struct mlp_error *error, int system_errno, const char *format, ...)
{
    int status = status_of_errno(system_errno);
    if (error == NULL)
        return status;
    struct text text;
    char reason[REASON_MAX];
    va_list arguments;
    va_start(arguments, format);
    make_text(&text, format, arguments);
    va_end(arguments);
    size_t reason_len = reason_of(reason, system_errno);
    *error = (struct mlp_error){.status = status, .system_errno = system_errno};
    append_ends(error, text.start, text.len, MLP_ERROR_WHAT_MAX - reason_len);
    append_ends(error, reason, reason_len, reason_len);
    append_remedy(error, remedy_for(system_errno), strlen(remedy_for(system_errno)));
    free(text.allocated);
    return status;
}
