/* Who a peer is, by the kernel's word. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "napi.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5; Debian 12's headers are older */
#endif

/* PIDFD_GET_INFO of <linux/pidfd.h> (Linux 6.13), in its first form. */
struct process_info {
    uint64_t mask, cgroup;
    uint32_t others[12];
};
#define GET_INFO _IOWR(0xFF, 11, struct process_info)
#define INFO_CGROUP ((uint64_t)1 << 2)

/* What a number of JavaScript holds exactly. */
#define MAX_NUMBER ((uint64_t)1 << 53)

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

/* A pidfd of the process that connected; -1 when it is gone. Kernels before 6.5 have no SO_PEERPIDFD: there the number is
 * opened, and a reused one is told by what is read of it afterwards. */
static int open_peer(int fd, pid_t pid) {
    int pidfd = -1;
    socklen_t length = sizeof pidfd;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
        return pidfd;
    return errno == ENOPROTOOPT ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

/* The number of the cgroup of the process that a pidfd is of; 0 where the kernel does not tell, or it is gone. */
static uint64_t cgroup_number(int pidfd) {
    struct process_info process = {.mask = INFO_CGROUP};
    if (ioctl(pidfd, GET_INFO, &process) < 0 || (process.mask & INFO_CGROUP) == 0)
        return 0;
    return process.cgroup < MAX_NUMBER ? process.cgroup : 0;
}

/* The text of /proc/PID/cgroup; none where it is longer than any that systemd makes, or the process is gone. -1 with errno
 * when it cannot be told. */
static ssize_t read_cgroup(pid_t pid, char *text, size_t room) {
    char path[32];
    size_t used = 0;
    ssize_t got = 0;
    snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -1 : 0;
    while (used < room && (got = read(fd, text + used, room - used)) > 0)
        used += (size_t)got;
    int error = errno;
    close(fd);
    errno = error;
    if (got < 0)
        return error == ENOMEM ? -1 : 0;
    return used < room ? (ssize_t)used : 0;
}

/* A pidfd is readable from the end of its process on (pidfd_open(2)). */
static bool has_ended(int pidfd) {
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    int result;
    do
        result = poll(&ended, 1, 0);
    while (result < 0 && errno == EINTR);
    return result != 0;
}

/* identify(fd, facts): who connected, as [pid, uid, pidfd, number of the cgroup or 0] in a Float64Array, because every claim
 * asks for it; false when it is gone. The pidfd is the caller's. It is what the cgroup is asked of, so that it cannot be that
 * of another process. */
static napi_value identify(napi_env env, napi_callback_info info) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    napi_value args[2];
    napi_typedarray_type type;
    size_t length;
    void *data;
    int fd;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (napi_get_typedarray_info(env, args[1], &type, &length, &data, NULL, NULL) != napi_ok ||
        type != napi_float64_array || length < 4)
        return throw_type(env, "an array for four numbers was expected");
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return throw_errno(env, errno, "getsockopt");
    int pidfd = open_peer(fd, peer.pid);
    if (pidfd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? throw_errno(env, errno, "pidfd_open")
                                                                     : make_bool(env, false);
    double *facts = data;
    facts[0] = peer.pid;
    facts[1] = peer.uid;
    facts[2] = pidfd;
    facts[3] = (double)cgroup_number(pidfd);
    return make_bool(env, true);
}

/* cgroupText(pid, pidfd): that of /proc/PID/cgroup; undefined when the process is gone. The pidfd pins it: when it still
 * lives after its cgroup was read, that was its own, and not one of a process which got its number later. */
static napi_value cgroup_text(napi_env env, napi_callback_info info) {
    static char text[64 * 1024];
    napi_value args[2];
    int pid, pidfd;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &pid) || !get_int(env, args[1], &pidfd))
        return NULL;
    ssize_t length = read_cgroup(pid, text, sizeof text);
    if (length < 0)
        return throw_errno(env, errno, "open");
    return has_ended(pidfd) ? make_undefined(env) : make_text(env, text, (size_t)length);
}

void init_peers(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"peer", peer_credentials},
        {"identify", identify},
        {"cgroupText", cgroup_text},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
