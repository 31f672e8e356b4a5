/* The listening end of a seccomp filter (seccomp_unotify(2)): calls of other processes that wait for berthd's answer.
 *
 * One call is served at a time. It is received into a page of memory that outlives berthd: a call that was received and not
 * answered would else wait for ever, because the kernel tells of it once. The page is in the vault with the listeners. */
#include "seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "napi.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* Linux 6.9 */
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

enum { JOURNAL_SIZE = 4096, MAX_READ = 128 };

static struct journal {
    uint32_t begun;
    int32_t reuse_port;
    uint32_t owner;
    uint32_t unused;
    struct seccomp_notif call; /* id 0: none */
} *journal;

_Static_assert(sizeof(struct journal) <= JOURNAL_SIZE, "the journal is one page");

void note_begun(int reuse_port, uid_t owner) {
    if (journal == NULL)
        return;
    journal->reuse_port = reuse_port;
    journal->owner = owner;
    journal->begun = 1;
}

int begun_reuse_port(void) {
    return journal == NULL ? 0 : journal->reuse_port;
}

uid_t begun_owner(void) {
    return journal == NULL ? (uid_t)-1 : journal->owner;
}


/* journal(fd): the page that calls are received into, from here on: that of an earlier berthd, or with -1 a new one. Returns
 * its descriptor, which is the caller's. */
static napi_value use_journal(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int given, fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &given))
        return NULL;
    fd = given >= 0 ? given : (int)syscall(SYS_memfd_create, "berth-journal", 1 /* MFD_CLOEXEC */);
    if (fd < 0)
        return throw_errno(env, errno, "memfd_create");
    void *page = MAP_FAILED;
    if (ftruncate(fd, JOURNAL_SIZE) == 0)
        page = mmap(NULL, JOURNAL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (page == MAP_FAILED) {
        int error = errno;
        if (fd != given)
            close(fd);
        return throw_errno(env, error, "mmap");
    }
    if (journal != NULL)
        munmap(journal, JOURNAL_SIZE);
    journal = page;
    return make_int(env, fd);
}

static bool waits(int listener) {
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &journal->call.id) == 0;
}

static bool get_listener(napi_env env, napi_callback_info info, size_t want, napi_value *args, int *listener) {
    if (!get_args(env, info, want, args) || !get_int(env, args[0], listener))
        return false;
    if (journal == NULL)
        throw_type(env, "there is no journal yet");
    return journal != NULL;
}

static napi_value describe_call(napi_env env) {
    const struct seccomp_data *data = &journal->call.data;
    napi_value call, address;
    const char *name = data->nr == SYS_bind ? "bind" : data->nr == SYS_listen ? "listen" : "other";
    if (napi_create_object(env, &call) != napi_ok ||
        napi_create_bigint_uint64(env, data->args[1], &address) != napi_ok)
        return NULL;
    /* The kernel takes the lower half of each register for an int. */
    set(env, call, "name", make_text(env, name, strlen(name)));
    set(env, call, "restricts", make_bool(env, data->nr == SYS_landlock_restrict_self));
    set(env, call, "pid", make_int(env, journal->call.pid));
    set(env, call, "fd", make_int(env, (int32_t)data->args[0]));
    set(env, call, "address", address);
    set(env, call, "backlog", make_int(env, (int32_t)data->args[1]));
    set(env, call, "length", make_int(env, (int32_t)data->args[2]));
    set(env, call, "begun", make_bool(env, journal->begun != 0));
    return call;
}

static void wake_up(int signal) {
    (void)signal;
}

/* A signal for this thread, each time that so much has passed; 0 for none. */
static void keep_waking(long nanoseconds) {
    static timer_t timer;
    static bool made;
    if (!made) {
        struct sigaction action = {.sa_handler = wake_up}; /* no SA_RESTART: what waits ends with EINTR */
        struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMAX - 1};
        event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
        sigaction(event.sigev_signo, &action, NULL);
        made = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    }
    struct itimerspec times = {.it_value.tv_nsec = nanoseconds, .it_interval.tv_nsec = nanoseconds};
    if (made)
        timer_settime(timer, 0, &times, NULL);
}

/* Who has given its listener may have kept a duplicate, and take the call between poll(2) and here. Then this waits for the
 * next one: nobody may make berthd wait. */
static int receive(int listener) {
    keep_waking(20 * 1000 * 1000);
    int result = ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &journal->call), error = errno;
    keep_waking(0);
    errno = error;
    return result;
}

