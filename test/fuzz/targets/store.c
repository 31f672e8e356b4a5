/* What berth-claim tells systemd: $NOTIFY_SOCKET, then the names of descriptors as berthd sent them, each ended by a NUL. */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

static jmp_buf refused;
static size_t stored;

static int fuzz_connect(const struct sockaddr *address, socklen_t length) {
    /* Reads what the kernel would read. */
    for (socklen_t i = 0; i < length; i++)
        stored += ((const volatile char *)address)[i] == '\n';
    return 0;
}
static ssize_t fuzz_sendmsg(const struct msghdr *message) {
    stored += message->msg_iov->iov_len > 0 && message->msg_control != NULL;
    return (ssize_t)message->msg_iov->iov_len;
}

#define connect(fd, address, length) ((void)(fd), fuzz_connect(address, length))
#define sendmsg(fd, message, flags) ((void)(fd), fuzz_sendmsg(message))
#define poll(fds, count, patience) ((fds) != NULL ? 1 : -1)
#define opendir(path) ((path) == NULL ? (DIR *)-1 : NULL)
#include "../../../src/native/claim/store.c"

void refuse(const char *name, const char *format, ...) {
    longjmp(refused, 1 + (name == NULL && format == NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct handoff handoff;
    static int fds[8192];
    char text[4097];
    memcpy(text, data, size);
    text[size] = '\0';
    size_t length = strlen(text);
    const char *names = text + length + (length < size);
    setenv("NOTIFY_SOCKET", text, 1);
    strcpy(handoff.names, names);
    handoff.count = *names != '\0';
    for (const char *c = names; *c != '\0'; c++)
        handoff.count += *c == ':';
    handoff.fds = fds;
    stored = 0;
    if (setjmp(refused) == 0) {
        store("x", &handoff);
        if (stored < handoff.count)
            abort();
    } else {
        closefrom(3);
    }
    return 0;
}
