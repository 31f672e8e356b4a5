/* hostile MODE COUNT OWN FOREIGN: a supervised program that lies in its calls of bind(2). OWN is a port that is reserved for
 * it, FOREIGN one of somebody else's reservation. Prints `stolen N`, how often it got FOREIGN, and what else it achieved.
 *
 *     address     another thread changes the port in memory during the call
 *     descriptor  another thread puts other sockets and files into the descriptor's place
 *     options     another thread switches what the socket shares
 *     die         children are killed at some moment of their call
 *     ring        another thread binds the same socket to FOREIGN by io_uring(7)
 *     i386        the calls of 32 bits, by int $0x80
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int count, own, foreign;
static volatile struct sockaddr_in address;
static _Atomic int target = -1;
static atomic_bool over;
static long stolen, granted;

static void look_at(int fd) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &length) < 0)
        return;
    int port = ntohs(((struct sockaddr_in *)&name)->sin_port);
    stolen += port == foreign;
    granted += port == own;
}

static void set_port(int port) {
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
}

static int call_bind(int fd) {
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static void *flip(void *unused) {
    while (!over) {
        address.sin_port = htons((uint16_t)own);
        address.sin_port = htons((uint16_t)foreign);
    }
    return unused;
}

static void *replace(void *unused) {
    /* Where nobody listens, so that no connection comes about: a TIME_WAIT would stay at the port. */
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)foreign)};
    while (!over) {
        int fd = target;
        int other = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_STREAM, 0);
        int file = open("/dev/null", O_RDONLY), stream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(stream, (struct sockaddr *)&there, sizeof there);
        if (fd >= 0) {
            dup2(other, fd);
            dup2(file, fd);
            dup2(six, fd);
            dup2(stream, fd);
            close(fd);
        }
        close(other);
        close(six);
        close(file);
        close(stream);
    }
    return unused;
}

static void *toggle(void *unused) {
    int off = 0, on = 1;
    while (!over) {
        int fd = target;
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof off);
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
    }
    return unused;
}

/* IORING_OP_BIND and IORING_OP_LISTEN, Linux 6.11. */
enum { OP_BIND = 56, OP_LISTEN = 57 };

static struct {
    int fd;
    unsigned *tail, *mask, *array, *done_head, *done_tail, *done_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *completions;
} ring;

static int open_ring(void) {
    struct io_uring_params parameters = {0};
    ring.fd = (int)syscall(SYS_io_uring_setup, 8, &parameters);
    if (ring.fd < 0)
        return -1;
    char *queue = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
    char *done = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
    ring.entries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
    if (queue == MAP_FAILED || done == MAP_FAILED || ring.entries == MAP_FAILED)
        return -1;
    ring.tail = (unsigned *)(queue + parameters.sq_off.tail);
    ring.mask = (unsigned *)(queue + parameters.sq_off.ring_mask);
    ring.array = (unsigned *)(queue + parameters.sq_off.array);
    ring.done_head = (unsigned *)(done + parameters.cq_off.head);
    ring.done_tail = (unsigned *)(done + parameters.cq_off.tail);
    ring.done_mask = (unsigned *)(done + parameters.cq_off.ring_mask);
    ring.completions = (struct io_uring_cqe *)(done + parameters.cq_off.cqes);
    return 0;
}

static int submit(struct io_uring_sqe entry) {
    unsigned index = *ring.tail & *ring.mask;
    ring.entries[index] = entry;
    ring.array[index] = index;
    __atomic_store_n(ring.tail, *ring.tail + 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    unsigned head = *ring.done_head;
    int result = ring.completions[head & *ring.done_mask].res;
    __atomic_store_n(ring.done_head, head + 1, __ATOMIC_RELEASE);
    return result;
}

static int ring_bind(int fd, const struct sockaddr_in *to) {
    return submit((struct io_uring_sqe){
        .opcode = OP_BIND, .fd = fd, .addr = (uint64_t)(uintptr_t)to, .addr2 = sizeof *to});
}

static void *bind_by_ring(void *unused) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)foreign)};
    while (!over)
        ring_bind(target, &there);
    return unused;
}

static void die(void) {
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            set_port(own);
            for (;;) {
                call_bind(fd);
                listen(fd, 1);
                close(fd);
                fd = socket(AF_INET, SOCK_STREAM, 0);
            }
        }
        struct timespec pause = {.tv_nsec = (i * 7919) % 2000000};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

#if defined __x86_64__
static long call32(long number, long one, long two, long three) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(one), "c"(two), "d"(three) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static void foreign_calls(void) {
    struct sockaddr_in *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    low->sin_family = AF_INET;
    low->sin_port = htons((uint16_t)own);
    uint32_t *arguments = (uint32_t *)(low + 1);
    arguments[0] = (uint32_t)fd;
    arguments[1] = (uint32_t)(uintptr_t)low;
    arguments[2] = sizeof *low;
    printf("bind %ld, listen %ld, socketcall %ld, getpid %d\n", call32(361, fd, (long)low, sizeof *low),
           call32(363, fd, 1, 0), call32(102, 2, (long)arguments, 0), call32(20, 0, 0, 0) == getpid());
    long x32 = syscall(0x40000000 + SYS_bind, fd, low, sizeof *low);
    printf("x32 bind %ld\n", x32 < 0 ? -(long)errno : x32);
}
#else
static void foreign_calls(void) {
    puts("not here");
}
#endif

static void under(void *(*trouble)(void *)) {
    pthread_t thread;
    pthread_create(&thread, NULL, trouble, NULL);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, i % 2 ? SOCK_STREAM : SOCK_DGRAM, 0);
        if (trouble != flip)
            set_port(own);
        target = fd;
        call_bind(fd);
        look_at(fd);
        if (i % 2)
            listen(fd, 1);
        look_at(fd);
        target = -1;
        close(fd);
    }
    over = true;
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    const char *mode = argv[1];
    count = atoi(argv[2]);
    own = atoi(argv[3]);
    foreign = atoi(argv[4]);
    set_port(own);
    if (strcmp(mode, "address") == 0)
        under(flip);
    else if (strcmp(mode, "descriptor") == 0)
        under(replace);
    else if (strcmp(mode, "options") == 0)
        under(toggle);
    else if (strcmp(mode, "die") == 0)
        die();
    else if (strcmp(mode, "i386") == 0)
        foreign_calls();
    else if (strcmp(mode, "ring") == 0) {
        struct sockaddr_in there = {.sin_family = AF_INET};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (open_ring() < 0 || ring_bind(fd, &there) != 0) {
            puts("no ring");
            return 0;
        }
        under(bind_by_ring);
    } else
        return 2;
    printf("stolen %ld, granted %d\n", stolen, granted > 0);
    return 0;
}
