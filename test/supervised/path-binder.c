/* A program that binds to a path, for the tests of the supervised bind.
 *
 *     path-binder serve KIND PATH    unlinks and binds, listens, and answers each client with its number until it is killed
 *     path-binder keep KIND PATH     the same without unlink(2)
 *     path-binder tidy KIND PATH     as keep; at SIGTERM it removes the path and ends
 *     path-binder try KIND PATH...   tells of each path what bind(2) and getsockname(2) say
 *     path-binder loop KIND PATH     binds without unlink(2), and closes, for ever, each in a child; tells of each failure
 *     path-binder hang DIRECTORY PATH...  tells of the paths what bind(2) says, while a child binds in that directory, which
 *                                    is a file system that does not answer
 *     path-binder thief PATH MS      looks at the path and tries to bind there, for so long, with 0 until SIGTERM; tells how
 *                                    often there was nothing, and how often it got it
 *
 * KIND is stream, datagram or seqpacket. `serve`, `keep` and `tidy` say `ready` to systemd. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *own;

static int kind_of(const char *name) {
    return strcmp(name, "stream") == 0 ? SOCK_STREAM : strcmp(name, "datagram") == 0 ? SOCK_DGRAM : SOCK_SEQPACKET;
}

static int bind_to(int fd, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static void tell_systemd(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    strcpy(address.sun_path, path);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, length) < 0)
        perror("path-binder");
    close(fd);
}

static void tidy(int signal) {
    (void)signal;
    unlink(own);
    _exit(0);
}

static int serve(int kind, const char *path, const char *how) {
    char answer[32];
    own = path;
    if (strcmp(how, "serve") == 0)
        unlink(path);
    if (strcmp(how, "tidy") == 0)
        signal(SIGTERM, tidy);
    int fd = socket(AF_UNIX, kind, 0);
    if (bind_to(fd, path) < 0 || (kind != SOCK_DGRAM && listen(fd, 64) < 0))
        return perror("path-binder"), 1;
    puts("listening");
    fflush(stdout);
    tell_systemd();
    int length = snprintf(answer, sizeof answer, "%d\n", getpid());
    for (;;) {
        int client = kind == SOCK_DGRAM ? (pause(), -1) : accept(fd, NULL, NULL);
        if (client < 0)
            continue;
        if (send(client, answer, (size_t)length, MSG_NOSIGNAL) < 0)
            perror("path-binder");
        close(client);
    }
}

static void try(int kind, const char *path) {
    struct sockaddr_un name = {0};
    socklen_t length = sizeof name - 1;
    int fd = socket(AF_UNIX, kind, 0);
    if (bind_to(fd, path) < 0)
        puts(strerrorname_np(errno));
    else if (getsockname(fd, (struct sockaddr *)&name, &length) == 0)
        printf("ok %s\n", name.sun_path);
    fflush(stdout);
}

/* A FUSE that nobody serves: whoever looks into it waits until he is killed. */
static int mount_silence(const char *directory) {
    char options[96];
    int fd = open("/dev/fuse", O_RDWR);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
    if (fd < 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    return mount("fuse", directory, "fuse", 0, options);
}

static int hang(const char *directory, char **paths) {
    char path[256];
    if (mount_silence(directory) < 0)
        return puts("no FUSE"), 0;
    const char *name = strrchr(paths[0], '/');
    snprintf(path, sizeof path, "%s/inside%s", directory, name == NULL ? "/" : name);
    pid_t child = fork();
    if (child == 0) {
        /* It ends with berthd only, whose look at the same name it waits for. */
        for (int fd = 0; fd < 3; fd++)
            close(fd);
        bind_to(socket(AF_UNIX, SOCK_STREAM, 0), path);
        _exit(0);
    }
    /* It is served before what comes after it, one call at a time. */
    usleep(100000);
    for (; *paths != NULL; paths++)
        try(SOCK_STREAM, *paths);
    kill(child, SIGKILL);
    return 0;
}

static void loop(int kind, const char *path) {
    for (unsigned long round = 1;; round++) {
        pid_t child = fork();
        if (child == 0) {
            unlink(path);
            int fd = socket(AF_UNIX, kind, 0);
            if (bind_to(fd, path) < 0)
                printf("bind: %s\n", strerrorname_np(errno));
            else if (kind != SOCK_DGRAM && listen(fd, 8) < 0)
                printf("listen: %s\n", strerrorname_np(errno));
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        if (round % 200 == 0)
            printf("round %lu\n", round);
        fflush(stdout);
    }
}

static volatile sig_atomic_t over;

static void end(int signal) {
    (void)signal;
    over = 1;
}

static int steal(const char *path, long ms) {
    struct timespec begin, now;
    struct stat status;
    unsigned long looks = 0, absent = 0, stolen = 0;
    signal(SIGTERM, end);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        looks++;
        absent += lstat(path, &status) < 0;
        stolen += bind_to(fd, path) == 0;
        close(fd);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (!over && (ms == 0 || (now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms));
    printf("%lu looks, absent %lu, stolen %lu\n", looks, absent, stolen);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "thief") == 0)
        return steal(argv[2], atol(argv[3]));
    if (argc < 4)
        return 2;
    if (strcmp(argv[1], "hang") == 0)
        return hang(argv[2], argv + 3);
    int kind = kind_of(argv[2]);
    if (strcmp(argv[1], "loop") == 0)
        loop(kind, argv[3]);
    if (strcmp(argv[1], "try") != 0)
        return serve(kind, argv[3], argv[1]);
    for (int i = 3; i < argc; i++)
        try(kind, argv[i]);
    return 0;
}
