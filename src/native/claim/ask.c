/* The asking: one request, answered in one packet for every 253 descriptors. docs/protocol.md fixes the form of the
 * answer to the letter, so that no JSON parser is needed:
 *
 *     {"parameters":{"mode":"exec","fds":2,"left":0,"names":"ipp:ipp"}}
 *
 * `fds` descriptors come with the packet, `left` more come in further ones; in the strings only " and \ are escaped. Behind
 * the last names there may be ,"remove":"old:older". */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "claim.h"

enum { MAX_PACKET = 128 * 1024, MAX_FDS = 253 };

static const char remove_key[] = ",\"remove\":\"";

/* Longer than any restart of berthd takes: a claim made meanwhile waits in the backlog of berth.socket. Not so when a
 * service stops, which alone has $SERVICE_RESULT (systemd.exec(5)): where berth.service is ordered before it, systemd
 * starts berthd only when it has stopped. A berthd that starts finds out by itself what has ended. */
static struct timeval patience(void) {
    return (struct timeval){.tv_sec = getenv("SERVICE_RESULT") == NULL ? 60 : 2};
}

int is_name(const char *name) {
    /* The characters of a reservation's name are those that stand for themselves in JSON. */
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-");
    return length > 0 && name[length] == '\0' && length <= 255;
}

static int request(const char *control, const char *name, const char *method, const char *form) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[512];
    if (!is_name(name))
        refuse(name, "this is no name of a reservation: those are of letters, digits, and _ . @ -");
    if (strlen(control) >= sizeof address.sun_path)
        refuse(name, "the path of the control socket is too long");
    strcpy(address.sun_path, control);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct timeval limit = patience();
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        refuse(name, "berthd cannot be reached at %s: %s", control, strerror(errno));
    sprintf(text, "{\"method\":\"%s\",\"parameters\":{\"name\":\"%s\",\"form\":\"%s\"}}", method, name, form);
    /* berthd has refused already, and its reason waits to be read, or it has ended. */
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        refuse(name, "berthd does not listen: %s", strerror(errno));
    return fd;
}

const char *copy_string(const char *from, char *to, size_t room) {
    for (; *from != '"'; from++, room--) {
        if (*from == '\\')
            from++;
        if (*from == '\0' || room <= 1)
            return NULL;
        *to++ = *from;
    }
    *to = '\0';
    return from + 1;
}

/* Takes the descriptors of a packet over. The kernel gives ascending numbers: the lowest free ones, in order. */
static size_t take_fds(struct msghdr *message, struct handoff *handoff, const char *name) {
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    handoff->fds = realloc(handoff->fds, (handoff->count + count) * sizeof(int));
    if (handoff->fds == NULL)
        refuse(name, "out of memory");
    memcpy(handoff->fds + handoff->count, CMSG_DATA(header), count * sizeof(int));
    handoff->count += count;
    return count;
}

static size_t count_names(const char *names) {
    size_t count = *names != '\0';
    for (; *names != '\0'; names++)
        count += *names == ':';
    return count;
}

/* Receives one packet; returns how many descriptors are still to come, or -1 when berthd closed the connection. */
static ssize_t receive(int fd, const char *name, struct handoff *handoff) {
    static char answer[MAX_PACKET], reason[1024];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec data = {answer, sizeof answer - 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    size_t used = strlen(handoff->names), count, left;
    int end = 0;
    ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (length == 0 || (length < 0 && errno == ECONNRESET))
        return -1;
    if (length < 0)
        refuse(name, "no answer from berthd: %s", strerror(errno));
    if (message.msg_flags & MSG_CTRUNC)
        refuse(name, "not all descriptors could be received; is LimitNOFILE= large enough?");
    answer[length] = '\0';
    sscanf(answer, "{\"parameters\":{\"mode\":\"%15[a-z]\",\"fds\":%zu,\"left\":%zu,\"names\":\"%n", handoff->mode,
           &count, &left, &end);
    if (end == 0) { /* {"error":"NotFound","parameters":{"message":"..."}} */
        const char *why = strstr(answer, "\"message\":\"");
        if (why == NULL || copy_string(why + 11, reason, sizeof reason) == NULL)
            refuse(name, "berthd's answer makes no sense; are berthd and berth-claim of one version?");
        refuse(name, "%s", reason);
    }
    if (take_fds(&message, handoff, name) != count)
        refuse(name, "berthd's answer came without its descriptors");
    if (used > 0 && count > 0 && used < MAX_NAMES - 1)
        handoff->names[used++] = ':';
    const char *more = copy_string(answer + end, handoff->names + used, MAX_NAMES - used);
    if (more == NULL)
        refuse(name, "the names of its descriptors are longer than an environment variable can be (128 KiB)");
    if (strncmp(more, remove_key, strlen(remove_key)) == 0 &&
        copy_string(more + strlen(remove_key), handoff->stale, sizeof handoff->stale) == NULL)
        refuse(name, "berthd's answer makes no sense; are berthd and berth-claim of one version?");
    if (count_names(handoff->names + used) != count)
        refuse(name, "berthd's answer has not a name for each descriptor");
    return (ssize_t)left;
}

/* Gives back what came of an answer that never ended. */
static void discard(struct handoff *handoff) {
    while (handoff->count > 0)
        close(handoff->fds[--handoff->count]);
    handoff->names[0] = '\0';
}

/* A berthd that ends takes the connections along that it has accepted: the next one is asked again. */
void ask(const char *control, const char *name, const char *method, const char *form, struct handoff *handoff) {
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        int fd = request(control, name, method, form);
        ssize_t left;
        while ((left = receive(fd, name, handoff)) > 0) {}
        close(fd);
        if (left == 0)
            return;
        discard(handoff);
    }
    refuse(name, "berthd closes the connection without an answer");
}
