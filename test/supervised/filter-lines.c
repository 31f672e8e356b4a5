/* filter-lines x86_64|aarch64: the seccomp filter that berth-claim would install on such a machine, an instruction a line: code,
 * jump when true, jump when false, operand. */
#include <stdio.h>
#include <string.h>

#include "../../src/native/claim/filter.c"

int main(int argc, char **argv) {
    struct sock_filter filter[MAX_FILTER];
    if (argc != 2)
        return 2;
    unsigned short count = make_filter(strcmp(argv[1], "aarch64") == 0 ? &aarch64 : &x86_64, filter);
    for (int i = 0; i < count; i++)
        printf("%u %u %u %u\n", filter[i].code, filter[i].jump_true, filter[i].jump_false, (unsigned)filter[i].k);
    return 0;
}
