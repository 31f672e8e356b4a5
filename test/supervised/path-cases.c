/* path-cases PATH...: what bind(2) and listen(2) do with AF_UNIX paths, case by case, each with a path of its own that is
 * alone in its directory. Prints a line for each call: run once without berth, and once supervised with the paths reserved,
 * the output has to be the same. `path-cases --kinds` prints the kind of each path that it wants. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *title;
static char path[108], directory[108], name[108];

static int told(const char *what, int result) {
    printf("%s: %s: %s\n", title, what, result < 0 ? strerrorname_np(errno) : "ok");
    return result;
}

static void tell(const char *what, long value) { printf("%s: %s: %ld\n", title, what, value); }

static int stream(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static int datagram(void) { return socket(AF_UNIX, SOCK_DGRAM, 0); }
static int seqpacket(void) { return socket(AF_UNIX, SOCK_SEQPACKET, 0); }

static struct sockaddr_un address(const char *text) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, text, strnlen(text, sizeof un.sun_path - 1));
    return un;
}

static int bind_text(int fd, const char *text) {
    struct sockaddr_un un = address(text);
    return bind(fd, (struct sockaddr *)&un, sizeof un);
}

static int binds(int fd) { return told("bind", bind_text(fd, path)); }

/* Without the part that differs from run to run. */
static void names(int fd) {
    struct sockaddr_un un = {0};
    socklen_t length = sizeof un;
    told("getsockname", getsockname(fd, (struct sockaddr *)&un, &length));
    char *known = strstr(un.sun_path, directory);
    if (known != NULL)
        printf("%s: name: %.*sDIRECTORY%s\n", title, (int)(known - un.sun_path), un.sun_path, known + strlen(directory));
    else
        printf("%s: name: %s\n", title, un.sun_path);
    tell("length", (long)(length - strlen(un.sun_path)));
}

static int connects(int kind, const char *text) {
    struct sockaddr_un un = address(text);
    int fd = socket(AF_UNIX, kind, 0);
    told("connect", connect(fd, (struct sockaddr *)&un, sizeof un));
    return fd;
}

static void serves(int fd, int kind) {
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    char byte;
    told("listen", listen(fd, 8));
    int client = connects(kind, path);
    int server = accept(fd, NULL, NULL);
    told("accept", server);
    told("send", (int)send(client, "x", 1, MSG_NOSIGNAL));
    told("receive", (int)recv(server, &byte, 1, MSG_DONTWAIT));
    told("peer", getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &length));
    tell("it is us", peer.pid == getpid() && peer.uid == geteuid());
    close(client);
    close(server);
}

static void receives(int fd) {
    char byte;
    int client = connects(SOCK_DGRAM, path);
    told("send", (int)send(client, "x", 1, MSG_NOSIGNAL));
    told("receive", (int)recv(fd, &byte, 1, MSG_DONTWAIT));
}

