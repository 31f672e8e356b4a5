/* A look at a program that waits in bind(2) or listen(2): its memory, its socket, and what that socket is.
 *
 * All three can wait for as long as the program likes: memory that userfaultfd(2) or a FUSE of the program's provides, an
 * execve(2) that does not come to an end, a socket that another thread has locked. So a thread of its own looks. berthd waits
 * a moment for it, which nearly always is enough, and else goes on and is told by an eventfd. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "facts.h"
#include "napi.h"
#include "seccomp.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* Linux 6.9 */
#endif

enum { MAX_READ = 128, MAX_SPARE = 2, STACK_SIZE = 256 * 1024 };

/* As src/native/calls.ts reads it. */
struct findings {
    int32_t fd;     /* a duplicate of the program's socket, or an errno as a negative number */
    int32_t length; /* of what was read, or -1 */
    uint8_t memory[MAX_READ];
    struct facts facts;
};

enum state { IDLE, ASKED, LEFT /* berthd has gone on meanwhile */, DONE, DISMISSED };

struct looker {
    _Atomic uint32_t state;
    struct looker *next;
    int pid, fd, length;
    uint64_t address;
    struct findings findings;
};

static struct looker *spare, *looking[MAX_CALLS];
static int spares, signal_fd = -1;

static void futex(_Atomic uint32_t *word, int what, uint32_t value, const struct timespec *timeout) {
    syscall(SYS_futex, word, what, value, timeout, NULL, 0);
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

static int take_socket(int pid, int fd, struct facts *facts) {
    int pidfd = open_thread(pid);
    if (pidfd < 0)
        return -errno;
    int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0), error = errno;
    close(pidfd);
    if (copy < 0)
        return -error;
    if (get_facts(copy, facts))
        return copy;
    close(copy); /* a file, of which this can wait as well */
    return -ENOTSOCK;
}

static void look(struct looker *looker) {
    struct findings *found = &looker->findings;
    struct iovec here = {found->memory, (size_t)looker->length};
    struct iovec there = {(void *)(uintptr_t)looker->address, (size_t)looker->length};
    found->length = looker->length;
    if (looker->length > 0 && process_vm_readv(looker->pid, &here, 1, &there, 1, 0) != looker->length)
        found->length = -1;
    found->fd = found->length < 0 ? -EFAULT : take_socket(looker->pid, looker->fd, &found->facts);
}

static void *run(void *data) {
    struct looker *looker = data;
    prctl(PR_SET_NAME, "berth-look");
    for (;;) {
        uint32_t state = atomic_load(&looker->state);
        if (state == DISMISSED)
            break;
        if (state != ASKED && state != LEFT) {
            futex(&looker->state, FUTEX_WAIT_PRIVATE, state, NULL);
            continue;
        }
        look(looker);
        if (atomic_exchange(&looker->state, DONE) == ASKED)
            futex(&looker->state, FUTEX_WAKE_PRIVATE, 1, NULL);
        else
            eventfd_write(signal_fd, 1);
    }
    free(looker);
    return NULL;
}

static struct looker *hire(void) {
    struct looker *looker = spare;
    if (looker != NULL) {
        spare = looker->next;
        spares--;
        return looker;
    }
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    looker = calloc(1, sizeof *looker);
    if (looker == NULL || pthread_attr_init(&attributes) != 0) {
        free(looker);
        return NULL;
    }
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, run, looker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0)
        return looker;
    free(looker);
    return NULL;
}

static void retire(struct looker *looker) {
    if (spares < MAX_SPARE) {
        atomic_store(&looker->state, IDLE);
        looker->next = spare;
        spare = looker;
        spares++;
        return;
    }
    atomic_store(&looker->state, DISMISSED);
    futex(&looker->state, FUTEX_WAKE_PRIVATE, 1, NULL);
}

/* lookSignal(): an eventfd that is readable once a look has ended that lookAt did not wait for. It stays open for good, as
 * one may end at any time. */
static napi_value look_signal(napi_env env, napi_callback_info info) {
    (void)info;
    if (signal_fd < 0)
        signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return signal_fd < 0 ? throw_errno(env, errno, "eventfd") : make_int(env, signal_fd);
}

static bool get_room(napi_env env, napi_value value, int slot, struct findings **room) {
    size_t length;
    if (!get_bytes(env, value, (void **)room, &length))
        return false;
    if (length >= sizeof **room && slot >= 0 && slot < MAX_CALLS)
        return true;
    throw_type(env, "a slot and room for what is found there were expected");
    return false;
}

static bool wait_for(struct looker *looker, int microseconds) {
    struct timespec patience = {.tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000L};
    if (microseconds > 0)
        futex(&looker->state, FUTEX_WAIT_PRIVATE, ASKED, &patience);
    uint32_t state = ASKED;
    return !atomic_compare_exchange_strong(&looker->state, &state, LEFT);
}

static void collect(int slot, struct findings *room) {
    struct looker *looker = looking[slot];
    looking[slot] = NULL;
    *room = looker->findings;
    retire(looker);
}

/* lookAt(slot, microseconds, room): looks at the call in that slot, and waits so long. False when it has not ended: lookEnded
 * tells when it has. The descriptor in what is found is the caller's. */
static napi_value look_at(napi_env env, napi_callback_info info) {
    napi_value args[3];
    int slot, microseconds;
    struct findings *room;
    if (!get_args(env, info, 3, args) || !get_int(env, args[0], &slot) || !get_int(env, args[1], &microseconds) ||
        !get_room(env, args[2], slot, &room))
        return NULL;
    const struct seccomp_notif *call = call_in(slot);
    if (call == NULL || looking[slot] != NULL)
        return throw_type(env, "no call waits there to be looked at");
    struct looker *looker = hire();
    if (looker == NULL)
        return throw_errno(env, EAGAIN, "pthread_create");
    looker->pid = (int)call->pid;
    looker->fd = (int32_t)call->data.args[0];
    looker->address = call->data.args[1];
    looker->length = call->data.nr == SYS_bind ? (int32_t)call->data.args[2] : 0;
    if (looker->length < 0 || looker->length > MAX_READ)
        looker->length = 0;
    looking[slot] = looker;
    atomic_store(&looker->state, ASKED);
    futex(&looker->state, FUTEX_WAKE_PRIVATE, 1, NULL);
    bool done = wait_for(looker, microseconds);
    if (done)
        collect(slot, room);
    return make_bool(env, done);
}

/* lookEnded(slot, room): the same for a look that was not waited for. */
static napi_value look_ended(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int slot;
    struct findings *room;
    if (!get_args(env, info, 2, args) || !get_int(env, args[0], &slot) || !get_room(env, args[1], slot, &room))
        return NULL;
    bool done = looking[slot] != NULL && atomic_load(&looking[slot]->state) == DONE;
    if (done)
        collect(slot, room);
    return make_bool(env, done);
}

void init_look(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"lookSignal", look_signal}, {"lookAt", look_at}, {"lookEnded", look_ended},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
