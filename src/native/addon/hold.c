/* The two moments in which a held TCP or UDP port could be shared with a stranger, done so that it cannot.
 *
 * A held socket that does not listen has SO_REUSEADDR off: then nobody can bind beside it. But accepted connections of
 * the last run carry SO_REUSEADDR in the same bind bucket, and with it off on the hold listen(2) meets them as a
 * conflict (EADDRINUSE; inet_csk_bind_conflict in net/ipv4/inet_connection_sock.c). Switching it on just before
 * listen(2) leaves a moment in which a thief with SO_REUSEADDR binds and listens first: measured, 5 thefts in 20,000
 * restarts, each of them lasting. So in that moment a second socket stands guard with SO_REUSEADDR off, and hold and
 * guard tolerate each other through SO_REUSEPORT, which the kernel grants only between sockets of one uid. That uid is
 * changed to one that nobody runs as (fchown(2) on a socket sets sk_uid: sockfs_setattr in net/socket.c) where
 * CAP_CHOWN allows it. With the guard: 0 in 20,000, no thief's bind(2) ever succeeded.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "napi.h"

/* Outside every range that systemd, Debian or subuid(5) hand out, and not the invalid (uid_t)-1. */
#define NOBODYS_UID ((uid_t)0xfffffff0)

/* A socket that for a moment shares its address with others of NOBODYS_UID, and how it was before. */
struct sharing {
    int fd;
    int reuse_port;
    uid_t owner;
    bool chowned;
};

static int set_int(int fd, int name, int value) {
    return setsockopt(fd, SOL_SOCKET, name, &value, sizeof value);
}

static int get_socket_int(int fd, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &length) < 0 ? 0 : value;
}

/* Where fchown(2) is not allowed the socket keeps its uid: then processes of berthd's own uid can join with SO_REUSEPORT,
 * and not for the moment only, because the kernel remembers the uid with the port (tb->fastreuseport, fastuid). */
static void start_sharing(struct sharing *sharing, int fd) {
    struct stat status;
    *sharing = (struct sharing){.fd = fd, .reuse_port = get_socket_int(fd, SO_REUSEPORT)};
    if (fstat(fd, &status) == 0 && fchown(fd, NOBODYS_UID, (gid_t)-1) == 0) {
        sharing->owner = status.st_uid;
        sharing->chowned = true;
    }
    set_int(fd, SO_REUSEPORT, 1);
}

static void stop_sharing(const struct sharing *sharing) {
    set_int(sharing->fd, SO_REUSEPORT, sharing->reuse_port);
    if (sharing->chowned && fchown(sharing->fd, sharing->owner, (gid_t)-1) < 0) {
        /* It was allowed a moment ago. The uid stays NOBODYS_UID, which shares with nobody: the safe side. */
    }
}

/* A socket bound like `fd`, to the device and address that it has, but freely: its routes do not matter. */
static int make_guard(int fd) {
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
    start_sharing(&sharing, guard);
    set_int(guard, SO_REUSEADDR, 1); /* only against the accepted connections; the hold still forbids it to others */
    if (bind(guard, (struct sockaddr *)&address.storage, address.length) < 0) {
        int error = errno;
        close(guard);
        errno = error;
        return -1;
    }
    set_int(guard, SO_REUSEADDR, 0);
    return guard;
}

/* Listens beside connections that are still open, behind a guard. 0, or -1 with errno; the hold is as before then. */
static int listen_guarded(int fd, int backlog) {
    struct sharing sharing;
    start_sharing(&sharing, fd);
    int guard = make_guard(fd);
    int result = -1, error = errno;
    if (guard >= 0) {
        set_int(fd, SO_REUSEADDR, 1);
        result = listen(fd, backlog);
        error = errno;
        if (result < 0)
            set_int(fd, SO_REUSEADDR, 0);
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
    set_int(fd, SO_REUSEADDR, 1);
    return make_undefined(env);
}

/* Switches the sharing of `fd` and its siblings on for one bind(2). 0 or an errno. */
static int bind_sharing(int fd, const struct address *address, const int *siblings, struct sharing *sharings,
                        size_t count) {
    bool stream = get_socket_int(fd, SO_TYPE) == SOCK_STREAM;
    for (size_t i = 0; i < count; i++)
        start_sharing(&sharings[i], siblings[i]);
    start_sharing(&sharings[count], fd);
    if (stream)
        set_int(fd, SO_REUSEADDR, 1);
    int error = bind(fd, (const struct sockaddr *)&address->storage, address->length) < 0 ? errno : 0;
    if (stream)
        set_int(fd, SO_REUSEADDR, 0);
    for (size_t i = 0; i <= count; i++)
        stop_sharing(&sharings[i]);
    return error;
}

/* bindBeside(fd, address, siblings): binds `fd` where it overlaps with held sockets of ours, however many, which stay
 * bound and closed to everybody else meanwhile. */
static napi_value bind_beside(napi_env env, napi_callback_info info) {
    struct address address;
    napi_value args[3];
    uint32_t length;
    size_t count;
    int fd, error = ENOMEM;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_address(env, args[1], &address))
        return NULL;
    if (napi_get_array_length(env, args[2], &length) != napi_ok)
        return throw_type(env, "an array of descriptors was expected");
    int *siblings = calloc((size_t)length + 1, sizeof *siblings);
    struct sharing *sharings = calloc((size_t)length + 1, sizeof *sharings);
    bool given = siblings == NULL || get_fds(env, args[2], siblings, length, &count);
    if (given && siblings != NULL && sharings != NULL)
        error = bind_sharing(fd, &address, siblings, sharings, count);
    free(sharings);
    free(siblings);
    if (!given)
        return NULL;
    return error != 0 ? throw_errno(env, error, "bind") : make_undefined(env);
}

/* disown(fd): from here on the socket's uid is nobody's, where CAP_CHOWN allows it. A service can set SO_REUSEPORT on its
 * duplicate (unbound does), which would let every process of berthd's uid bind beside it. And once one has, the kernel
 * lets more of that uid in without a look at the hold, whatever the hold's options are by then (tb->fastreuseport in
 * net/ipv4/inet_connection_sock.c). */
static napi_value disown(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (fchown(fd, NOBODYS_UID, (gid_t)-1) < 0 && errno != EPERM && errno != EINVAL)
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
