/* Reading whole files, writing whole files, and the log. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "generator.h"

enum { LIMIT = 64 * 1024 * 1024 };

const char *root = "";

const char *below_root(const char *path) {
    static char full[8192];
    if (*root == '\0')
        return path;
    return (size_t)snprintf(full, sizeof full, "%s%s", root, path) < sizeof full ? full : "";
}

bool ends_in(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Reads all that comes until the end, or until the deadline passes when there is one. */
bool read_all(int fd, struct text *text, int patience_ms) {
    size_t room = 0;
    text->length = 0;
    text->data = NULL;
    for (;;) {
        if (text->length + 1 >= room) {
            room = room == 0 ? (size_t)64 * 1024 : room * 2;
            char *more = room > LIMIT ? NULL : realloc(text->data, room);
            if (more == NULL)
                return false;
            text->data = more;
        }
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (patience_ms > 0 && poll(&ready, 1, patience_ms) <= 0)
            return false;
        ssize_t got = read(fd, text->data + text->length, room - text->length - 1);
        if (got < 0)
            return false;
        text->length += (size_t)got;
        text->data[text->length] = '\0';
        if (got == 0)
            return true;
    }
}

bool read_file(const char *path, struct text *text) {
    int fd = open(below_root(path), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = read_all(fd, text, 0);
    close(fd);
    return done;
}

/* Makes the directories on the way to a file, from the last one up to the first that is there. */
static void make_directories(char *path) {
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return;
    *slash = '\0';
    if (mkdir(path, 0755) < 0 && errno == ENOENT) {
        make_directories(path);
        mkdir(path, 0755);
    }
    *slash = '/';
}

/* Writes a file whole or not at all: half a drop-in could empty an ExecStart=. */
bool put(const char *path, const char *data, size_t length) {
    char temporary[8192];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary)
        return false;
    make_directories(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return false;
    bool done = true;
    for (ssize_t wrote; done && length > 0; data += wrote, length -= (size_t)wrote) {
        wrote = write(fd, data, length);
        done = wrote > 0;
    }
    /* close() is where a file system may tell of a full disk. */
    done = close(fd) == 0 && done && rename(temporary, path) == 0;
    int why = errno;
    if (!done)
        unlink(temporary);
    errno = why;
    return done;
}

/* One line to the kernel's log: there is no journal yet at boot. A container has none of its own (systemd-nspawn puts a
 * FIFO there that nobody reads), but a console. */
void complain(const char *format, ...) {
    char line[1200], path[4096];
    struct stat status;
    va_list arguments;
    int length = snprintf(line, sizeof line, "<3>berth-generator[%d]: ", (int)getpid());
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    snprintf(path, sizeof path, "%s/dev/kmsg", root);
    int fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || (fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode))) {
        if (fd >= 0)
            close(fd);
        fd = open("/dev/console", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    }
    if (write(fd < 0 ? STDERR_FILENO : fd, line, (size_t)length) < 0) {} /* nobody is left to tell */
    if (fd >= 0)
        close(fd);
}
