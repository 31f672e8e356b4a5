/*
 * The old way, at its kindest: holds a TCP and a UDP port, lets go of both when it is asked to, and takes them back when
 * it is asked to and can.
 *
 *     port-holder SOCKET HOST PORT
 *
 * On a connection to SOCKET it reads one line, "release" or "take", and answers with a digit: the number of ports that it
 * holds then. It says "ready" once it serves. A held port has SO_REUSEADDR off, so that nobody can bind beside it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

_Noreturn static void die(const char *what) {
    fprintf(stderr, "port-holder: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int hold(int type, const struct sockaddr_in *address) {
    int on = 1, off = 0, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if (type == SOCK_STREAM) /* against connections in TIME_WAIT */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
    return fd;
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0)
        die(path);
    return fd;
}

int main(int argc, char **argv) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    struct sockaddr_in address = {.sin_family = AF_INET};
    int held[] = {-1, -1};
    if (argc != 4 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
        fputs("usage: port-holder SOCKET HOST PORT\n", stderr);
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[3]));
    for (int i = 0; i < 2; i++)
        if ((held[i] = hold(types[i], &address)) < 0)
            die("cannot bind the port");
    int listener = listen_at(argv[1]);
    puts("ready");
    fflush(stdout);

    for (;;) {
        char line[16] = "";
        int count = 0, fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept");
        if (read(fd, line, sizeof line - 1) <= 0)
            line[0] = '\0';
        for (int i = 0; i < 2; i++) {
            if (strcmp(line, "release\n") == 0 && held[i] >= 0) {
                close(held[i]);
                held[i] = -1;
            }
            if (strcmp(line, "take\n") == 0 && held[i] < 0)
                held[i] = hold(types[i], &address);
            count += held[i] >= 0;
        }
        char answer = (char)('0' + count);
        if (send(fd, &answer, 1, MSG_NOSIGNAL) < 0) {
            /* Whoever asked has gone. */
        }
        close(fd);
    }
}
