/* The listening end of a seccomp filter (seccomp_unotify(2)): calls of other processes that wait for berthd's answer.
 *
 * Of each listener one call is served at a time. It is received into a slot of memory that outlives berthd: a call that was
 * received and not answered would else wait for ever, because the kernel tells of it once. The memory is in the vault with
 * the listeners. */
#include "seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "napi.h"

#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64) /* Linux 6.6 */
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#endif

struct slot {
    uint32_t begun;
    int32_t reuse_port;
    uint32_t owner;
    uint32_t unused;
    struct seccomp_notif call; /* id 0: none */
};

_Static_assert(sizeof(struct slot) == 96, "berthd after an upgrade finds the slots where they were");

enum { JOURNAL_SIZE = MAX_CALLS * sizeof(struct slot) };

static struct slot *journal;
/* By this berthd. Of those of an earlier one the others are free: their processes have gone. */
static bool used[MAX_CALLS];

const struct seccomp_notif *call_in(int slot) {
    return slot >= 0 && slot < MAX_CALLS && used[slot] ? &journal[slot].call : NULL;
}

void note_begun(int slot, int reuse_port, uid_t owner) {
    if (call_in(slot) == NULL)
        return;
    journal[slot].reuse_port = reuse_port;
    journal[slot].owner = owner;
    journal[slot].begun = 1;
}

int begun_reuse_port(int slot) {
    return call_in(slot) == NULL ? 0 : journal[slot].reuse_port;
}

uid_t begun_owner(int slot) {
    return call_in(slot) == NULL ? (uid_t)-1 : journal[slot].owner;
}

/* journal(fd): the memory that calls are received into, from here on: that of an earlier berthd, or with -1 a new one. Returns
 * its descriptor, which is the caller's. */
static napi_value use_journal(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int given, fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &given))
        return NULL;
    fd = given >= 0 ? given : (int)syscall(SYS_memfd_create, "berth-journal", 1 /* MFD_CLOEXEC */);
    if (fd < 0)
        return throw_errno(env, errno, "memfd_create");
    void *memory = MAP_FAILED;
    if (ftruncate(fd, JOURNAL_SIZE) == 0)
        memory = mmap(NULL, JOURNAL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED) {
        int error = errno;
        if (fd != given)
            close(fd);
        return throw_errno(env, error, "mmap");
    }
    if (journal != NULL)
        munmap(journal, JOURNAL_SIZE);
    journal = memory;
    memset(used, 0, sizeof used);
    return make_int(env, fd);
}

static bool waits(int listener, int slot) {
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &journal[slot].call.id) == 0;
}

static bool get_listener(napi_env env, napi_callback_info info, size_t want, napi_value *args, int *listener) {
    if (!get_args(env, info, want, args) || !get_int(env, args[0], listener))
        return false;
    if (journal == NULL)
        throw_type(env, "there is no journal yet");
    return journal != NULL;
}

static bool get_slot(napi_env env, napi_value value, int *slot) {
    if (!get_int(env, value, slot))
        return false;
    if (call_in(*slot) == NULL)
        throw_type(env, "a call that was received was expected");
    return call_in(*slot) != NULL;
}

/* As src/native/calls.ts reads it. */
struct description {
    int32_t slot, what, pid, length, backlog, begun;
};
enum { BIND, LISTEN, RESTRICT, OTHER };

static void describe(int slot, struct description *room) {
    const struct seccomp_data *data = &journal[slot].call.data;
    used[slot] = true;
    *room = (struct description){
        .slot = slot,
        .what = data->nr == SYS_bind                      ? BIND
                : data->nr == SYS_listen                  ? LISTEN
                : data->nr == SYS_landlock_restrict_self ? RESTRICT
                                                          : OTHER,
        .pid = (int32_t)journal[slot].call.pid,
        /* The kernel takes the lower half of each register for an int. */
        .length = (int32_t)data->args[2],
        .backlog = (int32_t)data->args[1],
        .begun = journal[slot].begun != 0,
    };
}

static bool get_room(napi_env env, napi_value value, struct description **room) {
    size_t length;
    if (!get_bytes(env, value, (void **)room, &length))
        return false;
    if (length < sizeof **room)
        throw_type(env, "room for a call was expected");
    return length >= sizeof **room;
}

/* The last one is for calls that come when all others are taken. */
static int free_slot(void) {
    int slot = 0;
    while (slot < MAX_CALLS - 1 && used[slot])
        slot++;
    return slot;
}

