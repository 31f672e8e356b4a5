/* Plain socket calls that Node has no face for. Every descriptor made here is close-on-exec and belongs to the caller. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <linux/un.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "napi.h"

static napi_value open_socket(napi_env env, napi_callback_info info) {
    napi_value args[3];
    int domain, type, protocol;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &domain) || !get_int(env, args[1], &type) ||
        !get_int(env, args[2], &protocol))
        return NULL;
    int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
    return fd < 0 ? throw_errno(env, errno, "socket") : make_int(env, fd);
}

static napi_value bind_socket(napi_env env, napi_callback_info info) {
    napi_value args[2];
    struct address address;
    int fd;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd) || !get_address(env, args[1], &address))
        return NULL;
    if (bind(fd, (struct sockaddr *)&address.storage, address.length) < 0)
        return throw_errno(env, errno, "bind");
    return make_undefined(env);
}

static napi_value connect_socket(napi_env env, napi_callback_info info) {
    napi_value args[2];
    struct address address;
    int fd;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd) || !get_address(env, args[1], &address))
        return NULL;
    if (connect(fd, (struct sockaddr *)&address.storage, address.length) < 0)
        return throw_errno(env, errno, "connect");
    return make_undefined(env);
}

/* Whether a connect(2) or shutdown(2) has left something on a socket that has no peer. */
static bool is_spoilt(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};
    struct tcp_info info;
    socklen_t length = sizeof info;
    /* One that still connects has no peer yet, but a state. */
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
        return info.tcpi_state != TCP_LISTEN &&
               (info.tcpi_state != TCP_CLOSE || (poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLRDHUP) != 0));
    return false;
}

/* disconnect(fd): undoes a service's connect(2), and on TCP a shutdown(2), by a connect(2) with AF_UNSPEC; true when there
 * was something to undo. A port that was bound explicitly stays bound (SOCK_BINDPORT_LOCK in the kernel), the device of
 * SO_BINDTODEVICE does not. */
static napi_value disconnect_socket(napi_env env, napi_callback_info info) {
    struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
    struct address peer = {.length = sizeof peer.storage};
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (getpeername(fd, (struct sockaddr *)&peer.storage, &peer.length) < 0) {
        if (errno != ENOTCONN)
            return throw_errno(env, errno, "getpeername");
        if (!is_spoilt(fd))
            return make_bool(env, false);
    }
    if (connect(fd, &unspecified, sizeof unspecified) < 0)
        return throw_errno(env, errno, "connect");
    return make_bool(env, true);
}

static napi_value listen_socket(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int fd, backlog;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &backlog))
        return NULL;
    if (listen(fd, backlog) < 0)
        return throw_errno(env, errno, "listen");
    return make_undefined(env);
}

static napi_value shutdown_read(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (shutdown(fd, SHUT_RD) < 0)
        return throw_errno(env, errno, "shutdown");
    return make_undefined(env);
}

/* The next connection, or undefined when nobody waits. */
static napi_value accept_connection(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection >= 0)
        return make_int(env, connection);
    /* ECONNABORTED: the peer gave up while it waited, which is nobody's error (accept(2)). */
    if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
        return make_undefined(env);
    return throw_errno(env, errno, "accept4");
}

static napi_value socket_name(napi_env env, napi_callback_info info) {
    struct address address = {.length = sizeof address.storage};
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.length) < 0)
        return throw_errno(env, errno, "getsockname");
    return make_address(env, &address);
}

static napi_value set_option(napi_env env, napi_callback_info info) {
    napi_value args[4];
    int fd, level, name, value;
    if (!get_args(env, info, 4, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &level) ||
        !get_int(env, args[2], &name) || !get_int(env, args[3], &value))
        return NULL;
    if (setsockopt(fd, level, name, &value, sizeof value) < 0)
        return throw_errno(env, errno, "setsockopt");
    return make_undefined(env);
}

