/* The supervised bind: a filter by which berthd serves bind(2) and listen(2) of this process and all that come of it.
 *
 * Other calls go their way untouched, with two exceptions. On another architecture than the machine's own, bind and listen
 * are refused: their numbers and arguments are others there. An MPTCP socket is refused as by a kernel without MPTCP,
 * because it has subflows with an owner of their own, which cannot be bound beside a held socket; Go takes TCP then. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "claim.h"

/* Out of the kernel's headers, which musl does not bring along: <linux/seccomp.h>, <linux/filter.h>, <linux/audit.h>. */
struct seccomp_data {
    int nr;
    uint32_t arch;
    uint64_t instruction_pointer;
    uint64_t args[6];
};
struct sock_filter {
    uint16_t code;
    uint8_t jump_true, jump_false;
    uint32_t k;
};
struct sock_fprog {
    unsigned short length;
    struct sock_filter *filter;
};
enum { SET_MODE_FILTER = 1, NEW_LISTENER = 1 << 3, WAIT_KILLABLE_RECV = 1 << 5 };
enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, JUMP_IF_ANY_BIT = 0x45, AND = 0x54, RETURN = 0x06 };
static const uint32_t allow = 0x7fff0000, notify = 0x7fc00000, fail_with = 0x00050000;
enum { SYS_LANDLOCK_RESTRICT_SELF = 446, SOCKET_TYPE = 0xf, PROTOCOL_MPTCP = 262, X32_BIT = 0x40000000 };

#if defined __x86_64__
static const uint32_t native_arch = 0xc000003e; /* AUDIT_ARCH_X86_64 */
static const uint32_t foreign_calls[] = {102 /* socketcall of i386 */, 361 /* bind */, 363 /* listen */};
#elif defined __aarch64__
static const uint32_t native_arch = 0xc00000b7; /* AUDIT_ARCH_AARCH64 */
static const uint32_t foreign_calls[] = {102 /* socketcall of ARM's old ABI */, 282 /* bind */, 284 /* listen */};
#else
#error "the supervised bind knows the system calls of x86-64 and aarch64"
#endif

static struct sock_filter filter[64];
static unsigned short used;

/* Adds an instruction. Its jumps are filled in by `land`, where they are known. */
static struct sock_filter *add(uint16_t code, uint32_t k) {
    filter[used] = (struct sock_filter){.code = code, .k = k};
    return &filter[used++];
}

/* The jump goes to the next instruction to be added when its condition is false. */
static void land(struct sock_filter *jump) {
    jump->jump_false = (uint8_t)(&filter[used] - jump - 1);
}

static void return_if(uint32_t value, uint32_t result) {
    struct sock_filter *jump = add(JUMP_IF_EQUAL, value);
    add(RETURN, result);
    land(jump);
}

static void load_argument(int index) {
    add(LOAD, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)index)); /* both are little-endian */
}

static void refuse_mptcp(void) {
    struct sock_filter *jumps[3];
    jumps[0] = add(JUMP_IF_EQUAL, SYS_socket);
    load_argument(2);
    jumps[1] = add(JUMP_IF_EQUAL, PROTOCOL_MPTCP);
    load_argument(1);
    add(AND, SOCKET_TYPE);
    jumps[2] = add(JUMP_IF_EQUAL, SOCK_STREAM);
    load_argument(0);
    return_if(AF_INET, fail_with | EPROTONOSUPPORT);
    return_if(AF_INET6, fail_with | EPROTONOSUPPORT);
    for (int i = 0; i < 3; i++)
        land(jumps[i]);
    add(RETURN, allow);
}

static void build_filter(void) {
    add(LOAD, offsetof(struct seccomp_data, arch));
    struct sock_filter *is_native = add(JUMP_IF_EQUAL, native_arch);
    add(LOAD, offsetof(struct seccomp_data, nr));
#if defined __x86_64__
    /* x32 has the same architecture, and a bit in its numbers. */
    struct sock_filter *is_x32 = add(JUMP_IF_ANY_BIT, X32_BIT);
    add(AND, ~(uint32_t)X32_BIT);
    return_if(SYS_bind, fail_with | ENOSYS);
    return_if(SYS_listen, fail_with | ENOSYS);
    return_if(SYS_LANDLOCK_RESTRICT_SELF, fail_with | ENOSYS);
    add(RETURN, allow);
    land(is_x32);
#endif
    return_if(SYS_bind, notify);
    return_if(SYS_listen, notify);
    return_if(SYS_LANDLOCK_RESTRICT_SELF, notify); /* berthd must not give what that takes away */
    refuse_mptcp();
    land(is_native);
    add(LOAD, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof foreign_calls / sizeof *foreign_calls; i++)
        return_if(foreign_calls[i], fail_with | ENOSYS);
    return_if(SYS_LANDLOCK_RESTRICT_SELF, fail_with | ENOSYS);
    add(RETURN, allow);
}

static int install(unsigned flags) {
    struct sock_fprog program = {.length = used, .filter = filter};
    return (int)syscall(SYS_seccomp, SET_MODE_FILTER, flags, &program);
}

/* A Landlock domain cannot be seen from outside, and berthd's bind(2) would not be subject to it (landlock(7)). */
static void refuse_landlock(const char *names) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return; /* a unit without IPv4 */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno == EACCES)
        refuse(names, "this process may not bind TCP ports (Landlock), so berthd must not bind any for it");
    close(fd);
}

int supervise(const char *names) {
    refuse_landlock(names);
    build_filter();
    int listener = install(NEW_LISTENER | WAIT_KILLABLE_RECV);
    if (listener < 0 && errno == EACCES) { /* without CAP_SYS_ADMIN no filter may reach a setuid program: seccomp(2) */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
            refuse(names, "no_new_privs cannot be set: %s", strerror(errno));
        listener = install(NEW_LISTENER | WAIT_KILLABLE_RECV);
    }
    if (listener < 0 && errno == EINVAL) /* before Linux 5.19 */
        listener = install(NEW_LISTENER);
    if (listener < 0 && errno == EBUSY)
        refuse(names, "this process is supervised already, and the kernel has one listener for each: name all "
                      "reservations in one --bind");
    if (listener < 0)
        refuse(names, "the seccomp filter cannot be installed: %s", strerror(errno));
    return listener;
}
