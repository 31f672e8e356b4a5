/* The two ends of most connections to the control socket: the request has come when the connection is accepted, and there is
 * one answer, after which it is closed. Each is one call from JavaScript, which costs more than some of the system calls. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "discard.h"
#include "napi.h"

/* What the second number of acceptRequest() says of the request. */
enum { HAS_TEXT = 1, DISCARDED = 2, TOO_LONG = 4 };

/* acceptRequest(listener, facts, most): the text of what the next connection has sent already, which stays to be received;
 * empty when there is nothing, or more than `most` bytes; undefined when nobody waits. The facts, an Int32Array, are the
 * connection, which is the caller's, and the bits above. */
static napi_value accept_request(napi_env env, napi_callback_info info) {
    static char text[64 * 1024 + 1];
    napi_value args[3];
    napi_typedarray_type type;
    size_t length;
    void *data;
    int listener, most;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &listener) || !get_int(env, args[2], &most))
        return NULL;
    if (napi_get_typedarray_info(env, args[1], &type, &length, &data, NULL, NULL) != napi_ok ||
        type != napi_int32_array || length < 2 || most < 0 || (size_t)most >= sizeof text)
        return throw_type(env, "an array for two numbers, and a size that there is room for, were expected");
    int32_t *facts = data;
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection < 0) {
        /* ECONNABORTED: the peer gave up while it waited, which is nobody's error (accept(2)). */
        if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
            return make_undefined(env);
        return throw_errno(env, errno, "accept4");
    }
    facts[0] = connection;
    facts[1] = 0;
    struct iovec space = {.iov_base = text, .iov_len = (size_t)most + 1};
    struct msghdr message = {.msg_iov = &space, .msg_iovlen = 1};
    /* Whatever goes wrong here does so again for the caller, who waits for the request then. */
    ssize_t received = recvmsg(connection, &message, MSG_PEEK | MSG_DONTWAIT);
    if (received <= 0)
        return make_text(env, "", 0);
    facts[1] = HAS_TEXT | ((message.msg_flags & MSG_CTRUNC) != 0 ? DISCARDED : 0);
    if (received > most) {
        facts[1] |= TOO_LONG;
        return make_text(env, "", 0);
    }
    return make_text(env, text, (size_t)received);
}

/* answerRequest(fd, data, fds, unread, trusted): sends the only answer and closes the connection; false, with the connection
 * open, when the peer has to read first. `unread` says that the request is still to be received, which had no descriptors: left
 * there, it would reset the connection (unix_release_sock in the kernel). What a trusted peer has sent besides is not looked
 * for. */
static napi_value answer_request(napi_env env, napi_callback_info info) {
    int fds[MAX_FDS], fd;
    bool unread, trusted;
    napi_value args[5];
    struct packet packet;
    char byte;
    if (!get_args(env, info, 5, args) || !get_int(env, args[0], &fd) ||
        !get_bytes(env, args[1], &packet.data, &packet.length) ||
        !get_fds(env, args[2], fds, MAX_FDS, &packet.count))
        return NULL;
    if (napi_get_value_bool(env, args[3], &unread) != napi_ok || napi_get_value_bool(env, args[4], &trusted) != napi_ok)
        return throw_type(env, "two booleans were expected");
    packet.fds = fds;
    /* First of all, because the peer waits. */
    int error = send_packet(fd, &packet, MSG_DONTWAIT) < 0 ? errno : 0;
    if (unread && error != EPIPE)
        recv(fd, &byte, 1, MSG_DONTWAIT);
    if (error != 0)
        return error == EAGAIN ? make_bool(env, false) : throw_errno(env, error, "sendmsg");
    if (trusted)
        close(fd);
    else
        close_connection(fd);
    return make_bool(env, true);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* lookFor(fd, microseconds): whether there is something to read, looked for so long without going to sleep. */
static napi_value look_for(napi_env env, napi_callback_info info) {
    napi_value args[2];
    struct pollfd ready = {.events = POLLIN};
    int microseconds;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &ready.fd) || !get_int(env, args[1], &microseconds))
        return NULL;
    int64_t end = now() + microseconds;
    int found;
    do
        found = poll(&ready, 1, 0);
    while (found == 0 && now() < end);
    return make_bool(env, found > 0);
}

void init_requests(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"acceptRequest", accept_request},
        {"answerRequest", answer_request},
        {"lookFor", look_for},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
