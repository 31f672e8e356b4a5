/* The kept list of inputs by which the generator knows that nothing has changed: the lines of a manifest behind its header.
 * Of the files that it names there is one of each kind that a stamp can meet, by the last letter of the path. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static size_t touched;

static int fuzz_lstat(const char *path, struct stat *status) {
    size_t length = strlen(path);
    touched += length;
    memset(status, 0, sizeof *status);
    status->st_mode = length > 0 && path[length - 1] == '/' ? S_IFDIR : S_IFREG;
    status->st_mtim.tv_sec = status->st_ctim.tv_sec = 1;
    status->st_size = 2;
    status->st_ino = 3;
    errno = ENOENT;
    return length > 0 && path[length - 1] == '-' ? -1 : 0;
}

/* Every directory has the same three names, two of which can mean something. */
static struct dirent entries[3];
static size_t next_entry, opened;

static DIR *fuzz_opendir(const char *path) {
    static const char *const names[] = {".", "app.conf", "app"};
    size_t length = strlen(path);
    if (length > 0 && path[length - 1] == '-')
        return NULL;
    for (next_entry = 0; next_entry < 3; next_entry++)
        strcpy(entries[next_entry].d_name, names[next_entry]);
    next_entry = 0;
    opened++;
    return (DIR *)&entries;
}
static const struct dirent *fuzz_readdir(const DIR *directory) {
    return directory != NULL && next_entry < 3 ? &entries[next_entry++] : NULL;
}
static void fuzz_closedir(const DIR *directory) {
    opened -= directory != NULL;
}

#define lstat(path, status) fuzz_lstat(path, status)
#define opendir(path) fuzz_opendir(path)
#define readdir(directory) fuzz_readdir(directory)
#define closedir(directory) fuzz_closedir(directory)
#include "../../../generators/stamps.c"

const char *below_root(const char *path) {
    return path;
}

bool ends_in(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char end[] = "\nend\n";
    char *stamps = malloc(size + sizeof end);
    if (stamps == NULL)
        abort();
    memcpy(stamps, data, size);
    memcpy(stamps + size, end, sizeof end);
    for (size_t i = 0; i < size; i++) /* is_whole() has looked for these */
        stamps[i] = stamps[i] == '\0' ? ' ' : stamps[i];
    char *before = strdup(stamps);
    bool current = is_current(stamps);
    if (before == NULL || strcmp(before, stamps) != 0 || opened != 0)
        abort();
    /* One more line that is not as it was, and nothing is current any more. */
    static const char *const changed[] = {"M x\n", "D 1 1 /etc/berth\n", "D 0 0 /etc/berth\n", "F 1000000000 1000000000 2 4 x\n"};
    for (size_t i = 0; current && i < sizeof changed / sizeof *changed; i++) {
        char *more = malloc(strlen(changed[i]) + size + sizeof end);
        if (more == NULL)
            abort();
        strcpy(more, changed[i]);
        strcat(more, before);
        if (is_current(more))
            abort();
        free(more);
    }
    free(before);
    free(stamps);
    return 0;
}