static void plain_stream(void) { int fd = stream(); binds(fd); names(fd); serves(fd, SOCK_STREAM); }
static void plain_datagram(void) { int fd = datagram(); binds(fd); names(fd); receives(fd); }
static void plain_seqpacket(void) { int fd = seqpacket(); binds(fd); names(fd); serves(fd, SOCK_SEQPACKET); }
static void unlink_first(void) { unlink(path); int fd = stream(); binds(fd); names(fd); serves(fd, SOCK_STREAM); }
static void twice(void) { int fd = stream(); binds(fd); binds(fd); told("elsewhere", bind_text(fd, "/nonexistent/x")); serves(fd, SOCK_STREAM); }
static void two(void) { int one = stream(); binds(one); binds(stream()); serves(one, SOCK_STREAM); }
static void two_of_two_kinds(void) { int one = stream(); binds(one); binds(datagram()); binds(seqpacket()); serves(one, SOCK_STREAM); }
static void after_close(void) { int one = stream(); binds(one); close(one); binds(stream()); connects(SOCK_STREAM, path); }
static void after_close_and_unlink(void) {
    int one = stream();
    binds(one);
    close(one);
    told("unlink", unlink(path));
    binds(one = stream());
    serves(one, SOCK_STREAM);
}
static void unlink_while_bound(void) {
    int one = stream(), two_ = stream();
    binds(one);
    told("listen", listen(one, 1));
    told("unlink", unlink(path));
    binds(two_);
    names(one);
    serves(two_, SOCK_STREAM);
    binds(stream());
}
static void renamed_away(void) {
    char other[320];
    int one = stream(), two_ = stream();
    snprintf(other, sizeof other, "%s.old", path);
    binds(one);
    told("rename", rename(path, other));
    binds(two_);
    told("listen", listen(one, 1));
    connects(SOCK_STREAM, other);
    serves(two_, SOCK_STREAM);
}
static void relative(void) { int fd = stream(); told("chdir", chdir(directory)); told("bind", bind_text(fd, name)); names(fd); serves(fd, SOCK_STREAM); }
static void relative_with_a_dot(void) {
    char text[320];
    int fd = stream();
    snprintf(text, sizeof text, "./%s", name);
    told("chdir", chdir(directory));
    told("bind", bind_text(fd, text));
    names(fd);
    serves(fd, SOCK_STREAM);
}
static void relative_upwards(void) {
    char text[320];
    int fd = stream();
    snprintf(text, sizeof text, "below/.././%s", name);
    told("chdir", chdir(directory));
    told("mkdir", mkdir("below", 0700));
    told("bind", bind_text(fd, text));
    names(fd);
    serves(fd, SOCK_STREAM);
}
static void from_below(void) {
    char text[320];
    int fd = stream();
    snprintf(text, sizeof text, "../%s", name);
    told("chdir", chdir(directory));
    told("mkdir", mkdir("below", 0700));
    told("chdir", chdir("below"));
    told("bind", bind_text(fd, text));
    names(fd);
    serves(fd, SOCK_STREAM);
}
static void slashes(void) {
    char text[320];
    int fd = stream();
    snprintf(text, sizeof text, "/%s/.//%s", directory, name);
    told("bind", bind_text(fd, text));
    names(fd);
    serves(fd, SOCK_STREAM);
}
static void by_a_link(void) {
    char link[320], text[640];
    int fd = stream();
    snprintf(link, sizeof link, "%s/link", directory);
    snprintf(text, sizeof text, "%s/%s", link, name);
    told("symlink", symlink(".", link));
    told("bind", bind_text(fd, text));
    serves(fd, SOCK_STREAM);
}
static void bad_paths(void) {
    char text[320];
    snprintf(text, sizeof text, "%s/none/%s", directory, name);
    told("in no directory", bind_text(stream(), text));
    snprintf(text, sizeof text, "%s/file", directory);
    told("file", open(text, O_CREAT | O_WRONLY, 0600));
    told("at a file", bind_text(stream(), text));
    snprintf(text, sizeof text, "%s/file/%s", directory, name);
    told("in a file", bind_text(stream(), text));
    told("at a directory", bind_text(stream(), directory));
    told("at the root", bind_text(stream(), "/"));
}
static void lengths(void) {
    struct sockaddr_un un = address(path);
    size_t base = offsetof(struct sockaddr_un, sun_path), all = base + strlen(path);
    int fd = stream();
    told("too long", bind(fd, (struct sockaddr *)&un, sizeof un + 1));
    told("nothing", bind(fd, (struct sockaddr *)&un, 0));
    told("one", bind(fd, (struct sockaddr *)&un, 1));
    told("negative", bind(fd, (struct sockaddr *)&un, (socklen_t)-1));
    told("without NUL", bind(fd, (struct sockaddr *)&un, (socklen_t)all));
    names(fd);
    serves(fd, SOCK_STREAM);
}
static void more_after_the_end(void) {
    struct sockaddr_un un = address(path);
    memset(un.sun_path + strlen(path) + 1, 'x', sizeof un.sun_path - strlen(path) - 1);
    int fd = stream();
    told("bind", bind(fd, (struct sockaddr *)&un, sizeof un));
    names(fd);
    serves(fd, SOCK_STREAM);
}
static void no_path(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = stream();
    told("bind", bind(fd, (struct sockaddr *)&un, sizeof un.sun_family));
    told("again", bind(fd, (struct sockaddr *)&un, sizeof un.sun_family));
    binds(fd);
}
static void wrong_families(void) {
    struct sockaddr_un un = address(path);
    told("tcp", bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&un, sizeof un));
    un.sun_family = AF_INET;
    told("inet", bind(stream(), (struct sockaddr *)&un, sizeof un));
    un.sun_family = AF_UNSPEC;
    told("unspecified", bind(stream(), (struct sockaddr *)&un, sizeof un));
}
static void bad_descriptors(void) {
    binds(-1);
    binds(999);
    binds(open("/dev/null", O_RDONLY));
    told("bad pointer", bind(stream(), (struct sockaddr *)1, 110));
}
static void connected_pair(void) { int ends[2]; told("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends)); binds(ends[0]); names(ends[0]); }
static void listen_unbound(void) { int fd = stream(); told("listen", listen(fd, 1)); binds(fd); serves(fd, SOCK_STREAM); }
static void listen_datagram(void) { int fd = datagram(); binds(fd); told("listen", listen(fd, 1)); receives(fd); }
static void looks(void) {
    struct stat status, socket_status;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    binds(fd);
    told("stat", lstat(path, &status));
    told("fstat", fstat(fd, &socket_status));
    tell("is a socket", S_ISSOCK(status.st_mode));
    tell("links", (long)status.st_nlink);
    tell("mine", socket_status.st_uid == getuid());
    tell("flags", fcntl(fd, F_GETFL));
    tell("descriptor flags", fcntl(fd, F_GETFD));
}
static void in_a_child(void) {
    int fd = stream(), status;
    fflush(stdout);
    if (fork() == 0) {
        binds(fd);
        fflush(stdout);
        _exit(0);
    }
    wait(&status);
    serves(fd, SOCK_STREAM);
}
static void *bind_in_thread(void *data) {
    told("unshare", unshare(CLONE_FS));
    told("chdir", chdir(directory));
    told("bind", bind_text(*(int *)data, name));
    return NULL;
}
static void in_a_thread_that_is_elsewhere(void) {
    int fd = stream();
    pthread_t thread;
    pthread_create(&thread, NULL, bind_in_thread, &fd);
    pthread_join(thread, NULL);
    names(fd);
    serves(fd, SOCK_STREAM);
}
static void in_a_root_of_its_own(void) {
    char text[320];
    int fd = stream();
    snprintf(text, sizeof text, "/%s", name);
    told("chroot", chroot(directory));
    told("bind", bind_text(fd, text));
    names(fd);
    told("listen", listen(fd, 1));
    connects(SOCK_STREAM, text);
}
static void again_and_again(void) {
    for (int i = 0; i < 5; i++) {
        int fd = stream();
        unlink(path);
        binds(fd);
        told("listen", listen(fd, 1));
        close(connects(SOCK_STREAM, path));
        close(fd);
    }
}

static const struct {
    const char *title;
    void (*run)(void);
    const char *kind;
} cases[] = {
#define CASE(name) {#name, name, "stream"}
#define CASE_OF(kind, name) {#name, name, #kind}
    CASE(plain_stream), CASE_OF(datagram, plain_datagram), CASE_OF(seqpacket, plain_seqpacket), CASE(unlink_first), CASE(twice), CASE(two),
    CASE(two_of_two_kinds), CASE(after_close), CASE(after_close_and_unlink), CASE(unlink_while_bound), CASE(renamed_away),
    CASE(relative), CASE(relative_with_a_dot), CASE(relative_upwards), CASE(from_below), CASE(slashes), CASE(by_a_link),
    CASE(bad_paths), CASE(lengths), CASE(more_after_the_end), CASE(no_path), CASE(wrong_families), CASE(bad_descriptors),
    CASE(connected_pair), CASE(listen_unbound), CASE_OF(datagram, listen_datagram), CASE(looks), CASE(in_a_child),
    CASE(in_a_thread_that_is_elsewhere), CASE(in_a_root_of_its_own), CASE(again_and_again),
};
enum { CASES = sizeof cases / sizeof *cases };

int main(int argc, char **argv) {
    char copy[108];
    if (argc == 2 && strcmp(argv[1], "--kinds") == 0) {
        for (int i = 0; i < CASES; i++)
            puts(cases[i].kind);
        return 0;
    }
    for (int i = 0; i + 1 < argc && i < CASES; i++) {
        title = cases[i].title;
        snprintf(path, sizeof path, "%s", argv[i + 1]);
        snprintf(copy, sizeof copy, "%s", path);
        snprintf(name, sizeof name, "%s", basename(copy));
        snprintf(copy, sizeof copy, "%s", path);
        snprintf(directory, sizeof directory, "%s", dirname(copy));
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            cases[i].run();
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    return 0;
}