/* receiveCall(listener): the next call, or undefined when none waits. It waits until answerCall. */
static napi_value receive_call(napi_env env, napi_callback_info info) {
    napi_value args[1];
    struct pollfd entry = {.events = POLLIN};
    if (!get_listener(env, info, 1, args, &entry.fd))
        return NULL;
    /* The receiving blocks unless a call waits, and not if its process dies in between (seccomp_notify_recv). */
    if (poll(&entry, 1, 0) != 1 || (entry.revents & POLLIN) == 0)
        return make_undefined(env);
    journal->begun = 0;
    memset(&journal->call, 0, sizeof journal->call);
    if (receive(entry.fd) == 0)
        return describe_call(env);
    int error = errno;
    journal->call.id = 0;
    return error == ENOENT || error == EINTR ? make_undefined(env) : throw_errno(env, error, "SECCOMP_IOCTL_NOTIF_RECV");
}

/* recallCall(listener): the call that an earlier berthd received from there and has not answered. */
static napi_value recall_call(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int listener;
    if (!get_listener(env, info, 1, args, &listener))
        return NULL;
    return journal->call.id != 0 && waits(listener) ? describe_call(env) : make_undefined(env);
}

/* callWaits(listener): false when its process was killed, and its number may be another's. */
static napi_value call_waits(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int listener;
    if (!get_listener(env, info, 1, args, &listener))
        return NULL;
    return make_bool(env, waits(listener));
}

/* answerCall(listener, error): 0 for success, or an errno; -1 has the kernel do the call. */
static napi_value answer_call(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int listener, error;
    if (!get_listener(env, info, 2, args, &listener) || !get_int(env, args[1], &error))
        return NULL;
    struct seccomp_notif_resp response = {
        .id = journal->call.id,
        .error = error < 0 ? 0 : -error,
        .flags = error < 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };
    int result;
    do
        result = ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    while (result < 0 && errno == EINTR);
    int failure = errno;
    journal->call.id = 0;
    /* ENOENT: the process was killed. */
    return result < 0 && failure != ENOENT ? throw_errno(env, failure, "SECCOMP_IOCTL_NOTIF_SEND") : make_undefined(env);
}

/* readMemory(pid, address, length): up to 128 bytes of another process, or undefined where it has none. */
static napi_value read_memory(napi_env env, napi_callback_info info) {
    char bytes[MAX_READ];
    napi_value args[3], result;
    int pid, length;
    uint64_t address;
    bool lossless;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &pid) || !get_int(env, args[2], &length))
        return NULL;
    if (napi_get_value_bigint_uint64(env, args[1], &address, &lossless) != napi_ok || length < 0 || length > MAX_READ)
        return throw_type(env, "an address and a length of at most 128 were expected");
    struct iovec here = {bytes, (size_t)length}, there = {(void *)(uintptr_t)address, (size_t)length};
    if (process_vm_readv(pid, &here, 1, &there, 1, 0) != length)
        return make_undefined(env);
    return napi_create_buffer_copy(env, (size_t)length, bytes, NULL, &result) == napi_ok ? result : NULL;
}

static int read_thread_group(int pid) {
    char path[32], line[128];
    int group = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Tgid: %d", &group) != 1) {}
    fclose(file);
    return group;
}

static int open_thread(int pid) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, PIDFD_THREAD);
    if (pidfd >= 0 || errno != EINVAL)
        return pidfd;
    int group = read_thread_group(pid);
    return group <= 0 ? -1 : (int)syscall(SYS_pidfd_open, group, 0);
}

/* takeDescriptor(pid, fd): a duplicate of another process's (thread's) descriptor, which is the caller's, or an errno as a
 * negative number. Nothing may be done with it that could reach into a file system before it is known to be a socket. */
static napi_value take_descriptor(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int pid, fd;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &pid) || !get_int(env, args[1], &fd))
        return NULL;
    int pidfd = open_thread(pid);
    if (pidfd < 0)
        return make_int(env, -errno);
    int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0), error = errno;
    close(pidfd);
    return make_int(env, copy >= 0 ? copy : -error);
}

void init_seccomp(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"journal", use_journal},   {"receiveCall", receive_call}, {"recallCall", recall_call},
        {"callWaits", call_waits},  {"answerCall", answer_call},   {"readMemory", read_memory},
        {"takeDescriptor", take_descriptor},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
