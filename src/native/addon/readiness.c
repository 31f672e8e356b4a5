/* Whether a service has left a held socket as it was handed over, in the fewest system calls: every claim asks. */
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "napi.h"
#include "sharing.h"

/* An eBPF filter cannot be read (EACCES), which tells of it, too (sk_get_filter() in the kernel). */
static bool has_filter(int fd) {
    socklen_t instructions = 0;
    return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &instructions) < 0 || instructions != 0;
}

/* readiness(fd): the backlog of a TCP socket that listens, has SO_REUSEADDR and no filter, and blocks; -1 of any other. One
 * that listens is neither connected nor shut down. Of a listening socket the kernel tells the backlog as tcpi_sacked
 * (tcp_get_info()). */
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

void init_readiness(napi_env env, napi_value exports) {
    static const struct export functions[] = {{"readiness", readiness}};
    export_functions(env, exports, functions, COUNT(functions));
}
