/* AF_UNIX sockets at a path that another one has: rename(2) puts the new file in the place of the old one, so that there is
 * no moment without either.
 *
 * The file has to be made elsewhere first, and still getsockname(2) has to say the path, which is the text that bind(2) was
 * given: Go removes that file when it closes the socket. So a thread with a root directory of its own (chroot(2) after
 * unshare(2) of CLONE_FS) binds to the very same text. Its root is a staging directory beside the path, since rename(2) stays
 * within a mount; it belongs to berthd, with mode 0700, so that nobody else can change what is in it. */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/un.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "napi.h"
#include "seccomp.h"

/* A path of 107 bytes has no more directories than that, and each `..` wants one to go up from. */
enum { MAX_DEPTH = 120, NAME_SIZE = 256 };

struct staged {
    int fd;         /* the socket */
    int root, from; /* the root and the working directory of the thread */
    int last;       /* where the file comes to be */
    mode_t mask;
    const char *name, *aside;
    struct sockaddr_un address;
    int error;
};

static int open_directory(int at, const char *name) {
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Removes what is in a directory of ours, and closes it. */
static void clear(int fd, int depth) {
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        int inner = depth < MAX_DEPTH ? open_directory(fd, name) : -1;
        if (inner >= 0) {
            clear(inner, depth + 1);
            unlinkat(fd, name, AT_REMOVEDIR);
        } else {
            unlinkat(fd, name, 0);
        }
    }
    closedir(directory);
}

static bool is_ours(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && status.st_uid == geteuid() && (status.st_mode & 0777) == 0700;
}

static void remove_staging(int directory, const char *name) {
    int fd = open_directory(directory, name);
    if (fd >= 0 && is_ours(fd))
        clear(fd, 0);
    else if (fd >= 0)
        close(fd);
    unlinkat(directory, name, AT_REMOVEDIR);
}

/* Makes the staging directory anew, also after a berthd that was killed in between. -1 with errno. */
static int make_staging(int directory, const char *name) {
    if (mkdirat(directory, name, 0700) < 0) {
        if (errno != EEXIST)
            return -1;
        remove_staging(directory, name);
        if (mkdirat(directory, name, 0700) < 0)
            return -1;
    }
    int fd = open_directory(directory, name);
    if (fd >= 0 && (fchmod(fd, 0700) < 0 || !is_ours(fd))) {
        close(fd);
        errno = EPERM;
        return -1;
    }
    return fd;
}

/* Goes into a directory, which is made, and lets go of the one before. */
static int enter(int fd, const char *name) {
    int next = -1;
    if (mkdirat(fd, name, 0700) == 0 || errno == EEXIST)
        next = open_directory(fd, name);
    int error = errno;
    close(fd);
    errno = error;
    return next;
}

/* Makes all directories that the text goes through, from `from` on, and returns the last one. */
static int make_way(int root, int from, const char *text) {
    char part[sizeof((struct sockaddr_un *)0)->sun_path];
    int at = fcntl(*text == '/' ? root : from, F_DUPFD_CLOEXEC, 0), depth = *text == '/' ? 0 : MAX_DEPTH;
    for (const char *end; at >= 0 && (end = strchr(text, '/')) != NULL; text = end + 1) {
        size_t length = (size_t)(end - text);
        if (length >= sizeof part) {
            close(at);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(part, text, length);
        part[length] = '\0';
        if (length == 0 || strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") != 0) {
            at = enter(at, part);
            depth++;
        } else if (depth > 0) { /* at the root it leads nowhere else */
            int above = open_directory(at, "..");
            close(at);
            at = above;
            depth--;
        }
    }
    return at;
}

/* Where a text that is not absolute begins: as deep as it goes up. */
static int make_start(int root, const char *text) {
    int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
    if (*text == '/')
        return at;
    for (const char *up = text; at >= 0 && (up = strstr(up, "..")) != NULL; up += 2)
        at = enter(at, "from");
    return at;
}

static void *bind_staged(void *data) {
    struct staged *staged = data;
    if (unshare(CLONE_FS) < 0) {
        staged->error = errno;
        return NULL;
    }
    umask(staged->mask);
    if (fchdir(staged->root) < 0 || chroot(".") < 0 || fchdir(staged->from) < 0) {
        /* Without CAP_SYS_CHROOT the socket is called by its name alone. */
        if (fchdir(staged->last) < 0) {
            staged->error = errno;
            return NULL;
        }
        memset(staged->address.sun_path, 0, sizeof staged->address.sun_path);
        memcpy(staged->address.sun_path, staged->name, strlen(staged->name));
    }
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
                                   strnlen(staged->address.sun_path, sizeof staged->address.sun_path));
    staged->error = bind(staged->fd, (struct sockaddr *)&staged->address, length) < 0 ? errno : 0;
    return NULL;
}

