/* fuzz-calls SEED COUNT PORT: random calls of bind(2) and listen(2) with random arguments on a few sockets that live on.
 * Prints the errno of each, a line for every 50: the same for the same seed, on whatever free port. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SLOTS = 12 };

static uint64_t state;

static uint32_t below(uint32_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % limit;
}

static void set(int fd, int level, int name) {
    int on = 1;
    setsockopt(fd, level, name, &on, sizeof on);
}

static int open_random(void) {
    int fd, ends[2], off = 0;
    switch (below(16)) {
    case 0: return open("/dev/null", O_RDONLY | O_CLOEXEC);
    case 1: return open("/dev/null", O_PATH | O_CLOEXEC);
    case 2: return pipe(ends) == 0 ? (close(ends[1]), ends[0]) : -1;
    case 3: return socket(AF_UNIX, SOCK_STREAM, 0);
    case 4: return socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    case 5: return socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
    case 6: case 7: case 8: fd = socket(AF_INET, SOCK_STREAM, 0); break;
    case 9: case 10: fd = socket(AF_INET, SOCK_DGRAM, 0); break;
    case 11: case 12: case 13: fd = socket(AF_INET6, SOCK_STREAM, 0); break;
    default: fd = socket(AF_INET6, SOCK_DGRAM, 0);
    }
    if (below(3) == 0)
        set(fd, SOL_SOCKET, SO_REUSEADDR);
    /* With datagrams, what the kernel says where some share and others do not depends on the order of its list: it looks no
     * further than the first that may be shared (udp_lib_lport_inuse in net/ipv4/udp.c). */
    int type = 0;
    socklen_t size = sizeof type;
    if (below(5) == 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM)
        set(fd, SOL_SOCKET, SO_REUSEPORT);
    if (below(2) == 0)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    else
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (below(6) == 0)
        set(fd, IPPROTO_IP, IP_FREEBIND);
    if (below(8) == 0)
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
    return fd;
}

/* An address whose every part may be wrong, most of them right. */
static void fill_address(unsigned char *bytes, int port) {
    static const uint32_t fours[] = {0, 0, 0x7f000001, 0x7f010203, 0xcb007107, 0xe0000001, 0xffffffff};
    static const char *const sixes[] = {
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",         "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1",         "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1",
        "\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0",     "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1",
        "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7",
    };
    static const uint16_t families[] = {AF_INET, AF_INET, AF_INET, AF_INET6, AF_INET6, AF_INET6, AF_UNSPEC, AF_NETLINK, 77};
    for (int i = 0; i < 128; i++)
        bytes[i] = (unsigned char)below(8) == 0 ? (unsigned char)below(256) : 0;
    uint16_t family = families[below(sizeof families / sizeof *families)];
    uint16_t at = htons((uint16_t)(below(8) == 0 ? 0 : port));
    uint32_t four = htonl(fours[below(sizeof fours / sizeof *fours)]);
    memcpy(bytes, &family, 2);
    memcpy(bytes + 2, &at, 2);
    memcpy(bytes + 4, &four, 4);
    if (family == AF_INET6)
        memcpy(bytes + 8, sixes[below(sizeof sixes / sizeof *sixes)], 16);
    if (below(4) != 0)
        memset(bytes + 24, 0, 4); /* sin6_scope_id */
}

int main(int argc, char **argv) {
    static const int lengths[] = {16, 16, 16, 28, 28, 28, 28, 24, 23, 15, 2, 1, 0, 127, 128, 129, -1, 1 << 30};
    int slots[SLOTS];
    if (argc != 4)
        return 2;
    state = strtoull(argv[1], NULL, 10);
    int count = atoi(argv[2]), port = atoi(argv[3]);
    unsigned char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page + 4096, 4096, PROT_NONE);
    for (int i = 0; i < SLOTS; i++)
        slots[i] = open_random();
    for (int i = 0; i < count; i++) {
        int slot = (int)below(SLOTS), result, length = lengths[below(sizeof lengths / sizeof *lengths)];
        unsigned char bytes[128], *at = page + 1024;
        if (below(3) == 0) {
            close(slots[slot]);
            slots[slot] = open_random();
        }
        fill_address(bytes, port);
        uint32_t where = below(20);
        if (where == 0)
            at = NULL;
        else if (where == 1)
            at = page + 4096; /* no page */
        else if (where == 2)
            at = page + 4096 - below(40); /* the rest of the address is on none */
        else if (where == 3)
            at = (unsigned char *)(uintptr_t)-4096;
        if (at != NULL && where != 1 && where != 3)
            memcpy(at, bytes, (size_t)(page + 4096 - at) < sizeof bytes ? (size_t)(page + 4096 - at) : sizeof bytes);
        uint32_t which = below(24);
        int fd = which == 0 ? -1 : which == 1 ? 9999 : which == 2 ? (int)below(0xffffffff) | 1 << 30 : slots[slot];
        if (below(5) == 0)
            result = listen(fd, (int)below(1000) - 100);
        else
            result = bind(fd, (struct sockaddr *)at, (socklen_t)length);
        printf("%d%s", result < 0 ? errno : 0, i % 50 == 49 ? "\n" : " ");
    }
    return 0;
}
