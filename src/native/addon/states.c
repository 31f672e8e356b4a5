/* What state held sockets are in, in few system calls: every claim asks, and a start of berthd asks of all. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>

#include "napi.h"
#include "sharing.h"

/* An eBPF filter cannot be read (EACCES), which tells of it, too (sk_get_filter() in the kernel). */
static bool has_filter(int fd) {
    socklen_t instructions = 0;
    return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &instructions) < 0 || instructions != 0;
}

/* False with errno. */
static bool read_sharing(int fd, int *bits) {
    static const int names[] = {SO_REUSEADDR, SO_REUSEPORT, SO_ACCEPTCONN};
    *bits = 0;
    for (size_t i = 0; i < COUNT(names); i++) {
        int value = 0;
        socklen_t length = sizeof value;
        if (getsockopt(fd, SOL_SOCKET, names[i], &value, &length) < 0)
            return false;
        *bits |= (value != 0) << i;
    }
    return true;
}

/* sharing(fd): [SO_REUSEADDR, SO_REUSEPORT, SO_ACCEPTCONN] as bits 1, 2 and 4. */
static napi_value sharing_of(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd, bits;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    return read_sharing(fd, &bits) ? make_int(env, bits) : throw_errno(env, errno, "getsockopt");
}

/* socketStates(fds): {inodes, stirring}, the inode of each and the indices of those whose sharing is not 0. */
static napi_value socket_states(napi_env env, napi_callback_info info) {
    napi_value args[1], inodes, stirring, result;
    uint32_t count, found = 0;
    if (!get_args(env, info, 1, args))
        return NULL;
    if (napi_get_array_length(env, args[0], &count) != napi_ok)
        return throw_type(env, "an array of descriptors was expected");
    if (napi_create_object(env, &result) != napi_ok ||
        napi_create_array_with_length(env, count, &inodes) != napi_ok ||
        napi_create_array(env, &stirring) != napi_ok)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct stat status;
        napi_value element;
        int fd, bits;
        if (napi_get_element(env, args[0], i, &element) != napi_ok || !get_int(env, element, &fd))
            return NULL;
        if (fstat(fd, &status) < 0)
            return throw_errno(env, errno, "fstat");
        if (!read_sharing(fd, &bits))
            return throw_errno(env, errno, "getsockopt");
        napi_set_element(env, inodes, i, make_int(env, (int64_t)status.st_ino));
        if (bits != 0)
            napi_set_element(env, stirring, found++, make_int(env, i));
    }
    set(env, result, "inodes", inodes);
    set(env, result, "stirring", stirring);
    return result;
}

/* readiness(fd): by which can be told whether a service has left a socket as it was handed over: the backlog of a TCP socket
 * that listens, has SO_REUSEADDR and no filter, and blocks; -1 of any other. One that listens is neither connected nor shut
 * down. Of a listening socket the kernel tells the backlog as tcpi_sacked (tcp_get_info()). */
static napi_value readiness(napi_env env, napi_callback_info info) {
    struct tcp_info tcp;
    socklen_t length = sizeof tcp;
    napi_value args[1];
    int fd, flags;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    bool ready = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &length) == 0 && tcp.tcpi_state == TCP_LISTEN &&
                 get_socket_int(fd, SO_REUSEADDR) != 0 && !has_filter(fd) && (flags = fcntl(fd, F_GETFL)) >= 0 &&
                 (flags & O_NONBLOCK) == 0;
    return make_int(env, ready ? (int64_t)tcp.tcpi_sacked : -1);
}

void init_states(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"sharing", sharing_of}, {"socketStates", socket_states}, {"readiness", readiness}};
    export_functions(env, exports, functions, COUNT(functions));
}
