/*
 * A small real server: HTTP over TCP, and an echo over UDP. Every answer begins with its process number.
 *
 *     demo-server                     serves on the descriptors that it was passed (LISTEN_FDS, sd_listen_fds(3))
 *     demo-server HOLDER HOST PORT    the old way: has the holder at the socket HOLDER let go of the port, then binds it
 *
 * Serves one request at a time, until SIGTERM. Ends with 1 when it cannot have its port.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FD = 3 };

static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

_Noreturn static void die(const char *what) {
    fprintf(stderr, "demo-server: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Puts what was passed into its place by type. */
static void take_passed(int *tcp, int *udp) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (pid == NULL || count == NULL || atoi(pid) != getpid())
        return;
    for (int fd = FIRST_FD; fd < FIRST_FD + atoi(count); fd++) {
        int type = 0;
        socklen_t length = sizeof type;
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
        *(type == SOCK_STREAM ? tcp : udp) = fd;
    }
}

/* What portrelease does: asks, and waits until the port is free. */
static void release(const char *holder) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char answer;
    if (strlen(holder) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die(holder);
    }
    strcpy(address.sun_path, holder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || write(fd, "release\n", 8) != 8 ||
        read(fd, &answer, 1) != 1)
        die("cannot ask the holder to let go");
    close(fd);
}

static int bind_one(int type, const struct sockaddr_in *address) {
    int on = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0)
        die(type == SOCK_STREAM ? "cannot bind the TCP port" : "cannot bind the UDP port");
    if (type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0)
        die("cannot listen on the TCP port");
    return fd;
}

static void serve_tcp(int listener) {
    static const struct timeval patience = {.tv_sec = 1};
    char request[2048], answer[256];
    size_t length = 0;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (length < sizeof request - 1) {
        ssize_t got = read(fd, request + length, sizeof request - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
        request[length] = '\0';
        if (strstr(request, "\r\n\r\n") == NULL)
            continue;
        int size = snprintf(answer, sizeof answer,
                            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%d serves\n", getpid());
        if (send(fd, answer, (size_t)size, MSG_NOSIGNAL) < 0) {
            /* The client has gone, which is its own affair. */
        }
        break;
    }
    close(fd);
}

static void serve_udp(int fd) {
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    char packet[1500];
    int head = snprintf(packet, sizeof packet, "%d ", getpid());
    ssize_t got = recvfrom(fd, packet + head, sizeof packet - (size_t)head, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
    if (got >= 0)
        sendto(fd, packet, (size_t)(head + got), MSG_DONTWAIT, (struct sockaddr *)&from, length);
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = stop};
    sigset_t blocked, open;
    int tcp = -1, udp = -1;
    /* Blocked but for the wait, so that a signal never falls between the look at `stopped` and the wait. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &open);
    sigdelset(&open, SIGTERM);
    sigaction(SIGTERM, &action, NULL);

    take_passed(&tcp, &udp);
    if (argc == 4) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
        inet_pton(AF_INET, argv[2], &address.sin_addr);
        release(argv[1]);
        tcp = bind_one(SOCK_STREAM, &address);
        udp = bind_one(SOCK_DGRAM, &address);
    }
    if (tcp < 0 || udp < 0) {
        fputs("demo-server: wants a TCP and a UDP socket, passed by berth-claim, or HOLDER HOST PORT\n", stderr);
        return 2;
    }
    fcntl(tcp, F_SETFL, O_NONBLOCK); /* a client may have gone between the wait and accept(2) */
    struct pollfd fds[] = {{.fd = tcp, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
    while (!stopped) {
        if (ppoll(fds, 2, NULL, &open) < 0)
            continue; /* SIGTERM */
        if (fds[0].revents != 0)
            serve_tcp(tcp);
        if (fds[1].revents != 0)
            serve_udp(udp);
    }
    return 0;
}
