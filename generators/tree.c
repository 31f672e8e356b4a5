/* The drop-ins of many units, kept from one daemon-reload to the next. systemd empties its directory each time, and to
 * make a directory and a file for each of 10,000 units again takes longer than all the rest of the reload. So from some
 * number on they are kept here, and each unit's directory is one link. */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "generator.h"

static const char trees[] = "/run/berth/generator";
static const char prefix[] = "tree-";
enum { DEPTH = 16 };

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)status, (void)kind, (void)at;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_one, DEPTH, FTW_DEPTH | FTW_PHYS);
}

/* Removes all trees but the one of this name. */
static void remove_others(const char *place, const char *name) {
    DIR *entries = opendir(place);
    for (const struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        char path[8192];
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0 || strcmp(entry->d_name, name) == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", place, entry->d_name);
        remove_tree(path);
    }
    if (entries != NULL)
        closedir(entries);
}

void remove_trees(void) {
    char place[4096];
    snprintf(place, sizeof place, "%s", below_root(trees));
    remove_others(place, "");
}

/* When a tree was complete, which its last file tells. */
static bool is_complete(struct tree *tree) {
    char path[sizeof tree->path + 16];
    struct stat status;
    snprintf(path, sizeof path, "%s/complete", tree->path);
    if (lstat(path, &status) < 0)
        return false;
    tree->complete = status.st_mtim;
    return true;
}

static bool make_tree(const struct text *manifest, const char *path) {
    struct output output;
    char file[8192];
    for (const char *at = manifest->data; (at = next_output(manifest, at, &output)) != NULL;)
        if ((size_t)snprintf(file, sizeof file, "%s/%s", path, output.name) >= sizeof file ||
            !put(file, output.data, output.length))
            return false;
    snprintf(file, sizeof file, "%s/complete", path);
    return put(file, "", 0);
}

/* Finds the tree of a manifest, by the sum of its text, or makes it. Whole or not at all. */
bool find_tree(const struct text *manifest, struct tree *tree) {
    uint64_t sum = 0xcbf29ce484222325; /* FNV-1a */
    char place[4096], name[64], fresh[sizeof tree->path + 8];
    for (size_t i = 0; i < manifest->length; i++)
        sum = (sum ^ (unsigned char)manifest->data[i]) * 0x100000001b3;
    snprintf(place, sizeof place, "%s", below_root(trees));
    snprintf(name, sizeof name, "%s%016llx", prefix, (unsigned long long)sum);
    snprintf(tree->path, sizeof tree->path, "%s/%s", place, name);
    if (is_complete(tree))
        return true;
    remove_others(place, name);
    snprintf(fresh, sizeof fresh, "%s.new", tree->path);
    if (make_tree(manifest, fresh) && rename(fresh, tree->path) == 0)
        return is_complete(tree);
    remove_tree(fresh);
    return false;
}

/* Links the directory of a drop-in of the tree into `directory`. False when the file has to be written there instead:
 * another generator has the directory already, or had written into this one through the link of an earlier reload. */
bool link_drop_in(const struct tree *tree, const char *directory, const char *name) {
    char target[sizeof tree->path + 4096], link[8192], found[sizeof target];
    int unit = (int)strcspn(name, "/");
    struct stat status;
    snprintf(target, sizeof target, "%s/%.*s", tree->path, unit, name);
    if ((size_t)snprintf(link, sizeof link, "%s/%.*s", directory, unit, name) >= sizeof link)
        return false;
    if (lstat(target, &status) < 0 || status.st_mtim.tv_sec > tree->complete.tv_sec ||
        (status.st_mtim.tv_sec == tree->complete.tv_sec && status.st_mtim.tv_nsec > tree->complete.tv_nsec))
        return false;
    if (symlink(target, link) == 0)
        return true;
    ssize_t length = errno == EEXIST ? readlink(link, found, sizeof found) : -1;
    return length == (ssize_t)strlen(target) && memcmp(found, target, (size_t)length) == 0;
}
