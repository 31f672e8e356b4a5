/* on-command PORT: a supervised program that makes one call for each line that it reads, and prints what came of it.
 *
 *     bind      TCP on all addresses of IPv6 and IPv4    `bind 0`, or the errno
 *     listen    of that socket                            `listen 0`; it has been reached at the port then
 *     datagram  bind(2) of UDP, the same addresses        `datagram 0`; a datagram has come through then
 *     close     of all                                    `close 0`
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in6 all = {.sin6_family = AF_INET6}, loopback = {.sin6_family = AF_INET6};
static int stream = -1, datagram = -1;

static int bind_all(int fd) {
    return bind(fd, (struct sockaddr *)&all, sizeof all) < 0 ? errno : 0;
}

/* Of what arrives at a socket by another one of this process. */
static int is_reached(int fd, int type) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    int client = socket(AF_INET6, type, 0);
    int sent = connect(client, (struct sockaddr *)&loopback, sizeof loopback) == 0 &&
               (type == SOCK_STREAM || send(client, "x", 1, 0) == 1);
    int error = !sent ? errno : poll(&entry, 1, 5000) == 1 ? 0 : ETIMEDOUT;
    if (type == SOCK_STREAM && error == 0) {
        struct linger reset = {.l_onoff = 1}; /* nothing in TIME_WAIT shall be in the way of the next bind(2) */
        int connection = accept(fd, NULL, NULL);
        setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(connection);
    }
    close(client);
    return error;
}

static int close_all(void) {
    close(stream);
    close(datagram);
    stream = datagram = -1;
    return 0;
}

static int obey(const char *command) {
    int error;
    if (strcmp(command, "bind") == 0)
        return bind_all(stream = socket(AF_INET6, SOCK_STREAM, 0));
    if (strcmp(command, "listen") == 0) {
        error = listen(stream, 8) < 0 ? errno : 0;
        return error != 0 ? error : is_reached(stream, SOCK_STREAM);
    }
    if (strcmp(command, "datagram") == 0) {
        error = bind_all(datagram = socket(AF_INET6, SOCK_DGRAM, 0));
        return error != 0 ? error : is_reached(datagram, SOCK_DGRAM);
    }
    return strcmp(command, "close") == 0 ? close_all() : EINVAL;
}

int main(int argc, char **argv) {
    char line[64];
    if (argc != 2)
        return 2;
    all.sin6_port = loopback.sin6_port = htons((uint16_t)atoi(argv[1]));
    loopback.sin6_addr = in6addr_loopback;
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        printf("%s %d\n", line, obey(line));
        fflush(stdout);
    }
    return 0;
}
