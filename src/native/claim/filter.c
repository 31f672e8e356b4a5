/* Calls other than bind and listen go their way untouched, with three exceptions. On another architecture than the machine's
 * own, bind and listen are refused: their numbers and arguments are others there. An MPTCP socket is refused as by a kernel
 * without MPTCP, because it has subflows with an owner of their own, which cannot be bound beside a held socket; Go takes TCP
 * then. And berthd is told when the program gives up rights by Landlock. */
#include "filter.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

/* <linux/seccomp.h> */
struct seccomp_data {
    int nr;
    uint32_t arch;
    uint64_t instruction_pointer;
    uint64_t args[6];
};

enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, JUMP_IF_ANY_BIT = 0x45, AND = 0x54, RETURN = 0x06 };
static const uint32_t allow = 0x7fff0000, notify = 0x7fc00000, fail_with = 0x00050000;
/* Of all architectures alike. */
enum { LANDLOCK_RESTRICT_SELF = 446 };
enum { SOCKET_TYPE = 0xf, PROTOCOL_MPTCP = 262 };

const struct machine x86_64 = {
    .architecture = 0xc000003e, /* AUDIT_ARCH_X86_64 */
    .bind = 49,
    .listen = 50,
    .socket = 41,
    .x32_bit = 0x40000000,
    .foreign = {102 /* socketcall of i386 */, 361 /* bind */, 363 /* listen */},
};

const struct machine aarch64 = {
    .architecture = 0xc00000b7, /* AUDIT_ARCH_AARCH64 */
    .bind = 200,
    .listen = 201,
    .socket = 198,
    .foreign = {102 /* socketcall of ARM's old ABI */, 282 /* bind */, 284 /* listen */},
};

struct draft {
    struct sock_filter *filter;
    unsigned short used;
};

/* Adds an instruction. Its jumps are filled in by `land`, where they are known. */
static struct sock_filter *add(struct draft *draft, uint16_t code, uint32_t k) {
    draft->filter[draft->used] = (struct sock_filter){.code = code, .k = k};
    return &draft->filter[draft->used++];
}

/* The jump goes to the next instruction to be added when its condition is false. */
static void land(const struct draft *draft, struct sock_filter *jump) {
    jump->jump_false = (uint8_t)(&draft->filter[draft->used] - jump - 1);
}

static void return_if(struct draft *draft, uint32_t value, uint32_t result) {
    struct sock_filter *jump = add(draft, JUMP_IF_EQUAL, value);
    add(draft, RETURN, result);
    land(draft, jump);
}

static void load_argument(struct draft *draft, int index) {
    /* Its lower half: both machines are little-endian. */
    add(draft, LOAD, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)index));
}

static void refuse_mptcp(struct draft *draft, uint32_t socket_call) {
    struct sock_filter *jumps[3];
    jumps[0] = add(draft, JUMP_IF_EQUAL, socket_call);
    load_argument(draft, 2);
    jumps[1] = add(draft, JUMP_IF_EQUAL, PROTOCOL_MPTCP);
    load_argument(draft, 1);
    add(draft, AND, SOCKET_TYPE);
    jumps[2] = add(draft, JUMP_IF_EQUAL, SOCK_STREAM);
    load_argument(draft, 0);
    return_if(draft, AF_INET, fail_with | EPROTONOSUPPORT);
    return_if(draft, AF_INET6, fail_with | EPROTONOSUPPORT);
    for (int i = 0; i < 3; i++)
        land(draft, jumps[i]);
    add(draft, RETURN, allow);
}

static void refuse_x32(struct draft *draft, const struct machine *machine) {
    struct sock_filter *is_x32 = add(draft, JUMP_IF_ANY_BIT, machine->x32_bit);
    add(draft, AND, ~machine->x32_bit);
    return_if(draft, machine->bind, fail_with | ENOSYS);
    return_if(draft, machine->listen, fail_with | ENOSYS);
    return_if(draft, LANDLOCK_RESTRICT_SELF, fail_with | ENOSYS);
    add(draft, RETURN, allow);
    land(draft, is_x32);
}

unsigned short make_filter(const struct machine *machine, struct sock_filter filter[MAX_FILTER]) {
    struct draft draft = {.filter = filter};
    add(&draft, LOAD, offsetof(struct seccomp_data, arch));
    struct sock_filter *is_native = add(&draft, JUMP_IF_EQUAL, machine->architecture);
    add(&draft, LOAD, offsetof(struct seccomp_data, nr));
    if (machine->x32_bit != 0)
        refuse_x32(&draft, machine);
    return_if(&draft, machine->bind, notify);
    return_if(&draft, machine->listen, notify);
    return_if(&draft, LANDLOCK_RESTRICT_SELF, notify); /* berthd must not give what that takes away */
    refuse_mptcp(&draft, machine->socket);
    land(&draft, is_native);
    add(&draft, LOAD, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof machine->foreign / sizeof *machine->foreign; i++)
        return_if(&draft, machine->foreign[i], fail_with | ENOSYS);
    return_if(&draft, LANDLOCK_RESTRICT_SELF, fail_with | ENOSYS);
    add(&draft, RETURN, allow);
    return draft.used;
}
