/*
 * Asks for a supervised bind and sends what it likes in the place of its listener (seccomp_unotify(2)).
 *
 *     listener CONTROL NAME PORT KIND
 *
 * The kinds are those of `wrong` and `filters` below. Prints berthd's answer, and of those whose child has a filter what
 * bind(2) of PORT told it, a line each. It ends with its standard input.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char *control, *name;
static int port;

_Noreturn static void die(const char *what) {
    fprintf(stderr, "listener: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_control(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", control);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die(control);
    return fd;
}

/* Sends a request with these descriptors, and prints what is answered. */
static void ask(const int *fds, size_t count) {
    _Alignas(struct cmsghdr) char space[CMSG_SPACE(4 * sizeof(int))] = {0};
    char text[512];
    int fd = connect_control();
    struct iovec data = {text, (size_t)snprintf(text, sizeof text,
                                                "{\"method\":\"Supervise\",\"parameters\":{\"names\":[\"%s\"]}}", name)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (count > 0) {
        struct cmsghdr *header = (struct cmsghdr *)space;
        message.msg_control = space;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        *header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(int))};
        memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    }
    if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
        die("sendmsg");
    ssize_t length = recv(fd, text, sizeof text, 0);
    if (length < 0)
        die("recv");
    printf("%.*s\n", (int)length, text);
    fflush(stdout);
    close(fd);
}

/* A listener for one system call of this process and what comes of it. */
static int install(int number) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (fd < 0)
        die("seccomp");
    return fd;
}

/* Says so when it is something else than the last time. */
static void bind_port(const char **last) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *said = bind(fd, (struct sockaddr *)&address, sizeof address) == 0 ? "bound" : strerrorname_np(errno);
    if (*last == NULL || strcmp(*last, said) != 0)
        puts(said);
    *last = said;
    fflush(stdout);
    close(fd);
}

static const struct filters {
    const char *kind;
    int number, elsewhere, dies, times, takes, once;
} filters[] = {
    {.kind = "another", .number = SYS_bind, .times = 1},
    {.kind = "elsewhere", .number = SYS_bind, .elsewhere = 1, .times = 1},
    {.kind = "other-call", .number = SYS_getppid, .times = 1},
    {.kind = "dead", .number = SYS_bind, .dies = 1, .times = 1},
    {.kind = "twice", .number = SYS_bind, .times = 2},
    {.kind = "two", .number = SYS_bind, .times = -1},
    {.kind = "contended", .number = SYS_bind, .times = 1, .takes = 1},
    {.kind = "taken", .number = SYS_bind, .times = 1, .takes = 1, .once = 1},
};

/* A process with a filter of its own, which tells on `ready` under which number it has the listener. */
static pid_t start(const struct filters *kind, int ready, const int go[2]) {
    const char *said = NULL;
    char byte;
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(go[1]);
    if (kind->elsewhere && unshare(CLONE_NEWNET) < 0)
        die("unshare");
    int listener = install(kind->number);
    if (write(ready, &listener, sizeof listener) < 0)
        die("write");
    if (read(go[0], &byte, 1) < 0)
        die("read");
    if (kind->dies)
        _exit(0);
    close(listener);
    for (;;) {
        if (kind->number != SYS_bind && syscall(kind->number) < 0)
            die("the other call");
        bind_port(&said);
        while (kind->once)
            pause();
    }
}

/* Takes calls away from berthd, and has the kernel do them: at once, or when berthd has seen that there is one. */
_Noreturn static void take_calls(int listener, int patient) {
    for (;;) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        if (patient && poll(&ready, 1, -1) > 0)
            usleep(20000);
        struct seccomp_notif call = {0};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
            continue;
        struct seccomp_notif_resp response = {.id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    }
}

static void send_listener(const struct filters *kind) {
    int ready[2], go[2], number, fds[2];
    if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
        die("pipe");
    pid_t child = start(kind, ready[1], go);
    if (child < 0 || read(ready[0], &number, sizeof number) != sizeof number)
        die("fork");
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    fds[0] = fds[1] = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    if (fds[0] < 0)
        die("pidfd_getfd");
    if (kind->dies) {
        struct pollfd end = {.fd = pidfd, .events = POLLIN};
        close(go[1]);
        poll(&end, 1, -1);
    }
    close(pidfd);
    if (kind->times < 0)
        ask(fds, 2);
    for (int i = 0; i < kind->times; i++)
        ask(fds, 1);
    for (int i = 0; i < (kind->takes ? 2 : 0); i++) {
        pid_t taker = fork();
        if (taker == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(go[1]);
            take_calls(fds[0], kind->once);
        }
    }
    close(fds[0]);
    if (!kind->dies)
        close(go[1]);
}

static int wrong(const char *kind) {
    int ends[2];
    if (strcmp(kind, "file") == 0)
        return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    if (strcmp(kind, "path") == 0)
        return open("/etc/shadow", O_PATH | O_CLOEXEC);
    if (strcmp(kind, "directory") == 0)
        return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (strcmp(kind, "device") == 0)
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    if (strcmp(kind, "pipe") == 0)
        return pipe2(ends, O_CLOEXEC) < 0 ? -1 : ends[0];
    if (strcmp(kind, "socket") == 0)
        return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strcmp(kind, "control") == 0)
        return connect_control();
    if (strcmp(kind, "epoll") == 0)
        return epoll_create1(EPOLL_CLOEXEC);
    if (strcmp(kind, "event") == 0)
        return eventfd(1, EFD_CLOEXEC);
    if (strcmp(kind, "memory") == 0)
        return (int)syscall(SYS_memfd_create, "anon_inode:seccomp notify", 0U);
    if (strcmp(kind, "pidfd") == 0)
        return (int)syscall(SYS_pidfd_open, getpid(), 0);
    fprintf(stderr, "listener: there is no kind '%s'\n", kind);
    exit(2);
}

int main(int argc, char **argv) {
    char byte;
    if (argc != 5)
        return 2;
    control = argv[1];
    name = argv[2];
    port = atoi(argv[3]);
    size_t count = sizeof filters / sizeof *filters, i = 0;
    while (i < count && strcmp(filters[i].kind, argv[4]) != 0)
        i++;
    if (i < count) {
        send_listener(&filters[i]);
    } else if (strcmp(argv[4], "nothing") == 0) {
        ask(NULL, 0);
    } else {
        int fd = wrong(argv[4]);
        if (fd < 0)
            die(argv[4]);
        ask(&fd, 1);
    }
    while (read(STDIN_FILENO, &byte, 1) > 0) {}
    return 0;
}
