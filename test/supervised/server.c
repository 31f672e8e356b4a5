/*
 * Servers that bind by themselves in the ways that servers do, for the tests of the supervised bind.
 *
 *     server prefork PORT             the parent binds TCP and UDP, four children serve both
 *     server reuseport PORT           four processes, each with TCP and UDP sockets of its own by SO_REUSEPORT
 *     server datagrams PORT ADDRESS…  a UDP socket at each address (an IPv6 one for IPv6 only)
 *     server shared PORT ADDRESS…     the same with SO_REUSEADDR, so that one address may be part of another
 *
 * Each answers a connection or a datagram with a line, its process's number or the address, and tells systemd when all
 * is bound (Type=notify, NotifyAccess=all).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_SOCKETS = 8, PROCESSES = 4 };

static struct pollfd sockets[MAX_SOCKETS];
static const char *answers[MAX_SOCKETS];
static int types[MAX_SOCKETS];
static nfds_t used;

_Noreturn static void die(const char *what) {
    fprintf(stderr, "server: %s: %s\n", what, strerrorname_np(errno));
    exit(1);
}

static void notify_ready(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        return;
    strcpy(address.sun_path, path);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd < 0 || sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, length) < 0)
        die("notify");
    close(fd);
}

/* `option` is SO_REUSEADDR, SO_REUSEPORT or 0. */
static void add(int type, const char *address, int port, int option, int v6only) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int is_inet = inet_pton(AF_INET, address, &in.sin_addr) == 1, on = 1;
    if (used == MAX_SOCKETS || (!is_inet && inet_pton(AF_INET6, address, &in6.sin6_addr) != 1))
        die("the address");
    int fd = socket(is_inet ? AF_INET : AF_INET6, type | SOCK_NONBLOCK, 0);
    /* As nearly every server does with streams, because of the connections of its last run (tcp(7), TIME_WAIT). */
    option = type == SOCK_STREAM && option == 0 ? SO_REUSEADDR : option;
    if (fd < 0 || (option != 0 && setsockopt(fd, SOL_SOCKET, option, &on, sizeof on) < 0) ||
        (v6only && !is_inet && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0))
        die("socket");
    if ((is_inet ? bind(fd, (struct sockaddr *)&in, sizeof in) : bind(fd, (struct sockaddr *)&in6, sizeof in6)) < 0)
        die(type == SOCK_STREAM ? "bind of a stream" : "bind of datagrams");
    if (type == SOCK_STREAM && listen(fd, 128) < 0)
        die("listen");
    answers[used] = address;
    types[used] = type;
    sockets[used++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void answer(nfds_t index, const char *line) {
    int fd = sockets[index].fd;
    if (types[index] == SOCK_STREAM) {
        int connection = accept(fd, NULL, NULL); /* another process may have been quicker */
        if (connection < 0)
            return;
        send(connection, line, strlen(line), MSG_NOSIGNAL);
        close(connection);
        return;
    }
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    char discarded[64];
    if (recvfrom(fd, discarded, sizeof discarded, 0, (struct sockaddr *)&from, &size) >= 0)
        sendto(fd, line, strlen(line), 0, (struct sockaddr *)&from, size);
}

_Noreturn static void serve(int by_address) {
    char line[64];
    for (;;) {
        if (poll(sockets, used, -1) < 0)
            die("poll");
        for (nfds_t i = 0; i < used; i++) {
            if (sockets[i].revents == 0)
                continue;
            if (by_address)
                snprintf(line, sizeof line, "%s\n", answers[i]);
            else
                snprintf(line, sizeof line, "%d\n", (int)getpid());
            answer(i, line);
        }
    }
}

static void bind_both(int port, int option) {
    add(SOCK_STREAM, "::", port, option, 0);
    add(SOCK_DGRAM, "::", port, option, 0);
}

/* Returns when each child has bound, if it is the children who do. */
static void fork_servers(int port, int each_binds) {
    int ready[2];
    char byte;
    if (pipe(ready) < 0)
        die("pipe");
    for (int i = 0; i < PROCESSES; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (each_binds)
            bind_both(port, SO_REUSEPORT);
        if (write(ready[1], "", 1) != 1)
            die("write");
        serve(0);
    }
    close(ready[1]);
    for (int i = 0; i < PROCESSES; i++)
        if (read(ready[0], &byte, 1) != 1)
            exit(1); /* a child has said why */
    close(ready[0]);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    int port = atoi(argv[2]);
    int shared = strcmp(argv[1], "shared") == 0;
    if (shared || strcmp(argv[1], "datagrams") == 0) {
        for (int i = 3; i < argc; i++)
            add(SOCK_DGRAM, argv[i], port, shared ? SO_REUSEADDR : 0, 1);
        notify_ready();
        serve(1);
    }
    int each_binds = strcmp(argv[1], "reuseport") == 0;
    if (!each_binds)
        bind_both(port, 0);
    fork_servers(port, each_binds);
    notify_ready();
    wait(NULL); /* one that ends ends all */
    return 1;
}
