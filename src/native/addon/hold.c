/* The two moments in which a held TCP or UDP port could be shared with a stranger, done so that it cannot.
 *
 * A held socket that does not listen has SO_REUSEADDR off: then nobody can bind beside it. But accepted connections of
 * the last run carry SO_REUSEADDR in the same bind bucket, and with it off on the hold listen(2) meets them as a
 * conflict (EADDRINUSE; inet_csk_bind_conflict in net/ipv4/inet_connection_sock.c). Switching it on just before
 * listen(2) leaves a moment in which a thief with SO_REUSEADDR binds and listens first: measured, 5 thefts in 20,000
 * restarts, each of them lasting. So in that moment a second socket stands guard with SO_REUSEADDR off, and hold and
 * guard tolerate each other as sharing.c has it, where CAP_CHOWN allows it. With the guard: 0 in 20,000, no thief's
 * bind(2) ever succeeded. From the first handoff on a TCP socket has a lasting guard, which serves here, too.
 *
 * On the way back a hold that listens has SO_REUSEADDR switched off, and is then shut down. A thief that an interrupt stopped
 * between its looks at the option and at the state could take the one from before and the other from after: measured under
 * a storm of timer interrupts, 1 theft in 2,000,000 restarts. So outwaitBinds() comes between the two.
 */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "napi.h"
#include "sharing.h"

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78 /* <linux/in6.h>, which does not go with <netinet/in.h> */
#endif

/* A socket to be bound like `fd`, to the device and families that it has, but freely: its routes do not matter. */
static int open_guard(int fd, int family, int type, int protocol) {
    int on = 1, device = 0, v6only = 0;
    socklen_t length = sizeof(int);
    int guard = socket(family, type | SOCK_CLOEXEC, protocol);
    if (guard < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &device, &length) == 0 && device != 0)
        setsockopt(guard, SOL_SOCKET, SO_BINDTOIFINDEX, &device, sizeof device);
    if (family == AF_INET6) {
        getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &length);
        setsockopt(guard, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
        setsockopt(guard, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
    }
    setsockopt(guard, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
    return guard;
}

static int close_failed(int guard) {
    int error = errno;
    close(guard);
    errno = error;
    return -1;
}

/* A guard of a held TCP socket, bound beside it and closed to everybody. It never listens, so nothing comes to it. */
static int make_guard(int fd, uid_t uid) {
    struct address address = {.length = sizeof address.storage};
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.length) < 0)
        return -1;
    int guard = open_guard(fd, address.storage.ss_family, SOCK_STREAM, IPPROTO_TCP);
    if (guard < 0)
        return -1;
    struct sharing sharing;
    start_sharing(&sharing, guard, uid);
    set_socket_int(guard, SO_REUSEADDR, 1); /* only against the accepted connections; the hold still forbids it to others */
    if (bind(guard, (struct sockaddr *)&address.storage, address.length) < 0)
        return close_failed(guard);
    set_socket_int(guard, SO_REUSEADDR, 0);
    return guard;
}

/* Listens beside connections that are still open, behind its lasting guard, or one for the moment (-1). 0, or -1 with
 * errno; the hold is as before then. */
static int listen_guarded(int fd, int backlog, int lasting) {
    struct sharing sharing, company;
    uid_t uid = lonely_uid(fd);
    start_sharing(&sharing, fd, uid);
    if (lasting >= 0)
        start_sharing(&company, lasting, uid);
    int guard = lasting >= 0 ? lasting : make_guard(fd, uid);
    int result = -1, error = errno;
    if (guard >= 0) {
        set_socket_int(fd, SO_REUSEADDR, 1);
        result = listen(fd, backlog);
        error = errno;
        if (result < 0)
            set_socket_int(fd, SO_REUSEADDR, 0);
    }
    if (lasting >= 0)
        stop_sharing(&company);
    stop_sharing(&sharing);
    if (lasting < 0 && guard >= 0)
        close(guard);
    errno = error;
    return result;
}

