/* bind-cases PORT...: what bind(2) and listen(2) do, case by case, each on a port of its own. Prints a line for each call:
 * run once without berth and once supervised, the output has to be the same. `bind-cases --count` prints how many ports it
 * wants; `bind-cases --only N PORT...` runs one case. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *title;
static int port;

static int told(const char *what, int result) {
    printf("%s: %s: %s\n", title, what, result < 0 ? strerrorname_np(errno) : "ok");
    return result;
}

static void tell(const char *what, long value) {
    printf("%s: %s: %ld\n", title, what, value);
}

static int on = 1;

static int option(int fd, int level, int name) {
    return setsockopt(fd, level, name, &on, sizeof on);
}

static int value_of(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    getsockopt(fd, level, name, &value, &length);
    return value;
}

static int tcp4(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static int tcp6(void) { return socket(AF_INET6, SOCK_STREAM, 0); }
static int udp4(void) { return socket(AF_INET, SOCK_DGRAM, 0); }
static int udp6(void) { return socket(AF_INET6, SOCK_DGRAM, 0); }

static int only(int fd) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    return fd;
}

static int both(int fd) {
    int off = 0;
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    return fd;
}

static int reusing(int fd) {
    option(fd, SOL_SOCKET, SO_REUSEADDR);
    return fd;
}

static int sharing(int fd) {
    option(fd, SOL_SOCKET, SO_REUSEPORT);
    return fd;
}

static struct sockaddr_storage address(const char *host, int at, socklen_t *length) {
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)at);
        *length = sizeof *in;
        return storage;
    }
    inet_pton(AF_INET6, host, &in6->sin6_addr);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)at);
    *length = sizeof *in6;
    return storage;
}

static int bind_at(int fd, const char *host, int at) {
    socklen_t length;
    struct sockaddr_storage storage = address(host, at, &length);
    return bind(fd, (struct sockaddr *)&storage, length);
}

static int binds(int fd, const char *host) {
    char what[64];
    snprintf(what, sizeof what, "bind %s", host);
    return told(what, bind_at(fd, host, port));
}

static int listens(int fd) { return told("listen", listen(fd, 8)); }

static int connects(const char *host) {
    socklen_t length;
    struct sockaddr_storage storage = address(host, port, &length);
    int fd = socket(storage.ss_family, SOCK_STREAM, 0);
    char what[64];
    snprintf(what, sizeof what, "connect %s", host);
    told(what, connect(fd, (struct sockaddr *)&storage, length));
    return fd;
}

static void sends(const char *host) {
    socklen_t length;
    struct sockaddr_storage storage = address(host, port, &length);
    int fd = socket(storage.ss_family, SOCK_DGRAM, 0);
    told("send", (int)sendto(fd, "x", 1, 0, (struct sockaddr *)&storage, length));
    close(fd);
}

static void receives(int fd) {
    char byte;
    struct timeval limit = {.tv_usec = 300000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    told("receive", (int)recv(fd, &byte, 1, 0));
}

/* How many of 64 datagrams from as many sources arrive at one of these sockets. */
static void counts(const char *host, const int *fds, int n) {
    socklen_t length;
    struct sockaddr_storage storage = address(host, port, &length);
    int got = 0;
    char byte;
    for (int i = 0; i < 64; i++) {
        int fd = socket(storage.ss_family, SOCK_DGRAM, 0);
        sendto(fd, "x", 1, 0, (struct sockaddr *)&storage, length);
        close(fd);
    }
    for (int i = 0; i < n; i++)
        while (recv(fds[i], &byte, 1, MSG_DONTWAIT) == 1)
            got++;
    tell("received", got);
}

static void serves(int fd, const char *from) {
    listens(fd);
    int client = connects(from);
    int server = accept(fd, NULL, NULL);
    told("accept", server);
    close(client);
    close(server);
}

