/* A program that binds, for the tests of the supervised bind.
 *
 *     binder try PORT...   tells of each port what bind(2) of TCP on all addresses of IPv4 says
 *     binder stdin         the same of the ports that it reads, a line each; the sockets stay open
 *     binder serve PORT    listens on TCP and binds UDP, over IPv6 and IPv4, until it is killed
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

static int serve(int port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int stream = socket(AF_INET6, SOCK_STREAM, 0), datagram = socket(AF_INET6, SOCK_DGRAM, 0);
    if (bind(stream, (struct sockaddr *)&address, sizeof address) < 0 || listen(stream, 8) < 0 ||
        bind(datagram, (struct sockaddr *)&address, sizeof address) < 0)
        return perror("binder"), 1;
    puts("listening");
    fflush(stdout);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    char line[32];
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(atoi(argv[2]));
    if (argc == 2 && strcmp(argv[1], "stdin") == 0) {
        while (fgets(line, sizeof line, stdin) != NULL)
            try_port(atoi(line));
        return 0;
    }
    for (int i = 2; i < argc; i++)
        try_port(atoi(argv[i]));
    return 0;
}