/* listenHeld(fd, backlog, guard): a held stream socket listens from here on, or goes on listening with a new backlog.
 * `guard` is its lasting one, or -1. */
static napi_value listen_held(napi_env env, napi_callback_info info) {
    napi_value args[3];
    int fd, backlog, guard;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &backlog) ||
        !get_int(env, args[2], &guard))
        return NULL;
    /* The lasting guard is in the way of a plain listen(2). */
    bool guarded = guard >= 0 && !get_socket_int(fd, SO_ACCEPTCONN);
    int result = guarded ? -1 : listen(fd, backlog);
    if (guarded || (result < 0 && errno == EADDRINUSE && get_socket_int(fd, SO_PROTOCOL) == IPPROTO_TCP))
        result = listen_guarded(fd, backlog, guard);
    if (result < 0)
        return throw_errno(env, errno, "listen");
    /* While it listens nobody can bind beside it either way; its accepted connections inherit this and need it. */
    set_socket_int(fd, SO_REUSEADDR, 1);
    return make_undefined(env);
}

static napi_value outwait(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    (void)outwait_binds(fd); /* what it is for has to be done either way */
    return make_undefined(env);
}

/* Sockets of ours that share for a moment, as many as JavaScript names. */
struct sharers {
    struct sharing *sharings;
    size_t count;
};

static void free_sharers(struct sharers *sharers) {
    for (size_t i = 0; i < sharers->count; i++)
        stop_sharing(&sharers->sharings[i]);
    free(sharers->sharings);
}

/* Lets an array of descriptors share, under the uid of the first, else under `uid`. False, with an exception pending and
 * nothing shared, when it is not one. */
static bool start_sharers(napi_env env, napi_value array, struct sharers *sharers, uid_t *uid) {
    uint32_t length;
    size_t count = 0;
    *sharers = (struct sharers){0};
    if (napi_get_array_length(env, array, &length) != napi_ok) {
        throw_type(env, "an array of descriptors was expected");
        return false;
    }
    int *fds = calloc((size_t)length + 1, sizeof *fds);
    sharers->sharings = calloc((size_t)length + 1, sizeof *sharers->sharings);
    bool ok = fds != NULL && sharers->sharings != NULL;
    if (!ok)
        throw_errno(env, ENOMEM, "bind");
    else
        ok = get_fds(env, array, fds, length, &count);
    if (ok && count > 0)
        *uid = lonely_uid(fds[0]);
    for (size_t i = 0; ok && i < count; i++)
        start_sharing(&sharers->sharings[sharers->count++], fds[i], *uid);
    free(fds);
    if (!ok)
        free(sharers->sharings);
    return ok;
}

/* bindBeside(fd, address, siblings): binds `fd` where it overlaps with held sockets of ours, however many, which stay
 * bound and closed to everybody else meanwhile. */
static napi_value bind_beside(napi_env env, napi_callback_info info) {
    struct sharers siblings;
    struct sharing sharing;
    struct address address;
    napi_value args[3];
    int fd;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_address(env, args[1], &address))
        return NULL;
    uid_t uid = lonely_uid(fd);
    if (!start_sharers(env, args[2], &siblings, &uid))
        return NULL;
    bool stream = get_socket_int(fd, SO_TYPE) == SOCK_STREAM;
    start_sharing(&sharing, fd, uid);
    if (stream)
        set_socket_int(fd, SO_REUSEADDR, 1);
    int result = bind(fd, (struct sockaddr *)&address.storage, address.length);
    int error = errno;
    if (stream)
        set_socket_int(fd, SO_REUSEADDR, 0);
    stop_sharing(&sharing);
    free_sharers(&siblings);
    return result < 0 ? throw_errno(env, error, "bind") : make_undefined(env);
}