static napi_value get_option(napi_env env, napi_callback_info info) {
    napi_value args[3];
    int fd, level, name, value = 0;
    socklen_t length = sizeof value;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &level) ||
        !get_int(env, args[2], &name))
        return NULL;
    if (getsockopt(fd, level, name, &value, &length) < 0)
        return throw_errno(env, errno, "getsockopt");
    return make_int(env, value);
}

/* inode(fd): what /proc calls the socket by. */
static napi_value inode_of(napi_env env, napi_callback_info info) {
    struct stat status;
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    return fstat(fd, &status) < 0 ? throw_errno(env, errno, "fstat") : make_int(env, (int64_t)status.st_ino);
}

static napi_value set_text_option(napi_env env, napi_callback_info info) {
    napi_value args[4];
    char text[64];
    int fd, level, name;
    if (!get_args(env, info, 4, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &level) ||
        !get_int(env, args[2], &name) || !get_text(env, args[3], text, sizeof text))
        return NULL;
    if (setsockopt(fd, level, name, text, (socklen_t)strlen(text)) < 0)
        return throw_errno(env, errno, "setsockopt");
    return make_undefined(env);
}

/* Drops every datagram that arrives, before it is queued. Classic BPF, one instruction: accept 0 bytes (socket(7)). */
static napi_value attach_drop(napi_env env, napi_callback_info info) {
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &drop};
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
        return throw_errno(env, errno, "setsockopt");
    return make_undefined(env);
}

/* detachDrop(fd): takes any filter off; true when there was one. */
static napi_value detach_drop(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd, unused = 0;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused) == 0)
        return make_bool(env, true);
    return errno == ENOENT ? make_bool(env, false) : throw_errno(env, errno, "setsockopt");
}

/* O_NONBLOCK is a property of the open file description, so a service that set it set it for everybody. */
static napi_value set_blocking(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd, flags;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if ((flags = fcntl(fd, F_GETFL)) < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return throw_errno(env, errno, "fcntl");
    return make_undefined(env);
}

/* For descriptors that came from a parent (LISTEN_FDS, a socketpair in a test). */
static napi_value adopt(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd, flags;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || (flags = fcntl(fd, F_GETFL)) < 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return throw_errno(env, errno, "fcntl");
    return make_undefined(env);
}

/* What poll(2) says of a descriptor right now. */
static napi_value poll_now(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    int result;
    do
        result = poll(&entry, 1, 0);
    while (result < 0 && errno == EINTR);
    if (result < 0)
        return throw_errno(env, errno, "poll");
    return make_int(env, entry.revents);
}

static napi_value interface_index(napi_env env, napi_callback_info info) {
    napi_value args[1];
    char name[IF_NAMESIZE];
    if (!get_args(env, info, 1, args) || !get_text(env, args[0], name, sizeof name))
        return NULL;
    unsigned index = if_nametoindex(name);
    return index == 0 ? throw_errno(env, errno, "if_nametoindex") : make_int(env, index);
}

/* The file of a bound AF_UNIX socket, whatever stands at its path by now (unix_open_file()); wants CAP_NET_ADMIN. */
static napi_value bound_file(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    int file = ioctl(fd, SIOCUNIXFILE);
    return file < 0 ? throw_errno(env, errno, "ioctl") : make_int(env, file);
}

void init_sockets(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"socket", open_socket},
        {"bind", bind_socket},
        {"connect", connect_socket},
        {"disconnect", disconnect_socket},
        {"listen", listen_socket},
        {"shutdownRead", shutdown_read},
        {"accept", accept_connection},
        {"getsockname", socket_name},
        {"setOption", set_option},
        {"getOption", get_option},
        {"inode", inode_of},
        {"setTextOption", set_text_option},
        {"attachDrop", attach_drop},
        {"detachDrop", detach_drop},
        {"setBlocking", set_blocking},
        {"adopt", adopt},
        {"pollNow", poll_now},
        {"interfaceIndex", interface_index},
        {"boundFile", bound_file},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
