/* Whether anything has changed since src/generator/stamps.ts noted how it was. The addon has this file, too. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "generator.h"

/* As in stamps.ts: a name that can mean something. portreserve's files have no ending. */
static bool means_something(const char *name, bool legacy) {
    static const char *const ends[] = {".conf", ".service", ".socket",   ".container", ".kube",
                                       ".d",    ".wants",   ".requires", ".upholds"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (name[0] != '.' && ends_in(name, ends[i]))
            return true;
    return legacy && strpbrk(name, ".~") == NULL;
}

/* The sum of the hashes of such names, in any order. */
static bool directory_is(const char *path, uint32_t hash, unsigned long count) {
    bool legacy = strcmp(path, "/etc/portreserve") == 0;
    DIR *directory = opendir(below_root(path));
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        const char *name = entry->d_name;
        if (!means_something(name, legacy))
            continue;
        uint32_t one = 0x811c9dc5;
        for (; *name != '\0'; name++)
            one = (one ^ (unsigned char)*name) * 0x01000193;
        hash -= one;
        count--;
    }
    if (directory != NULL)
        closedir(directory);
    return hash == 0 && count == 0;
}

static bool file_is(const char *path, const unsigned long long stamp[4]) {
    struct stat now;
    return lstat(below_root(path), &now) == 0 && stamp[2] == (unsigned long long)now.st_size && stamp[3] == now.st_ino &&
           stamp[0] == (unsigned long long)now.st_mtim.tv_sec * 1000000000 + (unsigned long long)now.st_mtim.tv_nsec &&
           stamp[1] == (unsigned long long)now.st_ctim.tv_sec * 1000000000 + (unsigned long long)now.st_ctim.tv_nsec;
}

/* Reads numbers with a blank behind each; NULL when there are fewer. There are thousands of such lines at each start and
 * reload, and sscanf(3) took half of the time. */
static const char *read_numbers(const char *at, unsigned long long *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (*at < '0' || *at > '9')
            return NULL;
        for (numbers[i] = 0; *at >= '0' && *at <= '9'; at++)
            numbers[i] = numbers[i] * 10 + (unsigned long long)(*at - '0');
        if (*at++ != ' ')
            return NULL;
    }
    return at;
}

/* Whether the input that a line stands for is as it was. */
static bool input_is(const char *line) {
    unsigned long long stamp[4];
    const char *file;
    unsigned long count;
    struct stat now;
    uint32_t hash;
    int path = 0;
    switch (line[0]) {
    case 'D':
        return sscanf(line, "D %x %lu %n", &hash, &count, &path) == 2 && directory_is(line + path, hash, count);
    case 'F':
        file = line[1] == ' ' ? read_numbers(line + 2, stamp, 4) : NULL;
        return file != NULL && file_is(file, stamp);
    case 'M':
        /* A directory that has come says nothing: what matters in it has lines of its own. */
        return lstat(below_root(line + 2), &now) < 0 ? errno == ENOENT || errno == ENOTDIR : S_ISDIR(now.st_mode);
    default:
        return false;
    }
}

bool is_current(char *stamps) {
    char *line = stamps;
    for (char *end; *line != 'O' && *line != 'L' && strcmp(line, "end\n") != 0; line = end + 1) {
        end = strchr(line, '\n');
        if (end == NULL)
            return false;
        *end = '\0';
        bool current = input_is(line);
        *end = '\n';
        if (!current)
            return false;
    }
    return true;
}
