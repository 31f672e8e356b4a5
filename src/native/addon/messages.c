/* Packets with descriptors over AF_UNIX. One receive buffer serves all connections: the data are copied out at once. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "napi.h"

#define MAX_PACKET (256 * 1024)
#define MAX_DATAGRAM 256

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04 /* Linux 6.5; Debian 12's headers are older */
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
};

ssize_t send_packet(int fd, const struct packet *packet, int flags) {
    union control control;
    struct iovec data = {.iov_base = packet->data, .iov_len = packet->length};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (packet->count > 0) {
        size_t size = packet->count * sizeof(int);
        memset(&control, 0, CMSG_SPACE(size));
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(size);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(&control.header), packet->fds, size);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | flags);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static napi_value send_with(napi_env env, napi_callback_info info, int flags) {
    int fds[MAX_FDS], fd;
    napi_value args[3];
    struct packet packet;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) ||
        !get_bytes(env, args[1], &packet.data, &packet.length) ||
        !get_fds(env, args[2], fds, MAX_FDS, &packet.count))
        return NULL;
    packet.fds = fds;
    if (send_packet(fd, &packet, flags) >= 0)
        return make_bool(env, true);
    return errno == EAGAIN ? make_bool(env, false) : throw_errno(env, errno, "sendmsg");
}

/* send(fd, data, fds): true when sent, false when the peer has to read first. The descriptors stay the caller's. */
static napi_value send_message(napi_env env, napi_callback_info info) {
    return send_with(env, info, MSG_DONTWAIT);
}

/* sendWaiting(fd, data, fds): waits for the peer, which must be one that can be trusted to read: systemd. */
static napi_value send_waiting(napi_env env, napi_callback_info info) {
    return send_with(env, info, 0);
}

static size_t take_fds(struct msghdr *message, int *fds) {
    size_t count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + count, CMSG_DATA(header), here * sizeof(int));
        count += here;
    }
    return count;
}

/* receive(fd, room, flags): {data, fds, truncated, discarded}, or undefined when nothing is there. There is room for that
 * many descriptors, and the kernel closes uninvited ones itself (`discarded`). Empty data: the end. The descriptors are
 * close-on-exec and the caller's. */
static napi_value receive_message(napi_env env, napi_callback_info info) {
    static char buffer[MAX_PACKET];
    union control control;
    int fds[MAX_FDS], fd, room, flags;
    napi_value args[3], result, data;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &room) ||
        !get_int(env, args[2], &flags))
        return NULL;
    if (room < 0 || room > MAX_FDS)
        return throw_type(env, "room for no more descriptors than one message takes was expected");
    struct iovec space = {.iov_base = buffer, .iov_len = sizeof buffer};
    struct msghdr message = {.msg_iov = &space, .msg_iovlen = 1};
    if (room > 0) {
        message.msg_control = control.space;
        /* Not CMSG_SPACE: the kernel would put another descriptor into the padding. */
        message.msg_controllen = CMSG_LEN((size_t)room * sizeof(int));
    }
    ssize_t received;
    do
        received = recvmsg(fd, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return errno == EAGAIN ? make_undefined(env) : throw_errno(env, errno, "recvmsg");
    size_t count = take_fds(&message, fds);
    if (napi_create_object(env, &result) != napi_ok ||
        napi_create_buffer_copy(env, (size_t)received, buffer, NULL, &data) != napi_ok) {
        for (size_t i = 0; i < count; i++)
            close(fds[i]);
        return NULL;
    }
    set(env, result, "data", data);
    set(env, result, "fds", make_fds(env, fds, count));
    set(env, result, "truncated", make_bool(env, (message.msg_flags & MSG_TRUNC) != 0));
    set(env, result, "discarded", make_bool(env, (message.msg_flags & MSG_CTRUNC) != 0));
    return result;
}

/* Whether the next datagram of a socket with SO_PASSCRED, and without SO_PASSPIDFD, carries descriptors: there is room for the
 * credentials, and for nothing else. -1 with errno. */
static int is_laden(int fd) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred))];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT) < 0)
        return -1;
    return (message.msg_flags & MSG_CTRUNC) != 0;
}

