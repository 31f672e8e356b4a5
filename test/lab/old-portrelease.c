/*
 * The calls of portreserve's own portrelease, for the lab: for each argument a datagram of its own to portreserve's socket,
 * without waiting for anything. Where nobody has bound that, there is nothing to do, and that is no failure.
 *
 *     old-portrelease NAME...
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/var/run/portreserve/socket"};
    for (int i = 1; i < argc; i++) {
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        if (fd < 0)
            return 1;
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
            send(fd, argv[i], strlen(argv[i]), 0) < 0) {
            /* It does not look. */
        }
        close(fd);
    }
    return 0;
}
