/* bind(2) and listen(2) of a program's own socket beside held sockets, which stay bound and closed to all others.
 *
 * For that moment the program's socket and the held ones share by SO_REUSEPORT (sharing.c), never by SO_REUSEADDR, which
 * whoever sets it too would share. What the program set itself stays, so its other sockets are in its way exactly as they
 * would be without us. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "napi.h"
#include "seccomp.h"
#include "sharing.h"

/* No interface has this index: a socket bound to it gets nothing, and still is in the way of others. */
#define NO_DEVICE 0x7fffffff
/* Of each network namespace (include/net/net_namespace.h). With an address bind(2) wants the interface to exist. */
#define LOOPBACK 1

struct beside {
    bool datagrams;
    struct sharing program;
    struct sharing held[MAX_FDS];
    size_t count;
};

/* Returns the uid under which they share. */
static uid_t begin(struct beside *beside, int slot, int fd, const int *held, size_t count) {
    struct stat status;
    int reuse_port = get_socket_int(fd, SO_REUSEPORT);
    /* A socket that the program shares with further ones of its own shares with those under the same uid, next time, too. */
    uid_t uid = reuse_port ? company_uid(lonely_uid(held[0])) : momentary_uid();
    note_begun(slot, reuse_port, fstat(fd, &status) == 0 ? status.st_uid : (uid_t)-1);
    beside->datagrams = get_socket_int(fd, SO_TYPE) == SOCK_DGRAM;
    beside->count = count;
    for (size_t i = 0; i < count; i++)
        start_sharing(&beside->held[i], held[i], uid);
    start_sharing(&beside->program, fd, uid);
    return uid;
}

/* A stream socket is in no group until it listens, and does not leave it in this way. */
static void end(struct beside *beside, bool done) {
    for (size_t i = 0; i < beside->count; i++) {
        stop_sharing(&beside->held[i]);
        if (beside->datagrams)
            leave_group(beside->held[i].fd);
    }
    /* One that the program shares keeps the uid: its own may be that of strangers. */
    if (done && beside->program.reuse_port)
        return;
    give_back(&beside->program);
    if (beside->datagrams)
        leave_group(beside->program.fd);
}

static bool get_held(napi_env env, napi_value value, int *held, size_t *count) {
    if (!get_fds(env, value, held, MAX_FDS, count))
        return false;
    if (*count > 0)
        return true;
    throw_type(env, "at least one held socket was expected");
    return false;
}

static bool is_deaf(int fd) {
    return get_socket_int(fd, SO_BINDTOIFINDEX) == NO_DEVICE;
}

static bool wants_interface(const void *bytes, socklen_t length) {
    const struct sockaddr_in6 *address = bytes;
    bool scoped = length >= sizeof *address && address->sin6_scope_id != 0; /* it may be missing */
    return !scoped &&
           (IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&address->sin6_addr));
}

/* Whether other datagram sockets of the program are in the way of this one. bind(2) would not tell once a deaf held socket
 * comes before them in the kernel's list, of which it looks no further than the first that may be shared
 * (udp_lib_lport_inuse in net/ipv4/udp.c). A socket of ours that is bound to another interface than the deaf one does not
 * see that, but all that are bound to none. */
static bool is_taken(const struct beside *beside, const void *address, socklen_t length, uid_t uid) {
    int fd = beside->program.fd, v6only = 0, freebind = 0;
    socklen_t size = sizeof(int);
    bool deaf = false;
    int domain = get_socket_int(fd, SO_DOMAIN), device = get_socket_int(fd, SO_BINDTOIFINDEX);
    if (domain == AF_INET6 && device == 0 && wants_interface(address, length))
        return false; /* it gets EINVAL */
    for (size_t i = 0; i < beside->count; i++)
        deaf |= is_deaf(beside->held[i].fd);
    if (!deaf)
        return false;
    int probe = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, get_socket_int(fd, SO_PROTOCOL));
    if (probe < 0)
        return false;
    getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size);
    setsockopt(probe, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    getsockopt(fd, IPPROTO_IP, IP_FREEBIND, &freebind, &size);
    setsockopt(probe, IPPROTO_IP, IP_FREEBIND, &freebind, sizeof freebind);
    set_socket_int(probe, SO_REUSEADDR, get_socket_int(fd, SO_REUSEADDR));
    set_socket_int(probe, SO_BINDTOIFINDEX, device == 0 ? LOOPBACK : device);
    struct sharing sharing;
    start_sharing(&sharing, probe, uid);
    bool taken = bind(probe, address, length) < 0 && errno == EADDRINUSE;
    close(probe);
    return taken;
}

/* bindFor(slot, fd, address, held): what bind(2) says, 0 or an errno, of the program's socket and the address as bytes. The
 * slot is that of the call, or -1 where there is none. */
