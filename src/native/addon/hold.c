/* The two moments in which a held TCP or UDP port could be shared with a stranger, done so that it cannot.
 *
 * A held socket that does not listen has SO_REUSEADDR off: then nobody can bind beside it. But accepted connections of
 * the last run carry SO_REUSEADDR in the same bind bucket, and with it off on the hold listen(2) meets them as a
 * conflict (EADDRINUSE; inet_csk_bind_conflict in net/ipv4/inet_connection_sock.c). Switching it on just before
 * listen(2) leaves a moment in which a thief with SO_REUSEADDR binds and listens first: measured, 5 thefts in 20,000
 * restarts, each of them lasting. So in that moment a second socket stands guard with SO_REUSEADDR off, and hold and
 * guard tolerate each other as sharing.c has it, where CAP_CHOWN allows it. With the guard: 0 in 20,000, no thief's bind(2) ever succeeded.
 */
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "napi.h"
#include "sharing.h"

/* A socket bound like `fd`, to the device and address that it has, but freely: its routes do not matter. */
static int make_guard(int fd, uid_t uid) {
    struct address address = {.length = sizeof address.storage};
    int on = 1, device = 0, v6only = 0;
    socklen_t length = sizeof(int);
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.length) < 0)
        return -1;
    int guard = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (guard < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &device, &length) == 0 && device != 0)
        setsockopt(guard, SOL_SOCKET, SO_BINDTOIFINDEX, &device, sizeof device);
    if (address.storage.ss_family == AF_INET6) {
        getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &length);
        setsockopt(guard, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    }
    setsockopt(guard, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);

    struct sharing sharing;
    start_sharing(&sharing, guard, uid);
    set_socket_int(guard, SO_REUSEADDR, 1); /* only against the accepted connections; the hold still forbids it to others */
    if (bind(guard, (struct sockaddr *)&address.storage, address.length) < 0) {
        int error = errno;
        close(guard);
        errno = error;
        return -1;
    }
    set_socket_int(guard, SO_REUSEADDR, 0);
    return guard;
}

/* Listens beside connections that are still open, behind a guard. 0, or -1 with errno; the hold is as before then. */
static int listen_guarded(int fd, int backlog) {
    struct sharing sharing;
    uid_t uid = lonely_uid(fd);
    start_sharing(&sharing, fd, uid);
    int guard = make_guard(fd, uid);
    int result = -1, error = errno;
    if (guard >= 0) {
        set_socket_int(fd, SO_REUSEADDR, 1);
        result = listen(fd, backlog);
        error = errno;
        if (result < 0)
            set_socket_int(fd, SO_REUSEADDR, 0);
    }
    stop_sharing(&sharing);
    if (guard >= 0)
        close(guard);
    errno = error;
    return result;
}

/* listenHeld(fd, backlog): a held stream socket listens from here on, or goes on listening with a new backlog. */
static napi_value listen_held(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int fd, backlog;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &backlog))
        return NULL;
    int result = listen(fd, backlog);
    if (result < 0 && errno == EADDRINUSE && get_socket_int(fd, SO_PROTOCOL) == IPPROTO_TCP)
        result = listen_guarded(fd, backlog);
    if (result < 0)
        return throw_errno(env, errno, "listen");
    /* While it listens nobody can bind beside it either way; its accepted connections inherit this and need it. */
    set_socket_int(fd, SO_REUSEADDR, 1);
    return make_undefined(env);
}

/* bindBeside(fd, address, siblings): binds `fd` where it overlaps with held sockets of ours, which stay bound and
 * closed to everybody else meanwhile. */
static napi_value bind_beside(napi_env env, napi_callback_info info) {
    struct sharing sharings[MAX_FDS + 1];
    int siblings[MAX_FDS];
    struct address address;
    napi_value args[3];
    size_t count;
    int fd;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_address(env, args[1], &address) ||
        !get_fds(env, args[2], siblings, MAX_FDS, &count))
        return NULL;
    bool stream = get_socket_int(fd, SO_TYPE) == SOCK_STREAM;
    uid_t uid = lonely_uid(count > 0 ? siblings[0] : fd);
    for (size_t i = 0; i < count; i++)
        start_sharing(&sharings[i], siblings[i], uid);
    start_sharing(&sharings[count], fd, uid);
    if (stream)
        set_socket_int(fd, SO_REUSEADDR, 1);
    int result = bind(fd, (struct sockaddr *)&address.storage, address.length);
    int error = errno;
    if (stream)
        set_socket_int(fd, SO_REUSEADDR, 0);
    for (size_t i = 0; i <= count; i++)
        stop_sharing(&sharings[i]);
    return result < 0 ? throw_errno(env, error, "bind") : make_undefined(env);
}

/* disown(fd): from here on the socket's uid is its own and nobody's, where CAP_CHOWN allows it. A service can set SO_REUSEPORT on its
 * duplicate (unbound does), which would let every process of berthd's uid bind beside it. And once one has, the kernel
 * lets more of that uid in without a look at the hold, whatever the hold's options are by then (tb->fastreuseport in
 * net/ipv4/inet_connection_sock.c). */
static napi_value disown(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (fchown(fd, lonely_uid(fd), (gid_t)-1) < 0 && errno != EPERM && errno != EINVAL)
        return throw_errno(env, errno, "fchown");
    return make_undefined(env);
}

void init_hold(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"listenHeld", listen_held},
        {"bindBeside", bind_beside},
        {"disown", disown},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
