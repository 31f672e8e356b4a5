/* What berth-generator kept of its last run: a whole manifest, in a tree of its own where nothing is. */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#define main generator_main
#define VERSION "0"
#include "../../../generators/berth-generator.c"
#undef main
#include "../../../generators/stamps.c"
#include "../../../generators/tree.c"

const char *root = "/nonexistent";

const char *below_root(const char *path) {
    static char full[8192];
    return (size_t)snprintf(full, sizeof full, "%s%s", root, path) < sizeof full ? full : "";
}

bool ends_in(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static size_t sum;

bool put(const char *path, const char *data, size_t length) {
    for (size_t i = 0; i < length; i++)
        sum += (unsigned char)data[i];
    return *path == '/';
}

void complain(const char *format, ...) {
    static char line[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
}

bool read_all(int fd, struct text *text, int patience_ms) {
    return fd < 0 && text == NULL && patience_ms < 0;
}
bool read_file(const char *path, struct text *text) {
    return path == NULL && text == NULL;
}
bool is_anything_reserved(void) {
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct text manifest = {malloc(size + 1), size};
    if (manifest.data == NULL)
        abort();
    memcpy(manifest.data, data, size);
    manifest.data[size] = '\0';
    if (is_whole(&manifest)) {
        is_current(manifest.data + sizeof header - 1);
        if (memcmp(manifest.data, data, size) != 0)
            abort();
        carry_out(&manifest, "/nonexistent", true);
    }
    free(manifest.data);
    return 0;
}