static void tcp4_any(void) { int fd = tcp4(); binds(fd, "0.0.0.0"); serves(fd, "127.0.0.1"); }
static void tcp4_loopback(void) { int fd = tcp4(); binds(fd, "127.0.0.1"); serves(fd, "127.0.0.1"); }
static void tcp4_other_loopback(void) { int fd = tcp4(); binds(fd, "127.9.9.9"); serves(fd, "127.9.9.9"); connects("127.0.0.1"); }
static void tcp6_both(void) { int fd = both(tcp6()); binds(fd, "::"); serves(fd, "127.0.0.1"); serves(fd, "::1"); }
static void tcp6_only(void) { int fd = only(tcp6()); binds(fd, "::"); serves(fd, "::1"); connects("127.0.0.1"); }
static void tcp6_loopback(void) { int fd = tcp6(); binds(fd, "::1"); serves(fd, "::1"); }
static void tcp6_mapped(void) { int fd = both(tcp6()); binds(fd, "::ffff:127.0.0.1"); serves(fd, "127.0.0.1"); }
static void tcp6_mapped_any(void) { int fd = both(tcp6()); binds(fd, "::ffff:0.0.0.0"); serves(fd, "127.0.0.1"); connects("::1"); }
static void tcp6_only_mapped(void) { binds(only(tcp6()), "::ffff:127.0.0.1"); }
static void tcp_both_families(void) {
    int four = tcp4(), six = only(tcp6());
    binds(four, "0.0.0.0");
    binds(six, "::");
    serves(four, "127.0.0.1");
    serves(six, "::1");
}
static void tcp_both_families_reversed(void) {
    int four = tcp4(), six = only(tcp6());
    binds(six, "::");
    binds(four, "0.0.0.0");
    serves(six, "::1");
    serves(four, "127.0.0.1");
}
static void tcp_dual_then_four(void) { binds(both(tcp6()), "::"); binds(tcp4(), "0.0.0.0"); }
static void tcp_four_then_dual(void) { binds(tcp4(), "127.0.0.1"); binds(both(tcp6()), "::"); }
static void tcp_any_then_specific(void) { binds(tcp4(), "0.0.0.0"); binds(tcp4(), "127.0.0.1"); }
static void tcp_specific_ones(void) { binds(tcp4(), "127.0.0.1"); binds(tcp4(), "127.0.0.2"); binds(tcp4(), "127.0.0.1"); }
static void tcp_twice(void) { int fd = tcp4(); binds(fd, "0.0.0.0"); binds(fd, "0.0.0.0"); binds(fd, "127.0.0.1"); }
static void tcp_two(void) { binds(tcp4(), "0.0.0.0"); binds(tcp4(), "0.0.0.0"); }
static void tcp_two_reusing(void) {
    int one = reusing(tcp4()), two = reusing(tcp4());
    binds(one, "0.0.0.0");
    binds(two, "0.0.0.0");
    listens(one);
    listens(two);
    binds(reusing(tcp4()), "0.0.0.0");
}
static void tcp_one_reusing(void) { binds(reusing(tcp4()), "0.0.0.0"); binds(tcp4(), "0.0.0.0"); }
static void tcp_two_sharing(void) {
    int one = sharing(tcp4()), two = sharing(tcp4());
    binds(one, "0.0.0.0");
    listens(one);
    binds(two, "0.0.0.0");
    listens(two);
    close(one);
    serves(two, "127.0.0.1");
}
static void tcp_first_sharing(void) { binds(sharing(tcp4()), "0.0.0.0"); binds(tcp4(), "0.0.0.0"); }
static void tcp_second_sharing(void) { binds(tcp4(), "0.0.0.0"); binds(sharing(tcp4()), "0.0.0.0"); }
static void tcp6_two_sharing(void) {
    int one = sharing(only(tcp6())), two = sharing(only(tcp6()));
    binds(one, "::");
    binds(two, "::");
    listens(one);
    listens(two);
    binds(reusing(only(tcp6())), "::");
}
static void listen_unbound(void) { int fd = tcp4(); listens(fd); told("listen again", listen(fd, 1)); }
static void listen_again(void) { int fd = tcp4(); binds(fd, "0.0.0.0"); listens(fd); told("again", listen(fd, 1)); told("negative", listen(fd, -1)); serves(fd, "127.0.0.1"); }
static void listen_udp(void) { int fd = udp4(); listens(fd); binds(fd, "0.0.0.0"); listens(fd); }
static void listen_nothing(void) { told("closed", listen(999, 1)); told("negative", listen(-1, 1)); told("file", listen(open("/dev/null", O_RDONLY), 1)); }
static void listen_connected(void) {
    int server = tcp4();
    binds(server, "0.0.0.0");
    listens(server);
    int client = connects("127.0.0.1");
    told("listen", listen(client, 1));
    told("listen", listen(accept(server, NULL, NULL), 1));
}
static void listen_after_shutdown(void) {
    int fd = tcp4();
    binds(fd, "0.0.0.0");
    listens(fd);
    told("shutdown", shutdown(fd, SHUT_RDWR));
    serves(fd, "127.0.0.1");
}
static void udp4_any(void) { int fd = udp4(); binds(fd, "0.0.0.0"); sends("127.0.0.1"); receives(fd); }
static void udp4_loopback(void) { int fd = udp4(); binds(fd, "127.0.0.1"); sends("127.0.0.1"); receives(fd); }
static void udp6_both(void) { int fd = both(udp6()); binds(fd, "::"); sends("127.0.0.1"); receives(fd); sends("::1"); receives(fd); }
static void udp6_only(void) { int fd = only(udp6()); binds(fd, "::"); sends("::1"); receives(fd); }
static void udp6_loopback(void) { int fd = udp6(); binds(fd, "::1"); sends("::1"); receives(fd); }
static void udp6_mapped(void) { int fd = both(udp6()); binds(fd, "::ffff:127.0.0.1"); sends("127.0.0.1"); receives(fd); }
static void udp_both_families(void) {
    int four = udp4(), six = only(udp6());
    binds(four, "0.0.0.0");
    binds(six, "::");
    sends("127.0.0.1");
    receives(four);
    sends("::1");
    receives(six);
}
static void udp_both_families_reversed(void) {
    int four = udp4(), six = only(udp6());
    binds(six, "::");
    binds(four, "0.0.0.0");
    sends("127.0.0.1");
    receives(four);
    sends("::1");
    receives(six);
}
static void udp_two(void) { binds(udp4(), "0.0.0.0"); binds(udp4(), "0.0.0.0"); binds(both(udp6()), "::"); }
static void udp_any_then_specific(void) { binds(udp4(), "0.0.0.0"); binds(udp4(), "127.0.0.1"); }
static void udp_two_reusing(void) {
    int one = reusing(udp4()), two = reusing(udp4());
    binds(one, "0.0.0.0");
    binds(two, "0.0.0.0");
    binds(udp4(), "0.0.0.0");
    sends("127.0.0.1");
    receives(two);
}
static void udp6_two_reusing(void) {
    int one = reusing(both(udp6())), two = reusing(both(udp6()));
    binds(one, "::");
    binds(two, "::");
    binds(udp6(), "::");
    int fds[] = {one, two};
    counts("::1", fds, 2);
    counts("127.0.0.1", fds, 2);
    close(one);
    counts("::1", &two, 1);
}
static void udp_sharing_any(int (*open_one)(void), const char *host, const char *to) {
    int fds[4];
    for (int i = 0; i < 4; i++)
        binds(fds[i] = sharing(open_one()), host);
    binds(open_one(), host);
    counts(to, fds, 4);
    close(fds[0]);
    counts(to, fds + 1, 3);
    close(fds[3]);
    counts(to, fds + 1, 2);
    binds(fds[0] = sharing(open_one()), host);
    counts(to, fds, 3);
}
static void udp4_sharing(void) { udp_sharing_any(udp4, "0.0.0.0", "127.0.0.1"); }
static void udp4_sharing_loopback(void) { udp_sharing_any(udp4, "127.0.0.1", "127.0.0.1"); }
static void udp6_sharing(void) { udp_sharing_any(udp6, "::", "::1"); }
static void udp6_sharing_four(void) { udp_sharing_any(udp6, "::", "127.0.0.1"); }
static void udp6_sharing_loopback(void) { udp_sharing_any(udp6, "::1", "::1"); }
static void udp_first_sharing(void) { binds(sharing(udp4()), "0.0.0.0"); binds(udp4(), "0.0.0.0"); }
static void udp_second_sharing(void) { binds(udp4(), "0.0.0.0"); binds(sharing(udp4()), "0.0.0.0"); }
static void udp_again(void) {
    for (int i = 0; i < 5; i++) {
        int fd = both(udp6());
        binds(fd, "::");
        counts("::1", &fd, 1);
        counts("127.0.0.1", &fd, 1);
        close(fd);
    }
}
static void udp_connected(void) {
    int fd = udp4();
    socklen_t length;
    struct sockaddr_storage peer = address("127.0.0.1", 9, &length);
    binds(fd, "127.0.0.1");
    told("connect", connect(fd, (struct sockaddr *)&peer, length));
    binds(fd, "127.0.0.1");
    sends("127.0.0.1");
    receives(fd);
}
static void udp_multicast(void) { binds(udp4(), "224.0.0.251"); binds(udp6(), "ff02::fb"); binds(tcp4(), "224.0.0.251"); binds(udp4(), "255.255.255.255"); }
static void bad_descriptors(void) {
    int ends[2];
    binds(-1, "0.0.0.0");
    binds(999, "0.0.0.0");
    binds(open("/dev/null", O_RDONLY), "0.0.0.0");
    binds(open("/dev/null", O_PATH), "0.0.0.0");
    told("pipe", pipe(ends));
    binds(ends[0], "0.0.0.0");
    int fd = tcp4();
    close(fd);
    binds(fd, "0.0.0.0");
}
static void bad_pointers(void) {
    int fd = tcp4();
    told("null", bind(fd, NULL, 16));
    told("high", bind(fd, (struct sockaddr *)(uintptr_t)-4096, 16));
    told("low", bind(fd, (struct sockaddr *)1, 28));
    told("null, no length", bind(fd, NULL, 0));
    binds(fd, "0.0.0.0");
}
static void bad_lengths(void) {
    static const int lengths[] = {0, 1, 2, 15, 129, 4096, -1, -2147483648};
    socklen_t length;
    struct sockaddr_storage storage = address("0.0.0.0", port, &length);
    int fd = tcp4();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        told("bind", bind(fd, (struct sockaddr *)&storage, (socklen_t)lengths[i]));
    told("bind of 128", bind(fd, (struct sockaddr *)&storage, 128));
}
static void short_six(void) {
    socklen_t length;
    struct sockaddr_storage storage = address("::1", port, &length);
    int fd = tcp6();
    told("bind of 16", bind(fd, (struct sockaddr *)&storage, 16));
    told("bind of 23", bind(fd, (struct sockaddr *)&storage, 23));
    told("bind of 24", bind(fd, (struct sockaddr *)&storage, 24));
    serves(fd, "::1");
}
static void wrong_families(void) {
    socklen_t length;
    struct sockaddr_storage storage = address("0.0.0.0", port, &length);
    binds(tcp4(), "::1");
    binds(tcp6(), "127.0.0.1");
    storage.ss_family = 77;
    told("family 77", bind(tcp4(), (struct sockaddr *)&storage, length));
    storage.ss_family = AF_UNSPEC;
    told("unspecified of six", bind(tcp6(), (struct sockaddr *)&storage, 28));
    told("unspecified", bind(tcp4(), (struct sockaddr *)&storage, length));
    ((struct sockaddr_in *)&storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    told("unspecified loopback", bind(tcp4(), (struct sockaddr *)&storage, length));
}
static void not_local(void) {
    int fd = tcp4(), six = tcp6();
    binds(fd, "203.0.113.7");
    binds(six, "2001:db8::7");
    option(fd, IPPROTO_IP, IP_FREEBIND);
    binds(fd, "203.0.113.7");
    listens(fd);
    binds(udp4(), "203.0.113.7");
}
static void link_local(void) { binds(tcp6(), "fe80::1"); binds(udp6(), "fe80::1"); }
static void other_ports(void) {
    int fd = tcp4();
    told("port 0", bind_at(fd, "127.0.0.1", 0));
    listens(fd);
    told("port 0", bind_at(both(udp6()), "::", 0));
}
static void as_a_client(void) {
    int server = tcp4(), client = tcp4();
    socklen_t length;
    struct sockaddr_storage peer = address("127.0.0.2", port, &length);
    binds(server, "127.0.0.2");
    listens(server);
    binds(client, "127.0.0.1");
    told("connect", connect(client, (struct sockaddr *)&peer, length));
    binds(client, "127.0.0.1");
    struct sockaddr_in from;
    length = sizeof from;
    accept(server, (struct sockaddr *)&from, &length);
    tell("from the port", ntohs(from.sin_port) == port);
}
static void after_connect(void) {
    int server = tcp4();
    told("bind elsewhere", bind_at(server, "127.0.0.1", 0));
    listens(server);
    struct sockaddr_in there;
    socklen_t length = sizeof there;
    getsockname(server, (struct sockaddr *)&there, &length);
    int client = tcp4();
    told("connect", connect(client, (struct sockaddr *)&there, length));
    binds(client, "127.0.0.1");
}
static void on_a_device(void) {
    int fd = tcp4(), datagram = udp4();
    told("device", setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
    binds(fd, "0.0.0.0");
    serves(fd, "127.0.0.1");
    told("device", setsockopt(datagram, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
    binds(datagram, "0.0.0.0");
    sends("127.0.0.1");
    receives(datagram);
    tell("is bound to one", value_of(datagram, SOL_SOCKET, SO_BINDTOIFINDEX) != 0);
    binds(tcp4(), "0.0.0.0");
}
static void looks(int fd) {
    struct stat status;
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    told("getsockname", getsockname(fd, (struct sockaddr *)&name, &length));
    tell("length", length);
    tell("port", ntohs(((struct sockaddr_in *)&name)->sin_port) == port);
    tell("SO_REUSEADDR", value_of(fd, SOL_SOCKET, SO_REUSEADDR));
    tell("SO_REUSEPORT", value_of(fd, SOL_SOCKET, SO_REUSEPORT));
    tell("SO_BINDTOIFINDEX", value_of(fd, SOL_SOCKET, SO_BINDTOIFINDEX));
    tell("SO_ACCEPTCONN", value_of(fd, SOL_SOCKET, SO_ACCEPTCONN));
    tell("SO_ERROR", value_of(fd, SOL_SOCKET, SO_ERROR));
    tell("flags", fcntl(fd, F_GETFL));
    tell("descriptor flags", fcntl(fd, F_GETFD));
    fstat(fd, &status);
    tell("mine", status.st_uid == getuid());
}
static void options_stay(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    option(fd, IPPROTO_TCP, TCP_NODELAY);
    looks(fd);
    binds(reusing(fd), "0.0.0.0");
    looks(fd);
    listens(fd);
    looks(fd);
    tell("TCP_NODELAY", value_of(fd, IPPROTO_TCP, TCP_NODELAY));
    fd = both(udp6());
    binds(fd, "::");
    looks(fd);
}
static void failed_leaves_no_trace(void) {
    int fd = reusing(tcp4());
    binds(fd, "203.0.113.7");
    looks(fd);
    binds(fd, "127.0.0.1");
    looks(fd);
}
static void time_wait(void) {
    int server = tcp4(), one = tcp4();
    binds(server, "127.0.0.1");
    listens(server);
    int client = connects("127.0.0.1");
    int connection = accept(server, NULL, NULL);
    close(connection); /* it closes first: TIME_WAIT is on this side */
    close(client);
    close(server);
    binds(one, "127.0.0.1");
    binds(reusing(tcp4()), "127.0.0.1");
}
static void time_wait_reusing(void) {
    int server = reusing(tcp4()), one = reusing(tcp4());
    binds(server, "127.0.0.1");
    listens(server);
    int client = connects("127.0.0.1");
    close(accept(server, NULL, NULL));
    close(client);
    close(server);
    binds(tcp4(), "127.0.0.1");
    binds(one, "127.0.0.1");
    serves(one, "127.0.0.1");
}
static void open_connection(void) {
    int server = tcp4();
    binds(server, "0.0.0.0");
    listens(server);
    connects("127.0.0.1");
    accept(server, NULL, NULL);
    close(server);
    binds(tcp4(), "0.0.0.0");
    binds(reusing(tcp4()), "0.0.0.0");
}
static void open_connection_reusing(void) {
    int server = reusing(tcp4()), next = reusing(tcp4());
    binds(server, "0.0.0.0");
    listens(server);
    connects("127.0.0.1");
    accept(server, NULL, NULL);
    close(server);
    binds(tcp4(), "0.0.0.0");
    binds(next, "0.0.0.0");
    serves(next, "127.0.0.1");
}
static void again_and_again(void) {
    for (int i = 0; i < 5; i++) {
        int fd = tcp4();
        binds(fd, "0.0.0.0");
        listens(fd);
        close(fd);
    }
}
static void in_a_child(void) {
    int fd = tcp4(), status;
    fflush(stdout);
    if (fork() == 0) {
        binds(fd, "0.0.0.0");
        fflush(stdout);
        _exit(0);
    }
    wait(&status);
    serves(fd, "127.0.0.1");
}
static void *bind_in_thread(void *data) {
    binds(*(int *)data, "0.0.0.0");
    return NULL;
}
static void in_a_thread(void) {
    int fd = tcp4();
    pthread_t thread;
    pthread_create(&thread, NULL, bind_in_thread, &fd);
    pthread_join(thread, NULL);
    serves(fd, "127.0.0.1");
}
static void *unshared_thread(void *data) {
    (void)data;
    unshare(CLONE_FILES);
    int fd = tcp4();
    binds(fd, "0.0.0.0");
    serves(fd, "127.0.0.1");
    return NULL;
}
static void in_a_thread_of_its_own(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, unshared_thread, NULL);
    pthread_join(thread, NULL);
}
static void duplicates(void) {
    int fd = tcp4(), copy = dup(fd);
    binds(copy, "0.0.0.0");
    close(copy);
    serves(fd, "127.0.0.1");
}
static void after_exec(void) {
    int status, fd = tcp4();
    char number[16], at[16];
    snprintf(number, sizeof number, "%d", fd);
    snprintf(at, sizeof at, "%d", port);
    fflush(stdout);
    if (fork() == 0) {
        execl("/proc/self/exe", "bind-cases", "--inherited", number, at, (char *)NULL);
        _exit(1);
    }
    wait(&status);
    tell("child", status);
    serves(fd, "127.0.0.1");
}
static void unix_sockets(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(name.sun_path + 1, 32, "berth-cases-%d", getpid());
    told("abstract", bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 32)));
    listens(fd);
    snprintf(name.sun_path, 64, "/tmp/berth-cases-%d", getpid());
    told("path", bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&name, sizeof name));
    told("again", bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&name, sizeof name));
    unlink(name.sun_path);
}
static void netlink(void) {
    struct sockaddr_nl name = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    told("bind", bind(fd, (struct sockaddr *)&name, sizeof name));
    listens(fd);
}
static void other_protocols(void) {
    int lite = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
    binds(lite, "0.0.0.0");
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    binds(raw, "127.0.0.1");
}
static void nothing(int signal) { (void)signal; }
static void under_signals(void) {
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    int failures = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 200; i++) {
        int fd = tcp4();
        failures += bind_at(fd, "127.0.0.1", port) != 0;
        failures += listen(fd, 1) != 0;
        close(fd);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    tell("failures", failures);
}

