/* The supervised bind: a filter by which berthd serves bind(2) and listen(2) of this process and all that come of it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "claim.h"
#include "filter.h"

/* Out of the kernel's headers, which musl does not bring along: <linux/filter.h>, <linux/seccomp.h>. */
struct sock_fprog {
    unsigned short length;
    struct sock_filter *filter;
};
enum { SET_MODE_FILTER = 1, NEW_LISTENER = 1 << 3, WAIT_KILLABLE_RECV = 1 << 5 };

#if defined __x86_64__
#define THIS_MACHINE x86_64
_Static_assert(SYS_bind == 49 && SYS_listen == 50 && SYS_socket == 41, "the numbers of filter.c are the machine's");
#elif defined __aarch64__
#define THIS_MACHINE aarch64
_Static_assert(SYS_bind == 200 && SYS_listen == 201 && SYS_socket == 198, "the numbers of filter.c are the machine's");
#else
#error "the supervised bind knows the system calls of x86-64 and aarch64"
#endif

static struct sock_filter filter[MAX_FILTER];
static unsigned short used;

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
    used = make_filter(&THIS_MACHINE, filter);
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
