/* restricted WHAT COMMAND...: runs a command in a sandbox of landlock(7), as a program that restricts itself would.
 *
 *     tcp            no TCP port may be bound
 *     tcp=PORT       none but that one
 *     sockets        no file of an AF_UNIX socket may be made
 *     scope          no abstract socket of others may be connected to
 *     abi            prints the version of the kernel's Landlock, 0 where it has none
 *
 * The numbers are those of <linux/landlock.h>, which is older where this is compiled. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, VERSION = 1, RULE_NET_PORT = 2 };
enum { NET_BIND_TCP = 1, FS_MAKE_SOCK = 1 << 9, SCOPE_ABSTRACT = 1 };

struct ruleset {
    uint64_t fs, net, scoped;
};

struct port_rule {
    uint64_t access, port;
};

static int restrict_to(const char *what) {
    struct ruleset ruleset = {0};
    if (strncmp(what, "tcp", 3) == 0)
        ruleset.net = NET_BIND_TCP;
    else if (strcmp(what, "sockets") == 0)
        ruleset.fs = FS_MAKE_SOCK;
    else if (strcmp(what, "scope") == 0)
        ruleset.scoped = SCOPE_ABSTRACT;
    int fd = (int)syscall(CREATE_RULESET, &ruleset, sizeof ruleset, 0);
    if (fd < 0)
        return -1;
    struct port_rule rule = {NET_BIND_TCP, what[3] == '=' ? (uint64_t)atoi(what + 4) : 0};
    if (rule.port != 0 && syscall(ADD_RULE, fd, RULE_NET_PORT, &rule, 0) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1 : (int)syscall(RESTRICT_SELF, fd, 0);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "abi") == 0) {
        long version = syscall(CREATE_RULESET, NULL, 0, VERSION);
        return printf("%ld\n", version < 0 ? 0 : version) < 0;
    }
    if (argc < 3)
        return 2;
    if (restrict_to(argv[1]) < 0)
        return perror("restricted"), 1;
    execvp(argv[2], argv + 2);
    return perror(argv[2]), 127;
}
