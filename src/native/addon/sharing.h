/* Sockets that share their address with each other and with nobody else, for a moment: see sharing.c. */
#ifndef BERTH_SHARING_H
#define BERTH_SHARING_H

#include <stdbool.h>
#include <sys/types.h>

/* A socket that shares its address with others, and how it was before. */
struct sharing {
    int fd;
    int reuse_port;
    uid_t owner;
    uid_t lonely; /* lonely_uid() of it */
    bool chowned;
};

/* The uid of a held socket that is its own and nobody's; what it will be where the socket has none yet. */
uid_t lonely_uid(int fd);
/* One that no socket has had. */
uid_t momentary_uid(void);
/* Another one of that kind, for sockets of a program that share with each other. */
uid_t company_uid(uid_t lonely);

/* False where the socket keeps its uid. */
bool start_sharing(struct sharing *sharing, int fd, uid_t uid);
/* Ends it for a held socket, which is its own and nobody's from here on, unless it has SO_REUSEPORT for good. */
void stop_sharing(const struct sharing *sharing);
/* Ends it for a program's socket, which is as it was before. */
void give_back(const struct sharing *sharing);

/* Returns when no bind(2) to the port of a bound socket is under way that began before. False where it could not see to
 * that. */
bool outwait_binds(int fd);

/* Takes a datagram socket out of the group among which the kernel distributes what arrives. -1 where that is forbidden. */
int leave_group(int fd);

int set_socket_int(int fd, int name, int value);
int get_socket_int(int fd, int name);

#endif