static const struct {
    const char *title;
    void (*run)(void);
} cases[] = {
#define CASE(name) {#name, name}
    CASE(tcp4_any), CASE(tcp4_loopback), CASE(tcp4_other_loopback), CASE(tcp6_both), CASE(tcp6_only), CASE(tcp6_loopback),
    CASE(tcp6_mapped), CASE(tcp6_mapped_any), CASE(tcp6_only_mapped), CASE(tcp_both_families),
    CASE(tcp_both_families_reversed), CASE(tcp_dual_then_four), CASE(tcp_four_then_dual), CASE(tcp_any_then_specific),
    CASE(tcp_specific_ones), CASE(tcp_twice), CASE(tcp_two), CASE(tcp_two_reusing), CASE(tcp_one_reusing),
    CASE(tcp_two_sharing), CASE(tcp_first_sharing), CASE(tcp_second_sharing), CASE(tcp6_two_sharing),
    CASE(listen_unbound), CASE(listen_again), CASE(listen_udp), CASE(listen_nothing), CASE(listen_connected),
    CASE(listen_after_shutdown), CASE(udp4_any), CASE(udp4_loopback), CASE(udp6_both), CASE(udp6_only),
    CASE(udp6_loopback), CASE(udp6_mapped), CASE(udp_both_families), CASE(udp_both_families_reversed), CASE(udp_two),
    CASE(udp_any_then_specific), CASE(udp_two_reusing), CASE(udp6_two_reusing), CASE(udp4_sharing),
    CASE(udp4_sharing_loopback), CASE(udp6_sharing), CASE(udp6_sharing_four), CASE(udp6_sharing_loopback),
    CASE(udp_first_sharing), CASE(udp_second_sharing), CASE(udp_again), CASE(udp_connected), CASE(udp_multicast),
    CASE(bad_descriptors), CASE(bad_pointers), CASE(bad_lengths), CASE(short_six), CASE(wrong_families), CASE(not_local),
    CASE(link_local), CASE(other_ports), CASE(as_a_client), CASE(after_connect), CASE(on_a_device), CASE(options_stay),
    CASE(failed_leaves_no_trace), CASE(time_wait), CASE(time_wait_reusing), CASE(open_connection),
    CASE(open_connection_reusing), CASE(again_and_again), CASE(in_a_child), CASE(in_a_thread),
    CASE(in_a_thread_of_its_own), CASE(duplicates), CASE(after_exec), CASE(unix_sockets), CASE(netlink),
    CASE(other_protocols), CASE(under_signals),
};

enum { COUNT = sizeof cases / sizeof *cases };

/* In a process of its own, so that its sockets go with it. */
static void run_case(int index) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        title = cases[index].title;
        cases[index].run();
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (status != 0)
        printf("%s: ended with %#x\n", cases[index].title, status);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--count") == 0)
        return printf("%d\n", COUNT) < 0;
    if (argc == 4 && strcmp(argv[1], "--inherited") == 0) {
        title = "after_exec";
        port = atoi(argv[3]);
        binds(atoi(argv[2]), "0.0.0.0");
        return 0;
    }
    if (argc < 1 + COUNT) {
        fprintf(stderr, "usage: bind-cases PORT... (%d of them)\n", COUNT);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < COUNT; i++) {
        port = atoi(argv[1 + i]);
        run_case(i);
    }
    return 0;
}
