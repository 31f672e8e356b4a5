/* Who a peer is, by the kernel's word, and processes by descriptor instead of by number. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "napi.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5; Debian 12's headers are older */
#endif

static int open_pidfd(pid_t pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself: pidfd_open(2) */
}

/* peer(fd): {pid, uid, gid} of whoever called connect(2), as it was then (unix(7), SO_PEERCRED). */
static napi_value peer_credentials(napi_env env, napi_callback_info info) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    napi_value args[1], result;
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
        return throw_errno(env, errno, "getsockopt");
    if (napi_create_object(env, &result) != napi_ok)
        return NULL;
    set(env, result, "pid", make_int(env, credentials.pid));
    set(env, result, "uid", make_int(env, credentials.uid));
    set(env, result, "gid", make_int(env, credentials.gid));
    return result;
}

/* peerPidfd(fd, pid): a pidfd, the caller's, of the process that connected; undefined when it is gone. Kernels before
 * 6.5 have no SO_PEERPIDFD: there the number is opened, and a reused one is told by what is read of it afterwards. */
static napi_value peer_pidfd(napi_env env, napi_callback_info info) {
    int fd, pid, pidfd = -1;
    socklen_t length = sizeof pidfd;
    napi_value args[2];
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &pid))
        return NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
        return make_int(env, pidfd);
    if (errno == ENOPROTOOPT && (pidfd = open_pidfd(pid)) >= 0)
        return make_int(env, pidfd);
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
        return throw_errno(env, errno, "pidfd_open");
    return make_undefined(env);
}

/* pidfdOpen(pid): the caller's; undefined when there is no such process. */
static napi_value pidfd_of(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int pid;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &pid))
        return NULL;
    int pidfd = open_pidfd(pid);
    if (pidfd >= 0)
        return make_int(env, pidfd);
    return errno == ESRCH || errno == EINVAL ? make_undefined(env) : throw_errno(env, errno, "pidfd_open");
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

void init_processes(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"peer", peer_credentials}, {"peerPidfd", peer_pidfd}, {"pidfdOpen", pidfd_of},
        {"userId", user_id},        {"groupId", group_id},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
