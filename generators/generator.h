/* berth-generator(8): what its parts share. */
#ifndef BERTH_GENERATOR_H
#define BERTH_GENERATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct text {
    char *data; /* ends in NUL; NULL before anything was read */
    size_t length;
};

/* Goes before each path but those of the drop-ins: empty, or a tree for tests. */
extern const char *root;

/* files.c */
const char *below_root(const char *path); /* the path itself, or in a buffer that the next call reuses */
bool ends_in(const char *name, const char *end);
bool read_all(int fd, struct text *text, int patience_ms); /* 0: for as long as it takes */
bool read_file(const char *path, struct text *text);
bool put(const char *path, const char *data, size_t length); /* not below root */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* stamps.c */
bool is_current(char *stamps); /* the lines of a manifest behind its header; written to, and put back */

/* inputs.c */
bool is_anything_reserved(void);

/* A drop-in of a manifest. */
struct output {
    char name[4096]; /* below the directory of the generator */
    const char *data;
    size_t length;
};
/* Reads the first drop-in from `at` on; returns where to go on, or NULL when there is none. */
const char *next_output(const struct text *manifest, const char *at, struct output *output);

/* Where the drop-ins of a manifest are kept (tree.c). */
struct tree {
    char path[4096 + 64];
    struct timespec complete;
};
void remove_trees(void);
bool find_tree(const struct text *manifest, struct tree *tree);
bool link_drop_in(const struct tree *tree, const char *directory, const char *name);

#endif
