/* The seccomp filter of the supervised bind, for any machine that it knows. */
#ifndef BERTH_FILTER_H
#define BERTH_FILTER_H

#include <stdint.h>

/* Out of the kernel's <linux/filter.h>, which musl does not bring along. */
struct sock_filter {
    uint16_t code;
    uint8_t jump_true, jump_false;
    uint32_t k;
};

/* A processor's system calls, by number. */
struct machine {
    uint32_t architecture; /* AUDIT_ARCH_* of <linux/audit.h> */
    uint32_t bind, listen, socket;
    uint32_t x32_bit; /* in the numbers of a second ABI with the same architecture, or 0 */
    uint32_t foreign[3]; /* on any other architecture that it runs: what makes bind(2) and listen(2) there */
};

extern const struct machine x86_64, aarch64;

enum { MAX_FILTER = 64 };

/* Makes the filter, and returns how many instructions it has. */
unsigned short make_filter(const struct machine *machine, struct sock_filter filter[MAX_FILTER]);

#endif