/* Before Linux 6.5 there is none. */
static void pass_pidfd(int fd, int on) {
    setsockopt(fd, SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on);
}

/* receiveDatagram(fd): {data, truncated, pid, uid, gid, pidfd?}, undefined when nothing is there, or false when the next one
 * carries descriptors, and is to be discarded. The pidfd is the caller's. */
static napi_value receive_datagram(napi_env env, napi_callback_info info) {
    char buffer[MAX_DATAGRAM];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
    struct ucred sender = {.pid = 0, .uid = 65534, .gid = 65534};
    napi_value args[1], result, data;
    int fd, pidfd = -1;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    int laden = is_laden(fd);
    if (laden != 0)
        return laden > 0 ? make_bool(env, false)
                         : errno == EAGAIN ? make_undefined(env) : throw_errno(env, errno, "recvmsg");
    struct iovec space = {.iov_base = buffer, .iov_len = sizeof buffer};
    struct msghdr message = {
        .msg_iov = &space, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t received;
    pass_pidfd(fd, 1);
    do
        received = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    pass_pidfd(fd, 0);
    if (received < 0)
        return errno == EAGAIN ? make_undefined(env) : throw_errno(env, errno, "recvmsg");
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET)
            continue;
        if (header->cmsg_type == SCM_CREDENTIALS)
            memcpy(&sender, CMSG_DATA(header), sizeof sender);
        if (header->cmsg_type == SCM_PIDFD)
            memcpy(&pidfd, CMSG_DATA(header), sizeof pidfd);
    }
    if (napi_create_object(env, &result) != napi_ok ||
        napi_create_buffer_copy(env, (size_t)received, buffer, NULL, &data) != napi_ok) {
        if (pidfd >= 0)
            close(pidfd);
        return NULL;
    }
    set(env, result, "data", data);
    set(env, result, "truncated", make_bool(env, (message.msg_flags & MSG_TRUNC) != 0));
    set(env, result, "pid", make_int(env, sender.pid));
    set(env, result, "uid", make_int(env, sender.uid));
    set(env, result, "gid", make_int(env, sender.gid));
    if (pidfd >= 0)
        set(env, result, "pidfd", make_int(env, pidfd));
    return result;
}

/* duplicate(fd): another descriptor of the same socket, close-on-exec and the caller's. */
static napi_value duplicate_fd(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? throw_errno(env, errno, "dup") : make_int(env, copy);
}

static struct {
    bool begun;
    pthread_t thread;
    int fd, count;
} room;

static void *enlarge(void *unused) {
    int highest = fcntl(room.fd, F_DUPFD_CLOEXEC, room.count);
    if (highest >= 0)
        close(highest);
    return unused;
}

/* makeRoom(fd, count): begins to make room for descriptors up to that number, as far as RLIMIT_NOFILE allows. The kernel
 * enlarges the table by doubling it, and in a process with threads each time waits for others to be done with the old one
 * (synchronize_rcu in expand_fdtable, fs/file.c): better once than often, and as that takes some 10 ms, on a thread. Who
 * needs a descriptor there meanwhile waits in the kernel; who does not, does not. */
static napi_value make_room(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int fd, count;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &fd) || !get_int(env, args[1], &count))
        return NULL;
    if (!room.begun) {
        room.fd = fd;
        room.count = count;
        room.begun = pthread_create(&room.thread, NULL, enlarge, NULL) == 0;
    }
    return make_undefined(env);
}

/* roomMade(): waits for the end of it; without it nothing more would be begun. */
static napi_value room_made(napi_env env, napi_callback_info info) {
    (void)info;
    if (room.begun)
        pthread_join(room.thread, NULL);
    room.begun = false;
    return make_undefined(env);
}

/* socketpair(type): both ends close-on-exec and the caller's. */
static napi_value make_pair(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int type, ends[2];
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &type))
        return NULL;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0)
        return throw_errno(env, errno, "socketpair");
    return make_fds(env, ends, 2);
}

void init_messages(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"send", send_message},
        {"sendWaiting", send_waiting},
        {"receive", receive_message},
        {"receiveDatagram", receive_datagram},
        {"duplicate", duplicate_fd},
        {"makeRoom", make_room},
        {"roomMade", room_made},
        {"socketpair", make_pair},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
