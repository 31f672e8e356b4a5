/* portrelease, which portreserve's users run before their service: it has berthd let go of the ports. Its exit statuses
 * are those of portreserve's manual: 0 for a best effort, whatever came of it, and another when berthd is there but could
 * not be talked to. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "claim.h"

enum { MAX_REQUEST = 64 * 1024, EXIT_UNREACHED = 1 };

static int give_up(const char *what, const char *why) {
    fprintf(stderr, "portrelease: %s: %s\n", what, why);
    return EXIT_UNREACHED;
}

/* {"method":"Release","parameters":{"names":["cups","*"]}}. False when it grows too long. */
static int compose(char *text, size_t room, char **names) {
    size_t length = (size_t)snprintf(text, room, "{\"method\":\"Release\",\"parameters\":{\"names\":[");
    const char *comma = "";
    for (; *names != NULL; names++) {
        if (strcmp(*names, "*") != 0 && !is_name(*names)) {
            fprintf(stderr, "portrelease: there is no such reservation: names are of letters, digits, and _ . @ -\n");
            continue;
        }
        length += (size_t)snprintf(text + length, room - length, "%s\"%s\"", comma, *names);
        if (length + sizeof "]}}" > room)
            return 0;
        comma = ",";
    }
    strcpy(text + length, "]}}");
    return 1;
}

/* Sends a request and receives the answer. Returns its length: 0 when berthd has closed the connection without one, and
 * -1 with errno when it cannot be talked to. */
static ssize_t exchange(const char *control, const char *request, char *answer, size_t room) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 60}; /* as berth-claim: longer than any restart of berthd takes */
    ssize_t length = -1;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", control);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    /* Where sending fails berthd may have refused already, and its reason waits to be read. */
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        (send(fd, request, strlen(request), MSG_NOSIGNAL) >= 0 || errno == EPIPE || errno == ECONNRESET)) {
        length = recv(fd, answer, room - 1, 0);
        if (length < 0 && errno == ECONNRESET)
            length = 0;
        answer[length < 0 ? 0 : length] = '\0';
    }
    int error = errno;
    close(fd);
    errno = error;
    return length;
}

int release(const char *control, char **names) {
    static char request[MAX_REQUEST], answer[4096], reason[1024];
    if (strlen(control) >= sizeof ((struct sockaddr_un *)NULL)->sun_path)
        return give_up(control, "the path of the control socket is too long");
    if (!compose(request, sizeof request, names))
        return give_up(control, "too many names");
    /* A berthd that ends takes the connections along that it has accepted: the next one is asked again. */
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        ssize_t length = exchange(control, request, answer, sizeof answer);
        if (length < 0)
            /* Where nobody serves the socket, nobody holds anything that could be released. */
            return errno == ENOENT || errno == ECONNREFUSED ? EXIT_SUCCESS : give_up(control, strerror(errno));
        if (length == 0)
            continue;
        const char *why = strstr(answer, "\"message\":\"");
        if (why != NULL && copy_string(why + 11, reason, sizeof reason)) {
            make_printable(reason);
            fprintf(stderr, "portrelease: %s\n", reason);
        }
        return EXIT_SUCCESS;
    }
    return give_up(control, "berthd closes the connection without an answer");
}
