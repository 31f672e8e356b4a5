#include "facts.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "napi.h"
#include "sharing.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif

/* Whether close(2) of it could wait, which it does on a connection with SO_LINGER. */
static bool lingers(int fd, int domain, int protocol) {
    struct tcp_info tcp;
    socklen_t length = sizeof tcp;
    if (domain != AF_INET && domain != AF_INET6)
        return domain != AF_UNIX;
    if (protocol != IPPROTO_TCP)
        return protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &length) < 0 ||
           (tcp.tcpi_state != TCP_CLOSE && tcp.tcpi_state != TCP_LISTEN);
}

bool get_facts(int fd, struct facts *facts) {
    socklen_t length = sizeof facts->domain, name_length = sizeof facts->name;
    *facts = (struct facts){0};
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &facts->domain, &length) < 0)
        return false;
    facts->type = get_socket_int(fd, SO_TYPE);
    facts->protocol = get_socket_int(fd, SO_PROTOCOL);
    facts->device = get_socket_int(fd, SO_BINDTOIFINDEX);
    facts->listening = get_socket_int(fd, SO_ACCEPTCONN) != 0;
    facts->lingers = lingers(fd, facts->domain, facts->protocol);
    if (facts->domain == AF_INET6)
        getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &facts->v6only, &length);
    if (getsockname(fd, (struct sockaddr *)&facts->name, &name_length) == 0)
        facts->name_length = name_length;
    /* 0 where the kernel does not have it. */
    length = sizeof facts->netns;
    getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &facts->netns, &length);
    return true;
}

/* socketFacts(fd): undefined when it is no socket. */
static napi_value socket_facts(napi_env env, napi_callback_info info) {
    napi_value args[1], object, netns, name;
    struct facts facts;
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    if (!get_facts(fd, &facts))
        return make_undefined(env);
    if (napi_create_object(env, &object) != napi_ok ||
        napi_create_bigint_uint64(env, facts.netns, &netns) != napi_ok ||
        napi_create_buffer_copy(env, facts.name_length, &facts.name, NULL, &name) != napi_ok)
        return NULL;
    set(env, object, "domain", make_int(env, facts.domain));
    set(env, object, "type", make_int(env, facts.type));
    set(env, object, "protocol", make_int(env, facts.protocol));
    set(env, object, "netns", netns);
    set(env, object, "device", make_int(env, facts.device));
    set(env, object, "v6only", make_bool(env, facts.v6only != 0));
    set(env, object, "listening", make_bool(env, facts.listening != 0));
    set(env, object, "lingers", make_bool(env, facts.lingers != 0));
    set(env, object, "name", name);
    return object;
}

void init_facts(napi_env env, napi_value exports) {
    static const struct export functions[] = {{"socketFacts", socket_facts}};
    export_functions(env, exports, functions, COUNT(functions));
}
