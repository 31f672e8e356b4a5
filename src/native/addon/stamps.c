/* The comparison of stamps, which berthd and berth-generator share. Of thousands of files it takes as long as all else that
 * a start of berthd does for them, so a thread of its own can begin with it. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../generators/generator.h"
#include "napi.h"

static struct {
    int fd; /* -1: nothing has been begun */
    pthread_t thread;
} begun = {.fd = -1};

static bool file_is_current(int fd) {
    static const char end[] = "end\n";
    struct stat status;
    if (fstat(fd, &status) < 0)
        return false;
    size_t length = (size_t)status.st_size;
    char *lines = malloc(length + sizeof end);
    if (lines == NULL)
        return false;
    bool hold = pread(fd, lines, length, 0) == (ssize_t)length;
    memcpy(lines + length, end, sizeof end);
    hold = hold && is_current(lines);
    free(lines);
    return hold;
}

static void *check(void *fd) {
    return file_is_current(*(const int *)fd) ? fd : NULL;
}

/* keepStamps(text): a file in memory, the caller's. */
static napi_value keep_stamps(napi_env env, napi_callback_info info) {
    napi_value args[1];
    size_t length;
    void *bytes;
    if (!get_args(env, info, 1, args) || !get_bytes(env, args[0], &bytes, &length))
        return NULL;
    int fd = memfd_create("berth-stamps", MFD_CLOEXEC);
    if (fd < 0)
        return throw_errno(env, errno, "memfd_create");
    ssize_t written = write(fd, bytes, length);
    if (written == (ssize_t)length)
        return make_int(env, fd);
    int error = written < 0 ? errno : ENOSPC;
    close(fd);
    return throw_errno(env, error, "write");
}

/* beginStamps(fd): begins with what stampsHold(fd) will ask, which has to be called before the file is closed. */
static napi_value begin_stamps(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (begun.fd < 0) {
        begun.fd = fd;
        if (pthread_create(&begun.thread, NULL, check, &begun.fd) != 0)
            begun.fd = -1;
    }
    return make_undefined(env);
}

/* stampsHold(fd): whether all that the lines of src/generator/stamps.ts in that file tell of is still so. */
static napi_value stamps_hold(napi_env env, napi_callback_info info) {
    napi_value args[1];
    void *result;
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (begun.fd != fd)
        return make_bool(env, file_is_current(fd));
    pthread_join(begun.thread, &result);
    begun.fd = -1;
    return make_bool(env, result != NULL);
}

void init_stamps(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"keepStamps", keep_stamps},
        {"beginStamps", begin_stamps},
        {"stampsHold", stamps_hold},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
