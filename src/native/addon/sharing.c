/* The kernel lets sockets bind beside each other by SO_REUSEPORT only when they are of one uid, and fchown(2) on a socket
 * sets that uid (sockfs_setattr in net/socket.c). So a moment of SO_REUSEPORT under a uid that nobody runs as is shared
 * with exactly the sockets that berthd put there.
 *
 * Each held socket has a uid of its own, and each moment in which a program's socket takes part, too. The kernel remembers
 * the last uid with a TCP port (tb->fastuid in net/ipv4/inet_connection_sock.c) and lets it in without a look at the sockets
 * that are there. With one uid for all, a program whose socket has it for a moment could bind it to another reservation's
 * port meanwhile, past berthd, by io_uring(7); with one for each held socket, the program's own sockets would no longer
 * be in each other's way.
 *
 * The kernel reads a socket's option and then its uid, without a lock that setsockopt(2) or fchown(2) would take. A
 * stranger's bind(2) that an interrupt stopped in between may see the option of before and the uid of after: measured
 * under a storm of timer interrupts, 71 thefts in 10 million attempts. So a held socket keeps its lonely uid afterwards,
 * and a program's socket is given its own back only when no bind(2) that saw the option can still be under way. */
#include "sharing.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Outside every range that systemd, Debian or subuid(5) hand out, and never the invalid (uid_t)-1. */
#define LONELY ((uid_t)0x80000000)
#define COMPANY ((uid_t)0xc0000000)
#define OWN_BITS ((uid_t)0x3fffffff)

int set_socket_int(int fd, int name, int value) {
    return setsockopt(fd, SOL_SOCKET, name, &value, sizeof value);
}

int get_socket_int(int fd, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &length) < 0 ? 0 : value;
}

static uid_t lonely_uid_of(const struct stat *status) {
    bool is_lonely = (status->st_uid & ~OWN_BITS) == LONELY;
    return is_lonely ? status->st_uid : LONELY | ((uid_t)status->st_ino & OWN_BITS);
}

uid_t lonely_uid(int fd) {
    struct stat status;
    return fstat(fd, &status) < 0 ? LONELY : lonely_uid_of(&status);
}

uid_t momentary_uid(void) {
    static uid_t last;
    if (last == 0 && getrandom(&last, sizeof last, GRND_NONBLOCK) != sizeof last)
        last = (uid_t)getpid();
    return LONELY | (++last & OWN_BITS);
}

uid_t company_uid(uid_t lonely) {
    uid_t uid = COMPANY | (lonely & OWN_BITS);
    return uid == (uid_t)-1 ? COMPANY : uid;
}

/* Where fchown(2) is not allowed the socket keeps its uid: then processes of berthd's own uid can join with SO_REUSEPORT,
 * and not for the moment only, because the kernel remembers the uid with the port. */
bool start_sharing(struct sharing *sharing, int fd, uid_t uid) {
    struct stat status;
    *sharing = (struct sharing){.fd = fd, .reuse_port = get_socket_int(fd, SO_REUSEPORT)};
    bool known = fstat(fd, &status) == 0;
    /* A held socket and its guard have it for good, and fchown(2) is what costs most here. */
    bool has_it = known && status.st_uid == uid;
    if (known && !has_it && fchown(fd, uid, (gid_t)-1) == 0) {
        sharing->owner = status.st_uid;
        sharing->lonely = lonely_uid_of(&status);
        sharing->chowned = true;
    }
    set_socket_int(fd, SO_REUSEPORT, 1);
    return has_it || sharing->chowned;
}

static void restore_uid(const struct sharing *sharing, uid_t uid) {
    if (sharing->chowned && fchown(sharing->fd, uid, (gid_t)-1) < 0) {
        /* It was allowed a moment ago. The uid stays one that shares with nobody: the safe side. */
    }
}

void stop_sharing(const struct sharing *sharing) {
    set_socket_int(sharing->fd, SO_REUSEPORT, sharing->reuse_port);
    restore_uid(sharing, sharing->reuse_port ? sharing->owner : sharing->lonely);
}

/* bind(2) looks at the sockets of a port under one lock of theirs (head->lock in inet_csk_get_port,
 * net/ipv4/inet_connection_sock.c; hslot->lock in udp_lib_get_port, net/ipv4/udp.c), so each that was looking before this
 * one has ended when this one has. */
bool outwait_binds(int fd) {
    struct sockaddr_in6 address = {0}; /* or the shorter sockaddr_in, with the port at the same place */
    socklen_t length = sizeof address, size = sizeof(int);
    int on = 1, v6only = 0;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return false;
    if (address.sin6_port == 0)
        return true; /* nobody met it: it is not bound */
    int probe = socket(address.sin6_family, get_socket_int(fd, SO_TYPE) | SOCK_CLOEXEC, get_socket_int(fd, SO_PROTOCOL));
    if (probe < 0)
        return false;
    getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size);
    setsockopt(probe, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    setsockopt(probe, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
    bool looked = bind(probe, (struct sockaddr *)&address, length) < 0 && errno == EADDRINUSE;
    close(probe);
    return looked;
}

/* The first datagram socket that a stranger's bind(2) takes for one of its group lets it in, whatever comes after it
 * (udp_lib_lport_inuse). Of streams all are looked at, and a held one is among them. */
void give_back(const struct sharing *sharing) {
    set_socket_int(sharing->fd, SO_REUSEPORT, sharing->reuse_port);
    bool exposed = !sharing->reuse_port && get_socket_int(sharing->fd, SO_TYPE) == SOCK_DGRAM;
    if (!exposed || outwait_binds(sharing->fd))
        restore_uid(sharing, sharing->owner);
}

/* The device is the one that it has. To set it makes the kernel file the socket anew (udp_lib_rehash in net/ipv4/udp.c),
 * which begins with leaving the group. */
int leave_group(int fd) {
    int device = get_socket_int(fd, SO_BINDTOIFINDEX);
    return set_socket_int(fd, SO_BINDTOIFINDEX, device);
}
