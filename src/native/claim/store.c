/* The fd store of this process's own unit, filled through $NOTIFY_SOCKET (sd_notify(3), sd_pid_notify_with_fds(3)). It
 * needs no privilege: systemd takes the messages of a unit's own processes where NotifyAccess= is exec or all. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "claim.h"

static const int patience_ms = 30000;

static int connect_manager(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        refuse(name, "systemd takes no descriptors from this unit: set NotifyAccess=exec in it");
    strcpy(address.sun_path, path);
    /* A leading @ stands for the NUL of an abstract name, whose length counts (unix(7)). */
    socklen_t length = sizeof address;
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
        length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, length) < 0)
        refuse(name, "systemd cannot be reached at %s: %s", path, strerror(errno));
    return fd;
}

static void notify(int manager, const char *name, const char *text, int fd) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {(char *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        CMSG_FIRSTHDR(&message)->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &fd, sizeof fd);
    }
    if (sendmsg(manager, &message, MSG_NOSIGNAL) < 0)
        refuse(name, "systemd does not take the descriptors: %s", strerror(errno));
}

/* Returns when systemd has worked through everything that was sent before: it closes the pipe then. */
static void wait_for_manager(int manager, const char *name) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        refuse(name, "pipe: %s", strerror(errno));
    notify(manager, name, "BARRIER=1", ends[1]);
    close(ends[1]);
    struct pollfd closed = {.fd = ends[0]};
    if (poll(&closed, 1, patience_ms) != 1)
        refuse(name, "systemd did not answer in %d s", patience_ms / 1000);
    close(ends[0]);
}

/* How many of the sockets PID 1 has: what it rejects it closes in silence, and the barrier answers all the same. */
static size_t count_kept(const char *name, const struct handoff *handoff) {
    DIR *fds = opendir("/proc/1/fd");
    const struct dirent *entry;
    struct stat status;
    char link[64];
    size_t kept = 0;
    if (fds == NULL)
        return handoff->count; /* not ours to see: then it cannot be known */
    ino_t *inodes = calloc(handoff->count, sizeof *inodes);
    if (inodes == NULL)
        refuse(name, "out of memory");
    for (size_t i = 0; i < handoff->count; i++)
        inodes[i] = fstat(handoff->fds[i], &status) == 0 ? status.st_ino : 0;
    while ((entry = readdir(fds)) != NULL) {
        unsigned long inode;
        ssize_t length = readlinkat(dirfd(fds), entry->d_name, link, sizeof link - 1);
        link[length < 0 ? 0 : length] = '\0';
        if (sscanf(link, "socket:[%lu]", &inode) == 1)
            for (size_t i = 0; i < handoff->count; i++)
                kept += inodes[i] == inode;
    }
    closedir(fds);
    free(inodes);
    return kept;
}

/* Storing only adds: what the last start left would be passed along. */
static void remove_names(int manager, const char *name, const char *names) {
    char text[400];
    for (; *names != '\0'; names += strcspn(names, ":"), names += *names == ':') {
        snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%.*s", (int)strcspn(names, ":"), names);
        notify(manager, name, text, -1);
    }
}

void store(const char *name, struct handoff *handoff) {
    char text[400];
    int manager = connect_manager(name);
    remove_names(manager, name, handoff->stale);
    remove_names(manager, name, handoff->names);
    const char *one = handoff->names;
    for (size_t i = 0; i < handoff->count; i++, one += strcspn(one, ":") + 1) {
        /* FDPOLL=0: a stream that does not listen polls EPOLLHUP, and systemd would drop it at once. */
        snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%.*s", (int)strcspn(one, ":"), one);
        notify(manager, name, text, handoff->fds[i]);
    }
    wait_for_manager(manager, name);
    size_t kept = count_kept(name, handoff);
    if (kept < handoff->count)
        refuse(name, "systemd kept %zu of %zu sockets: the unit needs NotifyAccess=exec and FileDescriptorStoreMax=%zu or more",
               kept, handoff->count, handoff->count + 8);
    close(manager);
}
