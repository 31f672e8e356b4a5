/* What berthd, or somebody in its place, can send to berth-claim. The input is packets that 0xff ends, each of which begins
 * with the number of its descriptors (`0` to `7`). */
#include "../../../src/native/claim/ask.c"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

static jmp_buf refused;

void refuse(const char *name, const char *format, ...) {
    static char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    longjmp(refused, *name != '\0');
}

static void send_packet(int fd, int passed, const uint8_t *data, size_t size) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    size_t count = size > 0 ? data[0] & 7 : 0;
    struct iovec part = {(uint8_t *)data + (size > 0), size - (size > 0)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header == NULL)
            abort();
        *header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(int))};
        for (size_t i = 0; i < count; i++)
            memcpy(CMSG_DATA(header) + i * sizeof(int), &passed, sizeof passed);
    }
    sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct handoff handoff;
    int ends[2], passed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (passed < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        abort();
    while (size > 0) {
        const uint8_t *end = memchr(data, 0xff, size);
        size_t length = end == NULL ? size : (size_t)(end - data);
        send_packet(ends[0], passed, data, length);
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
    close(ends[0]);
    if (setjmp(refused) == 0) {
        while (receive(ends[1], "x", &handoff) > 0) {}
        /* What run.c and store.c rely on. */
        if (count_names(handoff.names) != handoff.count || strlen(handoff.names) >= MAX_NAMES)
            abort();
    }
    close(ends[1]);
    discard(&handoff);
    free(handoff.fds);
    handoff.fds = NULL;
    memset(handoff.mode, 0, sizeof handoff.mode);
    /* Those that came with an answer that was refused: berth-claim itself ends then. */
    closefrom(3);
    return 0;
}
