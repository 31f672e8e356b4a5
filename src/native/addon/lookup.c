/* What directory another process means by a text.
 *
 * It is looked up as the process itself would, by a thread that takes its root and working directory over. The text may lead
 * into a file system that the process serves itself and that does not answer: so it is waited for so long only, and the thread
 * is left behind. (openat2(2) with RESOLVE_CACHED would not wait, but RestrictSUIDSGID= of berth.service forbids it.) */
#include <errno.h>
#include <fcntl.h>
#include <linux/un.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "napi.h"

enum { PATIENCE_MS = 1000 };

/* Freed by whoever is done with it last: it may be the thread that nobody waits for any more. */
struct lookup {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done, left, same;
    int directory, pid;
    char text[UNIX_PATH_MAX + 1];
};

static void free_lookup(struct lookup *lookup) {
    close(lookup->directory);
    pthread_cond_destroy(&lookup->changed);
    pthread_mutex_destroy(&lookup->mutex);
    free(lookup);
}

static int go_to(int pid, const char *what) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Takes over what the paths of a process begin at. Without CAP_SYS_CHROOT the root stays berthd's, which is that of most. */
static bool become(int pid) {
    int root = go_to(pid, "root"), cwd = go_to(pid, "cwd");
    bool done = root >= 0 && cwd >= 0 && unshare(CLONE_FS) == 0 && fchdir(root) == 0 &&
                (chroot(".") == 0 || errno == EPERM) && fchdir(cwd) == 0;
    if (root >= 0)
        close(root);
    if (cwd >= 0)
        close(cwd);
    return done;
}

static bool is_same(int fd, int other) {
    struct statx here, there;
    int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    return statx(fd, "", flags, STATX_INO, &here) == 0 && statx(other, "", flags, STATX_INO, &there) == 0 &&
           here.stx_ino == there.stx_ino && here.stx_dev_major == there.stx_dev_major &&
           here.stx_dev_minor == there.stx_dev_minor;
}

static bool look_up(const struct lookup *lookup) {
    struct statvfs file_system;
    if (!become(lookup->pid))
        return false;
    int fd = open(lookup->text, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool same = is_same(fd, lookup->directory) && fstatvfs(fd, &file_system) == 0 && (file_system.f_flag & ST_RDONLY) == 0;
    close(fd);
    return same;
}

static void *run(void *data) {
    struct lookup *lookup = data;
    bool same = look_up(lookup);
    pthread_mutex_lock(&lookup->mutex);
    lookup->same = same;
    lookup->done = true;
    bool left = lookup->left;
    pthread_cond_signal(&lookup->changed);
    pthread_mutex_unlock(&lookup->mutex);
    if (left)
        free_lookup(lookup);
    return NULL;
}

static struct lookup *make_lookup(int pid, const char *text, int directory) {
    struct lookup *lookup = calloc(1, sizeof *lookup);
    pthread_condattr_t attributes;
    if (lookup == NULL)
        return NULL;
    pthread_mutex_init(&lookup->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* the clock of the day may be set back meanwhile */
    pthread_cond_init(&lookup->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    lookup->pid = pid;
    snprintf(lookup->text, sizeof lookup->text, "%s", text);
    if ((lookup->directory = fcntl(directory, F_DUPFD_CLOEXEC, 0)) >= 0)
        return lookup;
    free_lookup(lookup);
    return NULL;
}

/* True when the thread has come to an end. */
static bool wait_for(struct lookup *lookup) {
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&lookup->mutex);
    while (!lookup->done && pthread_cond_timedwait(&lookup->changed, &lookup->mutex, &limit) == 0) {}
    bool done = lookup->done;
    lookup->left = !done;
    pthread_mutex_unlock(&lookup->mutex);
    return done;
}

/* means(pid, text, directory): whether a process that says `text` means this directory, and may write there as far as its
 * mounts go; undefined where that could not be told in time. */
static napi_value means_directory(napi_env env, napi_callback_info info) {
    char text[UNIX_PATH_MAX + 1];
    napi_value args[3];
    pthread_t thread;
    int pid, directory;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &pid) || !get_text(env, args[1], text, sizeof text) ||
        !get_int(env, args[2], &directory))
        return NULL;
    struct lookup *lookup = make_lookup(pid, text, directory);
    if (lookup == NULL)
        return throw_errno(env, ENOMEM, "fcntl");
    int error = pthread_create(&thread, NULL, run, lookup);
    if (error != 0) {
        free_lookup(lookup);
        return throw_errno(env, error, "pthread_create");
    }
    pthread_detach(thread);
    if (!wait_for(lookup))
        return make_undefined(env);
    bool same = lookup->same;
    free_lookup(lookup);
    return make_bool(env, same);
}

void init_lookup(napi_env env, napi_value exports) {
    static const struct export functions[] = {{"means", means_directory}};
    export_functions(env, exports, functions, COUNT(functions));
}
