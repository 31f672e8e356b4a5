/* Files read whole and written whole, and lines of the log: how the calls go (a byte: bits for a failed open(2), read(2),
 * write(2), close(2), poll(2) and rename(2), and two for how much one call moves), the root, a path and a message, each
 * ended by a NUL, and the content. No call reaches a file system. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, CLOSE = 8, POLL = 16, RENAME = 32 };
enum { READER = 1000, WRITER, LOG };

static uint8_t fate;
static const uint8_t *content;
static size_t content_size, content_at;
static char created[8192], renamed[8192], written[2 * 4096], logged[2048];
static size_t written_size, line_size, opened, unlinked, repeated;

static bool fails(int call) {
    errno = EIO;
    return (fate & call) != 0;
}

static size_t share(size_t length) {
    size_t most = (size_t)1 << (4 * (fate >> 6));
    return length < most ? length : most;
}

static int fuzz_open(const char *path, int flags) {
    if (fails(OPEN))
        return -1;
    opened++;
    if ((flags & O_CREAT) != 0) {
        snprintf(created, sizeof created, "%s", path);
        return WRITER;
    }
    return (flags & O_ACCMODE) == O_WRONLY ? LOG : READER;
}
/* The content again and again for the largest shares: more than a first buffer takes. */
static ssize_t fuzz_read(char *buffer, size_t room) {
    if (fails(READ) && content_at >= content_size / 2)
        return -1;
    if (content_at == content_size && repeated > 0 && content_size > 0) {
        repeated--;
        content_at = 0;
    }
    size_t length = share(content_size - content_at);
    if (length > room)
        length = room;
    memcpy(buffer, content + content_at, length);
    content_at += length;
    return (ssize_t)length;
}
static ssize_t fuzz_write(int fd, const char *data, size_t length) {
    if (fd == LOG) {
        if (length > sizeof logged)
            abort();
        memcpy(logged, data, length);
        line_size = length;
        return (ssize_t)length;
    }
    length = share(length);
    if (fd != WRITER || (fails(WRITE) && written_size >= content_size / 2) || written_size + length > sizeof written)
        return -1;
    memcpy(written + written_size, data, length);
    written_size += length;
    return (ssize_t)length;
}
static int fuzz_close(int fd) {
    if (fd < READER)
        abort();
    opened--;
    return fails(CLOSE) ? -1 : 0;
}
static int fuzz_rename(const char *from, const char *to) {
    if (strcmp(from, created) != 0 || fails(RENAME))
        return -1;
    snprintf(renamed, sizeof renamed, "%s", to);
    return 0;
}
static int fuzz_unlink(const char *path) {
    unlinked += strcmp(path, created) == 0;
    return 0;
}
/* No directory is there, but one at the top. */
static int fuzz_mkdir(const char *path) {
    errno = ENOENT;
    return strchr(path + (*path != '\0'), '/') == NULL ? 0 : -1;
}
static int fuzz_fstat(struct stat *status) {
    memset(status, 0, sizeof *status);
    return 0;
}

#define open(path, flags, ...) fuzz_open(path, flags)
#define read(fd, buffer, room) fuzz_read(buffer, room)
#define write(fd, data, length) fuzz_write(fd, data, length)
#define close(fd) fuzz_close(fd)
#define rename(from, to) fuzz_rename(from, to)
#define unlink(path) fuzz_unlink(path)
#define mkdir(path, mode) fuzz_mkdir(path)
#define fstat(fd, status) fuzz_fstat(status)
#define poll(entries, count, patience) ((entries) == NULL || fails(POLL) ? 0 : 1)
#include "../../../generators/files.c"

static void check_reading(const char *path, int patience_ms) {
    struct text text = {0};
    content_at = 0;
    size_t times = repeated = fate >> 6 == 3 && content_size > 0 ? (fate & 15) * 16 : 0;
    bool done = patience_ms > 0 ? read_all(READER, &text, patience_ms) : read_file(path, &text);
    if (done) {
        if (text.length != content_size * (times + 1) || text.data[text.length] != '\0')
            abort();
        for (size_t at = 0; at < text.length; at += content_size)
            if (memcmp(text.data + at, content, content_size) != 0)
                abort();
    } else if ((fate & (OPEN | READ | POLL)) == 0) {
        abort();
    }
    free(text.data);
}

/* Whole or not at all, and nothing is left of one that was not. */
static void check_writing(const char *path) {
    created[0] = renamed[0] = '\0';
    written_size = unlinked = 0;
    if (put(path, (const char *)content, content_size)) {
        if (strcmp(renamed, path) != 0 || written_size != content_size || memcmp(written, content, content_size) != 0)
            abort();
    } else if ((fate & (OPEN | WRITE | CLOSE | RENAME)) == 0 || renamed[0] != '\0' || (created[0] != '\0' && unlinked != 1)) {
        abort();
    }
}

static void check_line(const char *message) {
    line_size = 0;
    complain("%s: %s", message, message);
    if ((fate & OPEN) == 0 && (line_size == 0 || logged[line_size - 1] != '\n' || memchr(logged, '\0', line_size) != NULL))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char text[3 * 4097];
    const char *parts[3];
    if (size == 0)
        return 0;
    fate = data[0];
    size_t at = 1;
    for (size_t part = 0, put_at = 0; part < 3; part++) {
        size_t length = strnlen((const char *)data + at, size - at);
        parts[part] = text + put_at;
        memcpy(text + put_at, data + at, length);
        text[put_at + length] = '\0';
        put_at += length + 1;
        at += length + (at + length < size);
    }
    content = data + at;
    content_size = size - at;
    root = parts[0];
    if (strlen(below_root(parts[1])) != strlen(root) + strlen(parts[1]))
        abort();
    check_reading(parts[1], 0);
    check_reading(parts[1], 1);
    check_writing(parts[1]);
    check_line(parts[2]);
    if (opened != 0)
        abort();
    return 0;
}
