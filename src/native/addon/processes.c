/* Processes, by descriptor instead of by number, and users by name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "napi.h"

/* pidfdOpen(pid): the caller's; undefined when there is no such process. */
static napi_value pidfd_of(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int pid;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &pid))
        return NULL;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself: pidfd_open(2) */
    if (pidfd >= 0)
        return make_int(env, pidfd);
    return errno == ESRCH || errno == EINVAL ? make_undefined(env) : throw_errno(env, errno, "pidfd_open");
}

struct search {
    napi_env env;
    napi_value found;
    uint32_t count;
    int64_t *inodes; /* ascending */
    size_t length;
    int left; /* descriptors to be looked at yet; less than 0 without an end */
};

static int compare(const void *a, const void *b) {
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
    return (one > other) - (one < other);
}

/* Looks at what one process has open, which the kernel may not let us: then it has nothing. */
static void search_process(struct search *search, int proc, const char *pid) {
    char path[32], target[64];
    snprintf(path, sizeof path, "%.16s/fd", pid);
    int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; search->left != 0 && (entry = readdir(directory)) != NULL;) {
        long long inode;
        if (search->left > 0)
            search->left--;
        ssize_t length = readlinkat(fd, entry->d_name, target, sizeof target - 1);
        if (length <= 0)
            continue;
        target[length] = '\0';
        if (sscanf(target, "socket:[%lld]", &inode) != 1)
            continue;
        int64_t key = inode;
        if (bsearch(&key, search->inodes, search->length, sizeof key, compare) == NULL)
            continue;
        napi_set_element(search->env, search->found, search->count++, make_int(search->env, atoi(pid)));
        napi_set_element(search->env, search->found, search->count++, make_int(search->env, inode));
    }
    closedir(directory);
}

static bool get_inodes(napi_env env, napi_value list, struct search *search) {
    uint32_t length;
    if (napi_get_array_length(env, list, &length) != napi_ok ||
        (search->inodes = calloc((size_t)length + 1, sizeof(int64_t))) == NULL) {
        throw_type(env, "an array of inodes was expected");
        return false;
    }
    for (uint32_t i = 0; i < length; i++) {
        napi_value element;
        if (napi_get_element(env, list, i, &element) != napi_ok ||
            napi_get_value_int64(env, element, &search->inodes[i]) != napi_ok) {
            throw_type(env, "an inode was expected");
            return false;
        }
    }
    search->length = length;
    qsort(search->inodes, length, sizeof(int64_t), compare);
    return true;
}

/* socketHolders(inodes, except, most): [pid, inode, pid, inode, ...], a pair for each descriptor of one of these sockets that a
 * process which we may look at (ptrace(2)) has, without those of the process `except`, of the first `most` (0: all). Half of what it takes by way of node:fs, and no claim is served meanwhile. */
static napi_value socket_holders(napi_env env, napi_callback_info info) {
    struct search search = {.env = env};
    napi_value args[3], result = NULL;
    DIR *proc = NULL;
    int except, most;
    if (get_args(env, info, 3, args) && get_int(env, args[1], &except) && get_int(env, args[2], &most) && get_inodes(env, args[0], &search) &&
        napi_create_array(env, &search.found) == napi_ok) {
        search.left = most > 0 ? most : -1;
        if ((proc = opendir("/proc")) == NULL) {
            result = throw_errno(env, errno, "opendir");
        } else {
            for (struct dirent *entry; (entry = readdir(proc)) != NULL;)
                if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && atoi(entry->d_name) != except)
                    search_process(&search, dirfd(proc), entry->d_name);
            closedir(proc);
            result = search.found;
        }
    }
    free(search.inodes);
    return result;
}

/* userId(name), groupId(name): numbers are not names here; undefined when there is no such name (getpwnam(3)). */
static napi_value user_id(napi_env env, napi_callback_info info) {
    napi_value args[1];
    char name[64];
    if (!get_args(env, info, 1, args) || !get_text(env, args[0], name, sizeof name))
        return NULL;
    const struct passwd *entry = getpwnam(name);
    return entry == NULL ? make_undefined(env) : make_int(env, entry->pw_uid);
}

static napi_value group_id(napi_env env, napi_callback_info info) {
    napi_value args[1];
    char name[64];
    if (!get_args(env, info, 1, args) || !get_text(env, args[0], name, sizeof name))
        return NULL;
    const struct group *entry = getgrnam(name);
    return entry == NULL ? make_undefined(env) : make_int(env, entry->gr_gid);
}

/* userName(uid): undefined when nobody is called by that number (getpwuid(3)). */
static napi_value user_name(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int64_t uid;
    if (!get_args(env, info, 1, args))
        return NULL;
    if (napi_get_value_int64(env, args[0], &uid) != napi_ok)
        return throw_type(env, "a user's number was expected");
    const struct passwd *entry = getpwuid((uid_t)uid);
    return entry == NULL ? make_undefined(env) : make_text(env, entry->pw_name, strlen(entry->pw_name));
}

void init_processes(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"pidfdOpen", pidfd_of},
        {"userId", user_id},        {"groupId", group_id},      {"socketHolders", socket_holders},
        {"userName", user_name},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
