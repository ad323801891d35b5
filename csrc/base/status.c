#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
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

/* A message is cut by vsnprintf at a byte; an incomplete UTF-8 character at the end is dropped. */
static void trim_partial_character(char *message)
{
    size_t len = strlen(message);
    size_t start = len;
    while (start > 0 && ((unsigned char)message[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)message[start - 1];
    size_t needed = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (len - (start - 1) < needed)
        message[start - 1] = '\0';
}

int mlp_fail(struct mlp_error *error, int status, const char *format, ...)
{
    if (error == NULL)
        return status;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    trim_partial_character(error->message);
    error->status = status;
    error->system_errno = 0;
    return status;
}

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
        return "; free space and try again";
    case EROFS:
        return "; make it writable or choose another place";
    case EACCES:
    case EPERM:
        return "; change its permissions or choose another place";
    case ENOENT:
        return "; check the path";
    default:
        return "";
    }
}

int mlp_fail_errno(struct mlp_error *error, int system_errno, const char *format, ...)
{
    int status = status_of_errno(system_errno);
    if (error == NULL)
        return status;
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    if (written >= 0 && (size_t)written < sizeof error->message) {
        char text[128];
        /* The XSI strerror_r: _POSIX_C_SOURCE is set for every core file. */
        if (strerror_r(system_errno, text, sizeof text) != 0)
            (void)snprintf(text, sizeof text, "error %d", system_errno);
        (void)snprintf(error->message + written, sizeof error->message - (size_t)written, ": %s%s",
                       text, remedy_for(system_errno));
    }
    trim_partial_character(error->message);
    error->status = status;
    error->system_errno = system_errno;
    return status;
}