/* ::ffff:127.0.0.1 for 127.0.0.1. */
static void map_to_v6(struct address *address) {
    struct sockaddr_in v4 = *(struct sockaddr_in *)&address->storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->storage;
    *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    v6->sin6_addr.s6_addr[10] = v6->sin6_addr.s6_addr[11] = 0xff;
    memcpy(&v6->sin6_addr.s6_addr[12], &v4.sin_addr, sizeof v4.sin_addr);
    address->length = sizeof *v6;
}

/* The lasting guard of a held datagram socket: -1 where it cannot be had. It comes after the hold in every lookup: an
 * IPv6 socket on a mapped address scores less than an IPv4 one (compute_score), and IPv6 sockets with SO_REUSEPORT are
 * added at the tail (udp_lib_get_port). If ever a packet comes to it, it drops it. */
static int make_datagram_guard(int fd, uid_t uid) {
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &drop};
    struct address address = {.length = sizeof address.storage};
    struct sharing sharing;
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.length) < 0)
        return -1;
    bool mapped = address.storage.ss_family == AF_INET;
    if (mapped)
        map_to_v6(&address);
    int guard = open_guard(fd, AF_INET6, SOCK_DGRAM, get_socket_int(fd, SO_PROTOCOL));
    if (guard < 0)
        return -1;
    if (setsockopt(guard, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0 ||
        !start_sharing(&sharing, guard, uid) || bind(guard, (struct sockaddr *)&address.storage, address.length) < 0 ||
        (!mapped && leave_group(guard) < 0))
        return close_failed(guard);
    set_socket_int(guard, SO_REUSEPORT, 0);
    return guard;
}

/* The same of a held TCP socket. */
static int make_stream_guard(int fd, uid_t uid) {
    int guard = make_guard(fd, uid);
    if (guard >= 0)
        set_socket_int(guard, SO_REUSEPORT, 0);
    return guard;
}

/* The hold is disowned first: without CAP_CHOWN not even a moment of sharing comes to pass. */
static napi_value keep_guard(napi_env env, napi_callback_info info, int (*make)(int fd, uid_t uid)) {
    struct sharers siblings;
    struct sharing sharing;
    napi_value args[2];
    int fd, guard = -1;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd))
        return NULL;
    uid_t uid = lonely_uid(fd);
    if (fchown(fd, uid, (gid_t)-1) < 0)
        return make_undefined(env);
    if (!start_sharers(env, args[1], &siblings, &uid))
        return NULL;
    if (start_sharing(&sharing, fd, uid))
        guard = make(fd, uid);
    stop_sharing(&sharing);
    free_sharers(&siblings);
    return guard < 0 ? make_undefined(env) : make_int(env, guard);
}

/* guardDatagrams(fd, siblings): a second socket on the address of a held datagram socket, to be kept beside it: with it
 * nobody can bind there although the service has SO_REUSEADDR set on its duplicate of the hold, and with it on the hold
 * (unbound does). It receives nothing. `siblings` are other sockets of ours that are on the address. Undefined where the
 * kernel or the lack of CAP_CHOWN or CAP_NET_RAW forbids it, or somebody else is there already. */
static napi_value guard_datagrams(napi_env env, napi_callback_info info) {
    return keep_guard(env, info, make_datagram_guard);
}

/* guardStream(fd, siblings): the same beside a held TCP socket. While that listens nobody else can bind, but with
 * shutdown(2) a service takes its duplicate, and with it the hold, back to bound, with SO_REUSEADDR on (dovecot does). */
static napi_value guard_stream(napi_env env, napi_callback_info info) {
    return keep_guard(env, info, make_stream_guard);
}

/* disown(fd): from here on the socket's uid is its own and nobody's, where CAP_CHOWN allows it. A service can set
 * SO_REUSEPORT on its
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
        {"guardDatagrams", guard_datagrams},
        {"guardStream", guard_stream},
        {"disown", disown},
        {"outwaitBinds", outwait},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