static napi_value bind_for(napi_env env, napi_callback_info info) {
    struct beside beside;
    int held[MAX_FDS], slot, fd;
    napi_value args[4];
    void *address;
    size_t length, count;
    if (!get_args(env, info, 4, args) || !get_int(env, args[0], &slot) || !get_int(env, args[1], &fd) ||
        !get_bytes(env, args[2], &address, &length) || !get_held(env, args[3], held, &count))
        return NULL;
    uid_t uid = begin(&beside, slot, fd, held, count);
    int error = EADDRINUSE;
    if (!beside.datagrams || !is_taken(&beside, address, (socklen_t)length, uid))
        error = bind(fd, address, (socklen_t)length) < 0 ? errno : 0;
    end(&beside, error == 0);
    return make_int(env, error);
}

/* listenFor(slot, fd, backlog, held): what listen(2) says, whose own check for conflicts is that of bind(2) again. */
static napi_value listen_for(napi_env env, napi_callback_info info) {
    struct beside beside;
    int held[MAX_FDS], slot, fd, backlog;
    napi_value args[4];
    size_t count;
    if (!get_args(env, info, 4, args) || !get_int(env, args[0], &slot) || !get_int(env, args[1], &fd) ||
        !get_int(env, args[2], &backlog) || !get_held(env, args[3], held, &count))
        return NULL;
    begin(&beside, slot, fd, held, count);
    int error = listen(fd, backlog) < 0 ? errno : 0;
    end(&beside, error == 0);
    return make_int(env, error);
}

/* undoBegun(slot, fd): makes a program's socket what it was before an earlier berthd began with it. */
static napi_value undo_begun(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int slot, fd;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &slot) || !get_int(env, args[1], &fd))
        return NULL;
    struct sharing sharing = {
        .fd = fd, .reuse_port = begun_reuse_port(slot), .owner = begun_owner(slot), .chowned = true};
    if (!sharing.reuse_port)
        give_back(&sharing);
    return make_undefined(env);
}

/* bindBehind(fd, held, program): binds `fd` where the first of `held` is, and behind the program's datagram sockets, of
 * which one may be given (or -1) that was bound just now. Over IPv6 a socket with SO_REUSEPORT is put at the end of the
 * kernel's list (udp_lib_get_port in net/ipv4/udp.c), of which the first of equals gets what arrives, and the first that may
 * be shared decides whether another may be bound (udp_lib_lport_inuse): neither may be a held one. */
static napi_value bind_behind(napi_env env, napi_callback_info info) {
    struct sharing sharings[MAX_FDS + 2];
    struct address address = {.length = sizeof address.storage};
    int fds[MAX_FDS + 2], fd, program;
    napi_value args[3];
    size_t count;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_held(env, args[1], fds, &count) ||
        !get_int(env, args[2], &program))
        return NULL;
    uid_t own = lonely_uid(fds[0]);
    uid_t uid = program >= 0 && get_socket_int(program, SO_REUSEPORT) ? company_uid(own) : momentary_uid();
    if (getsockname(fds[0], (struct sockaddr *)&address.storage, &address.length) < 0)
        return throw_errno(env, errno, "getsockname");
    fds[count++] = fd;
    size_t ours = count;
    if (program >= 0)
        fds[count++] = program;
    for (size_t i = 0; i < count; i++)
        start_sharing(&sharings[i], fds[i], uid);
    /* Against other sockets of the program that have it; the held ones still forbid it to everybody. */
    set_socket_int(fd, SO_REUSEADDR, 1);
    int error = bind(fd, (struct sockaddr *)&address.storage, address.length) < 0 ? errno : 0;
    set_socket_int(fd, SO_REUSEADDR, 0);
    for (size_t i = 0; i < ours; i++) {
        stop_sharing(&sharings[i]);
        leave_group(fds[i]);
    }
    if (program >= 0)
        give_back(&sharings[ours]);
    return error != 0 ? throw_errno(env, error, "bind") : make_undefined(env);
}

/* setDevice(fd, index): binds to an interface, or to none (0), or with -1 to one that there is not: then the socket gets
 * nothing, and still is in the way of all that are bound to no interface. */
static napi_value set_device(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int fd, index;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &index))
        return NULL;
    if (set_socket_int(fd, SO_BINDTOIFINDEX, index < 0 ? NO_DEVICE : index) < 0)
        return throw_errno(env, errno, "setsockopt");
    return make_undefined(env);
}

/* isDeaf(fd): whether setDevice has made it get nothing. */
static napi_value tell_deaf(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    return make_bool(env, is_deaf(fd));
}

void init_beside(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"bindFor", bind_for},       {"listenFor", listen_for}, {"undoBegun", undo_begun},
        {"bindBehind", bind_behind}, {"setDevice", set_device}, {"isDeaf", tell_deaf},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
