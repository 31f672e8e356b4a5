/* The numbers by which TypeScript names the kernel's constants. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include "napi.h"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* Linux 6.5; Debian 12's headers are older */
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* since Linux 5.14 */
#endif

#define CONSTANT(name) {#name, name}
static const struct {
    const char *name;
    int value;
} constants[] = {
    CONSTANT(AF_INET),           CONSTANT(AF_INET6),         CONSTANT(AF_UNIX),
    CONSTANT(SOCK_STREAM),       CONSTANT(SOCK_DGRAM),       CONSTANT(SOCK_SEQPACKET),
    CONSTANT(IPPROTO_TCP),       CONSTANT(IPPROTO_UDP),      CONSTANT(IPPROTO_UDPLITE),
    CONSTANT(IPPROTO_SCTP),      CONSTANT(IPPROTO_MPTCP),    CONSTANT(IPPROTO_IP),
    CONSTANT(IPPROTO_IPV6),      CONSTANT(SOL_SOCKET),       CONSTANT(SO_REUSEADDR),
    CONSTANT(SO_REUSEPORT),      CONSTANT(SO_ACCEPTCONN),    CONSTANT(SO_BINDTODEVICE),
    CONSTANT(SO_BROADCAST),      CONSTANT(SO_KEEPALIVE),     CONSTANT(SO_MARK),
    CONSTANT(SO_PRIORITY),       CONSTANT(SO_SNDBUF),        CONSTANT(SO_SNDBUFFORCE),
    CONSTANT(SO_RCVBUF),         CONSTANT(SO_RCVBUFFORCE),   CONSTANT(SO_PASSCRED),
    CONSTANT(SO_DOMAIN),         CONSTANT(SO_TYPE),          CONSTANT(SO_PROTOCOL),
    CONSTANT(TCP_KEEPIDLE),      CONSTANT(TCP_KEEPINTVL),    CONSTANT(TCP_KEEPCNT),
    CONSTANT(TCP_NODELAY),       CONSTANT(TCP_DEFER_ACCEPT), CONSTANT(TCP_CONGESTION),
    CONSTANT(IP_TOS),            CONSTANT(IP_TTL),           CONSTANT(IP_FREEBIND),
    CONSTANT(IP_TRANSPARENT),    CONSTANT(IP_PKTINFO),       CONSTANT(IPV6_V6ONLY),
    CONSTANT(IPV6_UNICAST_HOPS), CONSTANT(IPV6_TCLASS),      CONSTANT(IPV6_FREEBIND),
    CONSTANT(IPV6_TRANSPARENT),  CONSTANT(IPV6_RECVPKTINFO), CONSTANT(POLLIN),
    CONSTANT(POLLHUP),           CONSTANT(POLLRDHUP),        CONSTANT(POLLERR),
    CONSTANT(MSG_PEEK),          CONSTANT(SO_PEEK_OFF),      CONSTANT(SO_PASSPIDFD),
    CONSTANT(SO_BUF_LOCK),       CONSTANT(EPERM),            CONSTANT(O_PATH),
    CONSTANT(EINVAL),
};

void init_constants(napi_env env, napi_value exports) {
    napi_value values;
    if (napi_create_object(env, &values) != napi_ok)
        return;
    for (size_t i = 0; i < COUNT(constants); i++)
        set(env, values, constants[i].name, make_int(env, constants[i].value));
    set(env, exports, "constants", values);
}
