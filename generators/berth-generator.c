/* systemd.generator(7), in front of the one that is written in TypeScript. At each boot and daemon-reload it answers out
 * of what it kept from the last run, when nothing has changed since; it does nothing, when nothing is reserved; and
 * only else it starts Node, whose answer (src/generator/manifest.ts has its format) it keeps and carries out. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "generator.h"

static const char program[] = "/usr/lib/berth/generator.cjs";
static const char header[] = "berth-generator 1 " VERSION "\n";
/* One for the daemon-reloads of this boot, one for the next boot. */
static const char *const caches[] = {"/run/berth/generator", "/var/lib/berth/generator"};
enum { PATIENCE_MS = 30 * 1000 };

/* Whether a manifest is whole and of this version, which its first line and its last one tell. */
static bool is_whole(const struct text *manifest) {
    return manifest->data != NULL && strncmp(manifest->data, header, sizeof header - 1) == 0 &&
           ends_in(manifest->data, "\nend\n") && strlen(manifest->data) == manifest->length;
}

/* Below this many drop-ins they are files where systemd looks for them, which is plainer to look at. */
enum { MANY = 64 };

const char *next_output(const struct text *manifest, const char *at, struct output *output) {
    const char *end = manifest->data + manifest->length;
    for (const char *next; at < end && (next = strchr(at, '\n')) != NULL; at = next + 1) {
        if (at[0] != 'O')
            continue;
        if (sscanf(at, "O %zu %4095[^\n]", &output->length, output->name) != 2 ||
            output->length > (size_t)(end - next) - 1)
            return NULL;
        output->data = next + 1;
        return output->data + output->length + 1;
    }
    return NULL;
}

/* What is to be said, which is before the drop-ins. */
static void say(const struct text *manifest) {
    const char *line = manifest->data;
    for (const char *next; line[0] != 'O' && (next = strchr(line, '\n')) != NULL; line = next + 1)
        if (line[0] == 'L')
            complain("%.*s", (int)(next - line - 2), line + 2);
}

/* Carries a manifest out: its drop-ins into `directory`, its complaints into the log when `aloud`. */
static void carry_out(const struct text *manifest, const char *directory, bool aloud) {
    struct output output;
    struct tree tree;
    size_t count = 0;
    if (aloud)
        say(manifest);
    for (const char *at = manifest->data; (at = next_output(manifest, at, &output)) != NULL;)
        count++;
    bool kept = count >= MANY && find_tree(manifest, &tree);
    if (count < MANY)
        remove_trees();
    for (const char *at = manifest->data; (at = next_output(manifest, at, &output)) != NULL;) {
        char path[8192];
        if (kept && link_drop_in(&tree, directory, output.name))
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, output.name);
        if (!put(path, output.data, output.length))
            complain("cannot write %s: %s", path, strerror(errno));
    }
}

static void keep(const struct text *manifest, const char *cache) {
    if (strstr(manifest->data, "\nU\n") != NULL)
        return;
    char path[8192];
    snprintf(path, sizeof path, "%s", below_root(cache));
    /* Without a place to keep it, Node runs again at the next reload. */
    strncat(path, "/manifest", sizeof path - strlen(path) - 1);
    put(path, manifest->data, manifest->length);
}

/* Has Node make a manifest. False with errno ENOENT or EACCES when there is no Node to run. */
static bool ask_node(const char *node_program, struct text *manifest) {
    int pipes[2], status = 0;
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        execl(node_program, node_program, *root != '\0' ? "--root" : (char *)NULL, root, (char *)NULL);
        _exit(errno == ENOENT || errno == EACCES ? 127 : 126);
    }
    close(pipes[1]);
    bool done = child > 0 && read_all(pipes[0], manifest, PATIENCE_MS);
    close(pipes[0]);
    if (!done && child > 0)
        kill(child, SIGKILL);
    if (child > 0)
        waitpid(child, &status, 0);
    errno = WIFEXITED(status) && WEXITSTATUS(status) == 127 ? ENOENT : EIO;
    return done && status == 0 && is_whole(manifest);
}

int main(int argc, char **argv) {
    static struct text kept[2], fresh; /* until the program ends */
    const char *node_program = program;
    if (argc > 4 && strcmp(argv[1], "--root") == 0) { /* for tests: a tree, and what stands in for Node's part */
        root = argv[2];
        node_program = argv[3];
        argv += 3;
        argc -= 3;
    }
    if ((argc != 2 && argc != 4) || argv[1][0] != '/') {
        fputs("berth-generator is run by systemd: see berth-generator(8)\n", stderr);
        return 2;
    }
    const char *in_initrd = getenv("SYSTEMD_IN_INITRD"), *scope = getenv("SYSTEMD_SCOPE");
    if ((in_initrd != NULL && strcmp(in_initrd, "1") == 0) || (scope != NULL && strcmp(scope, "system") != 0))
        return 0;
    unsetenv("NODE_OPTIONS");
    unsetenv("NODE_EXTRA_CA_CERTS");
    for (int i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/manifest", caches[i]);
        if (!read_file(path, &kept[i]) || !is_whole(&kept[i]) || !is_current(kept[i].data + sizeof header - 1))
            continue;
        /* The first run of a boot says what is wrong; a reload does not say it again. */
        carry_out(&kept[i], argv[1], i > 0);
        if (i > 0)
            keep(&kept[i], caches[0]);
        return 0;
    }
    if (!is_anything_reserved())
        return 0;
    if (ask_node(node_program, &fresh)) {
        carry_out(&fresh, argv[1], true);
        keep(&fresh, caches[0]);
        keep(&fresh, caches[1]);
        return 0;
    }
    /* Without Node, berthd does not run either, and a service that asks it for sockets would fail: better let the
     * services bind their own. Any other failure is of this run alone: the last known drop-ins are the best guess. */
    if (errno == ENOENT) {
        complain("%s cannot be run: is Node installed? No unit gets its reserved sockets", node_program);
        return 0;
    }
    int old = is_whole(&kept[0]) ? 0 : 1;
    complain("%s failed: %s", node_program,
             is_whole(&kept[old]) ? "the drop-ins of its last run are used" : "no unit gets its reserved sockets");
    if (is_whole(&kept[old]))
        carry_out(&kept[old], argv[1], false);
    return 0;
}