/* What is no socket stays at the path. The old file gets the name `aside`, unless that is empty or the file system cannot
 * exchange files: then it goes. No hard link: that would want CAP_FOWNER for a file of another user's. */
static int move_over(int from, int directory, const char *name, const char *aside) {
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(status.st_mode))
        return EADDRINUSE;
    if (*aside != '\0' && renameat2(from, name, directory, name, RENAME_EXCHANGE) == 0) {
        renameat(from, name, directory, aside);
        return 0;
    }
    return renameat(from, name, directory, name) < 0 ? errno : 0;
}

static int bind_and_move(struct staged *staged, int directory, uid_t uid, gid_t gid) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, bind_staged, staged);
    if (error != 0)
        return error;
    pthread_join(thread, NULL);
    if (staged->error != 0)
        return staged->error;
    if ((uid != (uid_t)-1 || gid != (gid_t)-1) &&
        fchownat(staged->last, staged->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return errno;
    return move_over(staged->last, directory, staged->name, staged->aside);
}

static int bind_over(struct staged *staged, int directory, uid_t uid, gid_t gid) {
    char staging[NAME_SIZE];
    struct stat status;
    int error;
    /* As of a file that is made in the directory itself (inode(7), S_ISGID). */
    if (gid == (gid_t)-1 && fstat(directory, &status) == 0 && (status.st_mode & S_ISGID) != 0)
        gid = status.st_gid;
    snprintf(staging, sizeof staging, ".%s.berth-new", staged->name);
    if ((staged->root = make_staging(directory, staging)) < 0)
        return errno;
    if ((staged->from = make_start(staged->root, staged->address.sun_path)) < 0) {
        error = errno;
    } else {
        if ((staged->last = make_way(staged->root, staged->from, staged->address.sun_path)) < 0) {
            error = errno;
        } else {
            error = bind_and_move(staged, directory, uid, gid);
            close(staged->last);
        }
        close(staged->from);
    }
    close(staged->root);
    remove_staging(directory, staging);
    return error;
}

static bool get_id(napi_env env, napi_value value, int64_t *id) {
    if (napi_get_value_int64(env, value, id) == napi_ok)
        return true;
    throw_type(env, "a number was expected");
    return false;
}

/* bindOver(fd, directory, path, mode, uid, gid, aside): binds a socket to the path, of which `directory` is the directory, in
 * the place of whatever socket has it, whose file is called `aside` from then on; '' is for one that may go. An owner of -1
 * is what a new file has. */
static napi_value bind_over_path(napi_env env, napi_callback_info info) {
    struct staged staged = {.address = {.sun_family = AF_UNIX}};
    napi_value args[7];
    char aside[NAME_SIZE];
    int directory, mode;
    int64_t uid, gid;
    if (!get_args(env, info, 7, args) || !get_int(env, args[0], &staged.fd) || !get_int(env, args[1], &directory) ||
        !get_text(env, args[2], staged.address.sun_path, sizeof staged.address.sun_path) ||
        !get_int(env, args[3], &mode) || !get_id(env, args[4], &uid) || !get_id(env, args[5], &gid) ||
        !get_text(env, args[6], aside, sizeof aside))
        return NULL;
    char name[sizeof staged.address.sun_path];
    const char *slash = strrchr(staged.address.sun_path, '/');
    snprintf(name, sizeof name, "%s", slash == NULL ? staged.address.sun_path : slash + 1);
    staged.name = name;
    staged.aside = aside;
    staged.mask = 0777 & ~(mode_t)mode;
    int error = bind_over(&staged, directory, (uid_t)uid, (gid_t)gid);
    return error != 0 ? throw_errno(env, error, "bind") : make_undefined(env);
}

/* noteBegun(slot): what is done for a call of a program outlives berthd from here on, and there is nothing to undo of it. */
static napi_value begin_for_program(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int slot;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &slot))
        return NULL;
    note_begun(slot, 1, (uid_t)-1);
    return make_undefined(env);
}

void init_paths(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"bindOver", bind_over_path}, {"noteBegun", begin_for_program}};
    export_functions(env, exports, functions, COUNT(functions));
}
