/* Which sockets of this network namespace stand on a port: sock_diag(7). Unlike /proc/net/tcp it also tells of sockets
 * that are bound but silent, which is what bindresvport() callers leave behind (TCPF_BOUND_INACTIVE, Linux 6.8; older
 * kernels pass over that bit). */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "napi.h"

struct request {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
};

struct found {
    napi_env env;
    napi_value list;
    uint32_t count;
    uint16_t port;
};

static napi_value make_end(napi_env env, int family, uint16_t port, const void *host) {
    struct address address;
    memset(&address, 0, sizeof address);
    address.storage.ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&address.storage;
        in->sin_port = port;
        memcpy(&in->sin_addr, host, sizeof in->sin_addr);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address.storage;
        in6->sin6_port = port;
        memcpy(&in6->sin6_addr, host, sizeof in6->sin6_addr);
    }
    return make_address(env, &address);
}

/* IPV6_V6ONLY of a socket that listens or has no peer; false where the kernel does not say. */
static bool is_v6only(const struct nlmsghdr *header, const struct inet_diag_msg *message) {
    const struct rtattr *attribute = (const struct rtattr *)(message + 1);
    int left = (int)header->nlmsg_len - (int)NLMSG_LENGTH(sizeof *message);
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        if (attribute->rta_type == INET_DIAG_SKV6ONLY && RTA_PAYLOAD(attribute) >= 1)
            return *(const uint8_t *)RTA_DATA(attribute) != 0;
    return false;
}

static void add(struct found *found, const struct nlmsghdr *header) {
    const struct inet_diag_msg *message = NLMSG_DATA(header);
    const struct inet_diag_sockid *id = &message->id;
    napi_env env = found->env;
    napi_value entry;
    if (napi_create_object(env, &entry) != napi_ok)
        return;
    set(env, entry, "address", make_end(env, message->idiag_family, id->idiag_sport, id->idiag_src));
    if (id->idiag_dport != 0)
        set(env, entry, "peer", make_end(env, message->idiag_family, id->idiag_dport, id->idiag_dst));
    set(env, entry, "inode", make_int(env, message->idiag_inode));
    set(env, entry, "uid", make_int(env, message->idiag_uid));
    set(env, entry, "state", make_int(env, message->idiag_state));
    set(env, entry, "device", make_int(env, id->idiag_if));
    set(env, entry, "v6only", make_bool(env, is_v6only(header, message)));
    napi_set_element(env, found->list, found->count++, entry);
}

/* Reads one dump to its end. 0, or an errno. */
static int dump(int netlink, int family, int protocol, struct found *found) {
    char buffer[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct request request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        /* With a port the kernel passes over all others itself (inet_diag_dump_icsk, udp_dump). */
        .body = {.sdiag_family = (uint8_t)family,
                 .sdiag_protocol = (uint8_t)protocol,
                 .idiag_states = ~0U,
                 .id = {.idiag_sport = htons(found->port)}},
    };
    /* Of all ports only those that wait for somebody: a busy server has a hundred thousand connections. */
    if (found->port == 0)
        request.body.idiag_states = 1U << TCP_LISTEN | 1U << TCP_CLOSE;
    if (send(netlink, &request, sizeof request, 0) < 0)
        return errno;
    for (;;) {
        ssize_t length = recv(netlink, buffer, sizeof buffer, 0);
        if (length < 0)
            return errno;
        struct nlmsghdr *header = (struct nlmsghdr *)buffer;
        for (size_t left = (size_t)length; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
            /* A protocol that the kernel has no diagnosis for ends its dump at once, with the errno here. */
            if (header->nlmsg_type == NLMSG_DONE)
                return header->nlmsg_len < NLMSG_LENGTH(sizeof(int)) ? 0 : -*(int *)NLMSG_DATA(header);
            if (header->nlmsg_type == NLMSG_ERROR)
                return -((struct nlmsgerr *)NLMSG_DATA(header))->error;
            const struct inet_diag_msg *message = NLMSG_DATA(header);
            uint16_t port = ntohs(message->id.idiag_sport);
            if (header->nlmsg_type == SOCK_DIAG_BY_FAMILY && port != 0 && (found->port == 0 || port == found->port))
                add(found, header);
        }
    }
}

/* socketsOn(protocol, port): [{address, peer, inode, uid, state, device, v6only}] of both IP families; states are those of
 * <netinet/tcp.h>, `device` is the number of an interface or 0, and only what is connected has a peer. Port 0 stands for
 * all ports, of which only those sockets count that listen or are not connected. */
static napi_value sockets_on(napi_env env, napi_callback_info info) {
    struct timeval patience = {.tv_sec = 1};
    struct found found = {.env = env};
    napi_value args[2];
    int protocol, port;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &protocol) || !get_int(env, args[1], &port) ||
        napi_create_array(env, &found.list) != napi_ok)
        return NULL;
    found.port = (uint16_t)port;
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (netlink < 0)
        return throw_errno(env, errno, "socket");
    setsockopt(netlink, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int error = dump(netlink, AF_INET, protocol, &found);
    if (error == 0)
        error = dump(netlink, AF_INET6, protocol, &found);
    close(netlink);
    return error != 0 ? throw_errno(env, error, "sock_diag") : found.list;
}

void init_diag(napi_env env, napi_value exports) {
    static const struct export functions[] = {{"socketsOn", sockets_on}};
    export_functions(env, exports, functions, COUNT(functions));
}
