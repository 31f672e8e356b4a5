/* portrelease: the names that it is given, each ended by a NUL, an empty one at the end, and then what berthd answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t *reply;
static size_t reply_size, sent;

static ssize_t fuzz_recv(char *buffer, size_t room) {
    size_t size = reply_size < room ? reply_size : room;
    memcpy(buffer, reply, size);
    return (ssize_t)size;
}
static ssize_t fuzz_send(const char *text, size_t size) {
    sent += size > 0 && text[0] == '{' && text[size - 1] == '}';
    return (ssize_t)size;
}
/* Nothing is to be printed a million times; the texts are put together all the same. */
static char printed[4096];

#define connect(fd, address, size) ((fd) < 0 || (address) == NULL || (size) == 0 ? -1 : 0)
#define send(fd, text, size, flags) fuzz_send(text, size)
#define recv(fd, buffer, room, flags) fuzz_recv(buffer, room)
#define fprintf(file, ...) snprintf(printed, sizeof printed, __VA_ARGS__)
#include "../../../src/native/claim/release.c"
#include "../../../src/native/claim/ask.c"
#undef fprintf

static jmp_buf refused;

void refuse(const char *name, const char *format, ...) {
    longjmp(refused, 1 + (name == NULL && format == NULL));
}

void make_printable(char *text) {
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ')
            *text = ' ';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char names[4098], *arguments[4098];
    size_t count = 0, at = 0;
    memcpy(names, data, size);
    names[size] = names[size + 1] = '\0';
    for (; at < size && names[at] != '\0'; at += strlen(names + at) + 1)
        arguments[count++] = names + at;
    arguments[count] = NULL;
    at = at < size ? at + 1 : size;
    reply = data + at;
    reply_size = size - at;
    sent = 0;
    if (setjmp(refused) == 0 && release("/run/berth/control", arguments) == 0 && sent == 0)
        abort();
    return 0;
}
