/* Lets go of what strangers have put into a connection.
 *
 * A descriptor that was sent and that nobody takes is closed by the kernel when its message goes, in recvmsg(2) or in the
 * close(2) of the connection, before that call returns (task_work, in fput() of the kernel). Where it is the last one of a TCP
 * connection with SO_LINGER, that lasts as long as its owner likes; of a large file without a name, as long as the file system
 * takes to clear it. So a thread does it, and a timer's signal cuts short what lingers. The descriptors are not received:
 * close(2) of a file of somebody's FUSE would wait for that one, which this way of closing does not ask. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "discard.h"
#include "napi.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { STACK_SIZE = 256 * 1024, PATIENCE_NS = 100 * 1000 };

struct job {
    int fd;   /* a connection or a socket, to be closed */
    int most; /* packets to be dropped before */
    int done; /* to be closed afterwards, or -1 */
};

static int jobs = -1; /* the writing end of a pipe */

static void on_time(int signal) {
    (void)signal;
}

static void set_timer(timer_t timer, long nanoseconds) {
    struct itimerspec each = {.it_interval.tv_nsec = nanoseconds, .it_value.tv_nsec = nanoseconds};
    timer_settime(timer, 0, &each, NULL);
}

/* Whether there was a packet, which is gone then unless it was looked at only. An empty one is told from none at all by its
 * sender's credentials, which come with each and have no room here (SO_PASSCRED). */
static bool take(int fd, int flags) {
    struct msghdr message = {0};
    ssize_t got = recvmsg(fd, &message, flags | MSG_DONTWAIT);
    if (got < 0 && errno == ECONNRESET) /* is told once: the peer has gone, and what it sent is there */
        got = recvmsg(fd, &message, flags | MSG_DONTWAIT);
    return got >= 0 && (message.msg_flags & MSG_CTRUNC) != 0;
}

static void drop(const struct job *job) {
    for (int count = 0; count < job->most && take(job->fd, 0); count++) {}
    close(job->fd);
}

static void *run(void *data) {
    int source = *(int *)data;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    struct job job;
    sigset_t set;
    timer_t timer;
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    prctl(PR_SET_NAME, "berth-discard");
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    bool timed = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    for (;;) {
        ssize_t got = read(source, &job, sizeof job);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof job)
            return NULL;
        if (timed)
            set_timer(timer, PATIENCE_NS);
        drop(&job);
        if (timed)
            set_timer(timer, 0);
        if (job.done >= 0)
            close(job.done);
    }
}

static bool start_thread(int *source) {
    struct sigaction action = {.sa_handler = on_time};
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (sigaction(SIGRTMIN, &action, NULL) < 0 || pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, run, source);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

/* The pipe and the thread stay for good. */
static bool start(void) {
    static int ends[2];
    if (jobs >= 0)
        return true;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    if (fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0 && start_thread(&ends[0])) {
        jobs = ends[1];
        return true;
    }
    close(ends[0]);
    close(ends[1]);
    return false;
}

static bool hand_over(struct job job) {
    return start() && write(jobs, &job, sizeof job) == (ssize_t)sizeof job;
}

void discard_connection(int fd) {
    /* More than its queue takes. */
    struct job job = {fd, 4096, -1};
    /* With thousands that wait already it has to be done here: they must not become more and more. */
    if (!hand_over(job))
        drop(&job);
}

/* Whether nothing is left in a connection, and nothing more can come. */
static bool is_drained(int fd) {
    int on = 1;
    return shutdown(fd, SHUT_RD) == 0 && setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 && !take(fd, MSG_PEEK);
}

void close_connection(int fd) {
    if (is_drained(fd))
        close(fd);
    else
        discard_connection(fd);
}

/* prepareDiscard(): the thread, before descriptors run out. */
static napi_value prepare_discard(napi_env env, napi_callback_info info) {
    (void)info;
    return start() ? make_undefined(env) : throw_errno(env, errno, "pthread_create");
}

/* closeConnection(fd): closes a stranger's connection, whatever is still in it. */
static napi_value close_stranger(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd;
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    close_connection(fd);
    return make_undefined(env);
}

/* discardDatagram(fd): drops the next one. A descriptor that is readable when that is done, the caller's; undefined when it
 * was done at once. */
static napi_value discard_datagram(napi_env env, napi_callback_info info) {
    napi_value args[1];
    int fd, ends[2];
    if (!get_args(env, info, 1, args) || !get_int(env, args[0], &fd))
        return NULL;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
        if (hand_over((struct job){copy, 1, ends[1]}))
            return make_int(env, ends[0]);
        close(ends[0]);
        close(ends[1]);
    }
    if (copy >= 0)
        close(copy);
    take(fd, 0);
    return make_undefined(env);
}

void init_discard(napi_env env, napi_value exports) {
    static const struct export functions[] = {
        {"prepareDiscard", prepare_discard},
        {"closeConnection", close_stranger},
        {"discardDatagram", discard_datagram},
    };
    export_functions(env, exports, functions, COUNT(functions));
}
