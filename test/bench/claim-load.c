/*
 * Claims as fast as it can, a connection a claim, from some processes at once.
 *
 *     claim-load berth|s6 SOCKET NAME CLIENTS MILLISECONDS
 *
 * Each claim connects, asks, receives a descriptor, and closes both. Prints {"claims":N,"nanoseconds":N,"median":N,"p99":N}:
 * the claims of all clients together, how long they had, and how long half of the claims, and all but one of a hundred,
 * took at the most. Ends with 1 at the first claim that is not granted. The protocol of s6-fdholderd is that of s6 2.x: a stream of messages, each with four bytes
 * of length and two of its number of descriptors in front, most significant first; 'R', a flag, the length of the
 * identifier, and the identifier with its NUL ask for a descriptor; a single NUL with one descriptor grants it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 256, MAX_FDS = 253, MAX_TIMES = 1 << 20 };

/* What the clients have counted, in memory that they share: how long each claim took, in nanoseconds. */
struct tally {
    _Atomic unsigned claims;
    unsigned times[MAX_TIMES];
};

struct load {
    struct sockaddr_un address;
    int type;
    char request[512];
    size_t length;
    const char *granted; /* how the data of a granted claim begin */
    size_t granted_length;
};

_Noreturn static void die(const char *what) {
    fprintf(stderr, "claim-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void prepare_berth(struct load *load, const char *name) {
    load->type = SOCK_SEQPACKET;
    load->length = (size_t)snprintf(load->request, sizeof load->request,
                                    "{\"method\":\"Claim\",\"parameters\":{\"name\":\"%s\",\"form\":\"exec\"}}", name);
    load->granted = "{\"parameters\":{\"mode\":\"exec\",\"fds\":1,\"left\":0,";
    load->granted_length = strlen(load->granted);
}

static void prepare_s6(struct load *load, const char *name) {
    size_t length = strlen(name), data = length + 4;
    const char head[] = {0, 0, (char)(data >> 8), (char)data, 0, 0, 'R', 0, (char)length};
    load->type = SOCK_STREAM;
    memcpy(load->request, head, sizeof head);
    memcpy(load->request + sizeof head, name, length + 1);
    load->length = sizeof head + length + 1;
    load->granted = "\0\0\0\1\0\1\0";
    load->granted_length = 7;
}

static void close_all(struct msghdr *message) {
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int fds[MAX_FDS];
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        errno = ENOMSG;
        die("the answer has no descriptor");
    }
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(header), count * sizeof(int));
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void claim(const struct load *load) {
    static char answer[4096];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec data = {answer, sizeof answer};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fd = socket(AF_UNIX, load->type | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&load->address, sizeof load->address) < 0)
        die("cannot connect");
    if (send(fd, load->request, load->length, MSG_NOSIGNAL) != (ssize_t)load->length)
        die("cannot send");
    ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (length < 0)
        die("cannot receive");
    if ((size_t)length < load->granted_length || memcmp(answer, load->granted, load->granted_length) != 0) {
        fprintf(stderr, "claim-load: the claim was not granted: %.*s\n", (int)length, answer);
        exit(1);
    }
    close_all(&message);
    close(fd);
}

static void run_client(const struct load *load, struct tally *tally, long long end) {
    for (long long start = now(); start < end;) {
        claim(load);
        long long done = now();
        unsigned place = tally->claims++;
        if (place < MAX_TIMES)
            tally->times[place] = (unsigned)(done - start);
        start = done;
    }
}

static void start_clients(const struct load *load, struct tally *tally, int clients, long long end) {
    pid_t parent = getpid();
    for (int i = 0; i < clients; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            run_client(load, tally, end);
        exit(0);
    }
}

static int compare(const void *a, const void *b) {
    unsigned one = *(const unsigned *)a, other = *(const unsigned *)b;
    return (one > other) - (one < other);
}

int main(int argc, char **argv) {
    struct load load = {.address = {.sun_family = AF_UNIX}};
    int clients = argc == 6 ? atoi(argv[4]) : 0, milliseconds = argc == 6 ? atoi(argv[5]) : 0;
    if (clients < 1 || clients > MAX_CLIENTS || milliseconds < 1 || strlen(argv[3]) > 255 ||
        strlen(argv[2]) >= sizeof load.address.sun_path) {
        fputs("usage: claim-load berth|s6 SOCKET NAME CLIENTS MILLISECONDS\n", stderr);
        return 2;
    }
    strcpy(load.address.sun_path, argv[2]);
    (strcmp(argv[1], "s6") == 0 ? prepare_s6 : prepare_berth)(&load, argv[3]);

    struct tally *tally =
        mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (tally == MAP_FAILED)
        die("mmap");
    long long start = now();
    start_clients(&load, tally, clients, start + milliseconds * 1000000LL);
    int status, failed = 0;
    while (wait(&status) > 0)
        failed |= status != 0;
    long long nanoseconds = now() - start;
    unsigned claims = tally->claims, timed = claims < MAX_TIMES ? claims : MAX_TIMES;
    if (failed || claims == 0)
        return 1;
    qsort(tally->times, timed, sizeof *tally->times, compare);
    printf("{\"claims\":%u,\"nanoseconds\":%lld,\"median\":%u,\"p99\":%u}\n", claims, nanoseconds, tally->times[timed / 2],
           tally->times[(size_t)timed * 99 / 100]);
    return 0;
}
