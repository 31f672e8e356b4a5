/* A program that binds, for the tests of the supervised bind.
 *
 *     binder try PORT...   tells of each port what bind(2) of TCP on all addresses of IPv4 says
 *     binder stdin         the same of the ports that it reads, a line each; the sockets stay open
 *     binder serve PORT    listens on TCP and binds UDP, over IPv6 and IPv4, until it is killed; says `ready` to systemd
 *     binder loop PORT     binds and listens, and closes, for ever; tells of each failure, and of each 200 successes
 */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int bind_any(int fd, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static void try_port(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    puts(fd >= 0 && bind_any(fd, port) == 0 && listen(fd, 8) == 0 ? "ok" : strerrorname_np(errno));
    fflush(stdout);
}

static void tell_systemd(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        return;
    strcpy(address.sun_path, path);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, length) < 0)
        perror("binder");
    close(fd);
}

static int serve(int port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int stream = socket(AF_INET6, SOCK_STREAM, 0), datagram = socket(AF_INET6, SOCK_DGRAM, 0);
    if (bind(stream, (struct sockaddr *)&address, sizeof address) < 0 || listen(stream, 8) < 0 ||
        bind(datagram, (struct sockaddr *)&address, sizeof address) < 0)
        return perror("binder"), 1;
    puts("listening");
    fflush(stdout);
    tell_systemd();
    for (;;)
        pause();
}

/* A line for each failure: there must be none, whatever happens to berthd meanwhile. */
static void loop(int port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    for (unsigned long round = 1;; round++) {
        int stream = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET6, SOCK_DGRAM, 0);
        if (bind_any(stream, port) < 0)
            printf("bind: %s\n", strerrorname_np(errno));
        if (listen(stream, 8) < 0)
            printf("listen: %s\n", strerrorname_np(errno));
        if (bind(datagram, (struct sockaddr *)&address, sizeof address) < 0)
            printf("bind of UDP: %s\n", strerrorname_np(errno));
        if (round % 200 == 0)
            printf("round %lu\n", round);
        fflush(stdout);
        close(stream);
        close(datagram);
    }
}

int main(int argc, char **argv) {
    char line[32];
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(atoi(argv[2]));
    if (argc == 3 && strcmp(argv[1], "loop") == 0)
        loop(atoi(argv[2]));
    if (argc == 2 && strcmp(argv[1], "stdin") == 0) {
        while (fgets(line, sizeof line, stdin) != NULL)
            try_port(atoi(line));
        return 0;
    }
    for (int i = 2; i < argc; i++)
        try_port(atoi(argv[i]));
    return 0;
}
