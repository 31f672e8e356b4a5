/* What decides whether a bind(2) of a socket is berthd's affair. */
#ifndef BERTH_FACTS_H
#define BERTH_FACTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* As src/native/calls.ts reads it. */
struct facts {
    int32_t domain, type, protocol, device, v6only, listening, lingers;
    uint32_t name_length;
    uint64_t netns;
    struct sockaddr_storage name;
};

/* False when it is no socket. It can wait for as long as a process that has the socket likes, which may hold the socket's
 * lock while its own memory is being provided (udp_sendmsg in net/ipv4/udp.c). */
bool get_facts(int fd, struct facts *facts);

#endif