/* Returns 0 or an errno. -1 has the kernel do the call. */
static int answer(int listener, int slot, int error) {
    struct seccomp_notif_resp response = {
        .id = journal[slot].call.id,
        .error = error < 0 ? 0 : -error,
        .flags = error < 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };
    int result;
    do
        result = ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    while (result < 0 && errno == EINTR);
    int failure = result < 0 ? errno : 0;
    journal[slot].call.id = 0;
    used[slot] = false;
    return failure == ENOENT ? 0 : failure; /* ENOENT: the process was killed */
}

/* receiveCall(listener, room): 1 when there was a call, which waits until answerCall; 0 when none waits, and -1 when none will
 * any more, because all processes have gone. */
static napi_value receive_call(napi_env env, napi_callback_info info) {
    napi_value args[2];
    struct description *room;
    struct pollfd entry = {.events = POLLIN};
    if (!get_listener(env, info, 2, args, &entry.fd) || !get_room(env, args[1], &room))
        return NULL;
    /* The receiving blocks unless a call waits, and not if its process dies in between (seccomp_notify_recv). */
    if (poll(&entry, 1, 0) != 1 || (entry.revents & POLLIN) == 0)
        return make_int(env, (entry.revents & POLLHUP) != 0 ? -1 : 0);
    int slot = free_slot();
    journal[slot].begun = 0;
    memset(&journal[slot].call, 0, sizeof journal[slot].call);
    if (ioctl(entry.fd, SECCOMP_IOCTL_NOTIF_RECV, &journal[slot].call) == 0) {
        if (slot < MAX_CALLS - 1) {
            describe(slot, room);
            return make_int(env, 1);
        }
        int failure = answer(entry.fd, slot, -1);
        return failure == 0 ? make_int(env, 0) : throw_errno(env, failure, "SECCOMP_IOCTL_NOTIF_SEND");
    }
    int error = errno;
    journal[slot].call.id = 0;
    return error == ENOENT || error == EINTR ? make_int(env, 0) : throw_errno(env, error, "SECCOMP_IOCTL_NOTIF_RECV");
}

/* recallCall(listener, room): whether an earlier berthd has received a call from there and not answered it. All are to be
 * recalled before one is received. */
static napi_value recall_call(napi_env env, napi_callback_info info) {
    napi_value args[2];
    struct description *room;
    int listener;
    if (!get_listener(env, info, 2, args, &listener) || !get_room(env, args[1], &room))
        return NULL;
    for (int slot = 0; slot < MAX_CALLS; slot++)
        if (journal[slot].call.id != 0 && !used[slot] && waits(listener, slot)) {
            describe(slot, room);
            return make_bool(env, true);
        }
    return make_bool(env, false);
}

/* callWaits(listener, slot): false when its process was killed, and its number may be another's. */
static napi_value call_waits(napi_env env, napi_callback_info info) {
    napi_value args[2];
    int listener, slot;
    if (!get_listener(env, info, 2, args, &listener) || !get_slot(env, args[1], &slot))
        return NULL;
    return make_bool(env, waits(listener, slot));
}

/* answerCall(listener, slot, error): 0 for success, or an errno; -1 has the kernel do the call. */
static napi_value answer_call(napi_env env, napi_callback_info info) {
    napi_value args[3];
    int listener, slot, error;
    if (!get_listener(env, info, 3, args, &listener) || !get_slot(env, args[1], &slot) ||
        !get_int(env, args[2], &error))
        return NULL;
    int failure = answer(listener, slot, error);
    return failure != 0 ? throw_errno(env, failure, "SECCOMP_IOCTL_NOTIF_SEND") : make_undefined(env);
}

/* forgetCall(slot): of a listener that is closed, so that nothing waits there any more. */
static napi_value forget_call(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int slot;
    if (!get_args(env, info, 1, args) || !get_slot(env, args[0], &slot))
        return NULL;
    journal[slot].call.id = 0;
    used[slot] = false;
    return make_undefined(env);
}

/* wakeHere(listener): the program waits from its call on, so berthd may as well run where it ran. */
static napi_value wake_here(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int listener;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &listener))
        return NULL;
    /* Before Linux 6.6 it takes somewhat longer. */
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, (unsigned long)SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    return make_undefined(env);
}

void init_seccomp(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"journal", use_journal},    {"receiveCall", receive_call}, {"recallCall", recall_call},
        {"callWaits", call_waits},   {"answerCall", answer_call},   {"forgetCall", forget_call},
        {"wakeHere", wake_here},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
