/* What calls LLVMFuzzerTestOneInput() where there is no libFuzzer: every file of a corpus as it is, then RUNS inputs that
 * are made of them by seeded mutation, the same for the same seed.
 *
 *     fuzz-TARGET SEED RUNS CORPUS [FAILED]
 *
 * An input that ends the process is left in the file FAILED, for a corpus of its own. */
#include <dirent.h>
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 4096, MAX_ENTRIES = 256, SECONDS = 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A target that finds something wrong itself, or hangs, leaves its input, too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "handle_abort=1";
}

struct entry {
    uint8_t data[LARGEST];
    size_t size;
};

static struct entry corpus[MAX_ENTRIES], current;
static size_t entries;
static const char *failed;
static uint64_t state;

/* splitmix64 */
static uint64_t draw(uint64_t below) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % below;
}

static void read_corpus(const char *path) {
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        int fd = names[i]->d_name[0] == '.' || entries == MAX_ENTRIES ? -1 : open(file, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, corpus[entries].data, LARGEST);
        if (got >= 0)
            corpus[entries++].size = (size_t)got;
        if (fd >= 0)
            close(fd);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
}

/* Puts `size` bytes in the place of `gone` ones; what does not fit is cut off. */
static void replace(size_t at, size_t gone, const uint8_t *data, size_t size) {
    uint8_t copy[LARGEST];
    size_t rest = current.size - at - gone;
    if (size > LARGEST - at)
        size = LARGEST - at;
    if (rest > LARGEST - at - size)
        rest = LARGEST - at - size;
    memcpy(copy, data, size);
    memmove(current.data + at + size, current.data + at + gone, rest);
    memcpy(current.data + at, copy, size);
    current.size = at + size + rest;
}

static void mutate(void) {
    static const char *const numbers[] = {"0", "1", "-1", "253", "254", "4294967296", "18446744073709551615", "99999999999999999999"};
    static const uint8_t bytes[] = {0, '\n', ' ', '"', '\\', ':', '%', '/', '-', 0x7f, 0x80, 0xff};
    const struct entry *other = &corpus[draw(entries)];
    size_t at = draw(current.size + 1), length = draw(16) == 0 ? current.size : draw(9);
    if (length > current.size - at)
        length = current.size - at;
    switch (draw(6)) {
    case 0:
        replace(at, length, bytes, 0);
        break;
    case 1:
        replace(at, 0, current.data + at, length);
        break;
    case 2:
        if (at < current.size)
            current.data[at] ^= (uint8_t)(1 << draw(8));
        break;
    case 3:
        replace(at, draw(2) < length, &bytes[draw(sizeof bytes)], 1);
        break;
    case 4: {
        const char *number = numbers[draw(sizeof numbers / sizeof *numbers)];
        replace(at, length > 1, (const uint8_t *)number, strlen(number));
        break;
    }
    default: {
        size_t from = draw(other->size + 1);
        replace(at, length, other->data + from, draw(other->size - from + 1));
    }
    }
}

static void hang(int signal) {
    static const char text[] = "one input takes ten seconds\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0 || signal != 0)
        abort();
}

static void keep_failed(void) {
    int fd = failed == NULL ? -1 : open(failed, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, current.data, current.size) >= 0)
        close(fd);
}

/* A copy of exactly its size, so that a read beyond it is found. */
static void run_current(void) {
    uint8_t *data = malloc(current.size + (current.size == 0));
    if (data == NULL)
        abort();
    memcpy(data, current.data, current.size);
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(data, current.size);
    free(data);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s SEED RUNS CORPUS [FAILED]\n", argv[0]);
        return 2;
    }
    state = strtoull(argv[1], NULL, 10);
    failed = argc > 4 ? argv[4] : NULL;
    signal(SIGALRM, hang);
    __asan_set_death_callback(keep_failed);
    read_corpus(argv[3]);
    if (entries == 0) {
        fprintf(stderr, "there is nothing in %s\n", argv[3]);
        return 2;
    }
    for (size_t i = 0; i < entries; i++) {
        current = corpus[i];
        run_current();
    }
    size_t runs = strtoull(argv[2], NULL, 10);
    for (size_t i = 0; i < runs; i++) {
        current = corpus[draw(entries)];
        for (size_t changes = 1 + draw(8); changes > 0; changes--)
            mutate();
        run_current();
    }
    printf("%zu inputs\n", entries + runs);
    return 0;
}
