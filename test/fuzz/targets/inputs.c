/* Whether anything is reserved: a machine's files, each a directory, a name and a text that NULs end. An empty text stands
 * for a file that cannot be read, and 0x01 in it for 4 KiB of other lines. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 16, FILLER = 4096, LARGEST = 4097 + 16 * FILLER };

static struct file {
    const char *directory, *name;
    char text[LARGEST];
    size_t length;
} files[FILES];
static size_t present, opened;

/* A directory that is being read: which file of those in it comes next. */
static struct reading {
    const char *directory;
    size_t next;
    struct dirent entry;
} readings[4];

static DIR *fuzz_opendir(const char *path) {
    struct reading *reading = &readings[opened];
    for (size_t i = 0; i < present && opened < 4; i++)
        if (strcmp(files[i].directory, path) == 0) {
            *reading = (struct reading){.directory = files[i].directory};
            opened++;
            return (DIR *)reading;
        }
    return NULL;
}
static const struct dirent *fuzz_readdir(DIR *directory) {
    struct reading *reading = (struct reading *)directory;
    while (reading->next < present) {
        const struct file *file = &files[reading->next++];
        if (strcmp(file->directory, reading->directory) != 0)
            continue;
        snprintf(reading->entry.d_name, sizeof reading->entry.d_name, "%s", file->name);
        return &reading->entry;
    }
    return NULL;
}
static void fuzz_closedir(const DIR *directory) {
    opened -= directory != NULL;
}
static int fuzz_open(const char *path) {
    char full[8192];
    for (size_t i = 0; i < present; i++) {
        snprintf(full, sizeof full, "%s/%.255s", files[i].directory, files[i].name);
        if (files[i].length > 0 && strcmp(path, full) == 0)
            return 1000 + (int)i;
    }
    return -1;
}
static ssize_t fuzz_read(int fd, char *buffer, size_t room) {
    const struct file *file = &files[fd - 1000];
    size_t length = file->length < room ? file->length : room;
    memcpy(buffer, file->text, length);
    return (ssize_t)length;
}

static int fuzz_lstat(struct stat *status) {
    memset(status, 0, sizeof *status);
    return 0;
}

#define opendir(path) fuzz_opendir(path)
#define readdir(directory) fuzz_readdir(directory)
#define closedir(directory) fuzz_closedir(directory)
#define open(path, flags) fuzz_open(path)
#define read(fd, buffer, room) fuzz_read(fd, buffer, room)
#define close(fd) ((void)(fd))
#define lstat(path, status) fuzz_lstat(status)
#include "../../../generators/inputs.c"

const char *below_root(const char *path) {
    return path;
}

bool ends_in(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

bool read_file(const char *path, struct text *text) {
    int fd = fuzz_open(path);
    if (fd < 0)
        return false;
    text->length = files[fd - 1000].length;
    text->data = malloc(text->length + 1);
    if (text->data == NULL)
        abort();
    memcpy(text->data, files[fd - 1000].text, text->length);
    text->data[text->length] = '\0';
    return true;
}

/* Words of berth's in the bytes of a file, found the slow way. */
static bool speaks_of_berth(const struct file *file) {
    static const char *const words[] = {"NoActivate", "[X-Berth]"};
    for (size_t word = 0; word < 2; word++)
        for (size_t at = 0, length = strlen(words[word]); at + length <= file->length; at++)
            if (memcmp(file->text + at, words[word], length) == 0)
                return true;
    return false;
}

/* No file anywhere has one of the words, and none is in a directory of reservations. */
static bool nothing_can_be(void) {
    for (size_t i = 0; i < present; i++)
        if (strstr(files[i].directory, "berth") != NULL || strstr(files[i].directory, "portreserve") != NULL ||
            speaks_of_berth(&files[i]))
            return false;
    return true;
}

/* A file that is read whatever else there is. */
static bool something_is(void) {
    for (size_t i = 0; i < present; i++) {
        const struct file *file = &files[i];
        size_t length = strlen(file->name);
        if (file->name[0] == '.' || length > 255)
            continue;
        if (strcmp(file->directory, "/etc/berth") == 0 && ends_in(file->name, ".conf") && strcmp(file->name, "berthd.conf") != 0)
            return true;
        if (strcmp(file->directory, "/etc/systemd/system") == 0 && ends_in(file->name, ".socket") && speaks_of_berth(file)) {
            char path[512];
            snprintf(path, sizeof path, "/etc/systemd/system/%s", file->name);
            /* Of two files of one name there is the first. */
            if (fuzz_open(path) == 1000 + (int)i)
                return true;
        }
    }
    return false;
}

static void expand(struct file *file, const char *text) {
    for (file->length = 0; *text != '\0'; text++)
        if (*text == 1 && file->length + FILLER < LARGEST - 4097) {
            memset(file->text + file->length, '#', FILLER);
            file->length += FILLER;
        } else {
            file->text[file->length++] = *text;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char text[4098];
    const char *parts[3];
    memcpy(text, data, size);
    text[size] = '\0';
    size_t part = 0;
    present = 0;
    for (char *at = text; at < text + size && present < FILES; at += strlen(at) + 1) {
        parts[part++] = at;
        if (part < 3)
            continue;
        part = 0;
        if (strchr(parts[1], '/') != NULL || *parts[1] == '\0')
            continue; /* no name in a directory */
        files[present].directory = parts[0];
        files[present].name = parts[1];
        expand(&files[present++], parts[2]);
    }
    bool reserved = is_anything_reserved();
    if (opened != 0 || (reserved && nothing_can_be()) || (!reserved && something_is()))
        abort();
    return 0;
}
