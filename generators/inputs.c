/* Whether anything is reserved at all. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "generator.h"

static bool has_entry(const char *directory, const char *end, bool (*wanted)(const char *path)) {
    DIR *entries = opendir(below_root(directory));
    bool found = false;
    for (const struct dirent *entry; !found && entries != NULL && (entry = readdir(entries)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] == '.' || !ends_in(entry->d_name, end))
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        found = wanted(path);
    }
    if (entries != NULL)
        closedir(entries);
    return found;
}

static bool is_reservation(const char *path) {
    return !ends_in(path, "/berthd.conf");
}

/* As portreserve has it: any other file in its directory is an editor's. */
static bool is_legacy(const char *path) {
    return strpbrk(strrchr(path, '/'), ".~") == NULL;
}

static bool has_mark(const char *data, size_t length) {
    return memmem(data, length, "NoActivate", 10) != NULL || memmem(data, length, "[X-Berth]", 9) != NULL;
}

/* One read(2) is enough for nearly every unit file, of which a machine has hundreds. */
static bool is_marked(const char *path) {
    static char start[16 * 1024];
    int fd = open(below_root(path), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, start, sizeof start);
    close(fd);
    if (got < (ssize_t)sizeof start)
        return got > 0 && has_mark(start, (size_t)got);
    struct text text = {0};
    bool marked = read_file(path, &text) && has_mark(text.data, text.length);
    free(text.data);
    return marked;
}

static bool has_marked_drop_in(const char *directory) {
    return has_entry(directory, ".conf", is_marked);
}

/* Whether anything is reserved at all: a file of berth's or of portreserve's, or a unit file with one of its words in it. */
bool is_anything_reserved(void) {
    static const char *const own[] = {"/etc/berth", "/run/berth", "/usr/lib/berth"};
    static const char *const units[] = {
        "/etc/systemd/system.control", "/run/systemd/system.control", "/etc/systemd/system",
        "/etc/systemd/system.attached", "/run/systemd/system", "/run/systemd/system.attached",
        "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"};
    struct stat lib;
    size_t count = sizeof units / sizeof *units;
    if (lstat(below_root("/lib"), &lib) == 0 && S_ISLNK(lib.st_mode))
        count--;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (has_entry(own[i], ".conf", is_reservation))
            return true;
    if (has_entry("/etc/portreserve", "", is_legacy))
        return true;
    for (size_t i = 0; i < count; i++)
        if (has_entry(units[i], ".service", is_marked) || has_entry(units[i], ".socket", is_marked) ||
            has_entry(units[i], "service.d", has_marked_drop_in) || has_entry(units[i], "socket.d", has_marked_drop_in))
            return true;
    return false;
}
