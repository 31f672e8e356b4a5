/* The passing on: descriptors in their places, the environment of sd_listen_fds(3), and execve. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "claim.h"

enum { FIRST_FD = 3 /* SD_LISTEN_FDS_START */, MAX_INHERITED = 1 << 30 };

/* How many descriptors systemd passed to this very process, from the unit's own .socket: they stay in front. */
static size_t inherited_fds(void) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (pid == NULL || count == NULL || getenv("LISTEN_FDNAMES") == NULL || strtol(pid, NULL, 10) != getpid())
        return 0;
    /* More than there can be leaves no place for another one (dup2(2): EBADF). */
    unsigned long inherited = strtoul(count, NULL, 10);
    return inherited < MAX_INHERITED ? inherited : MAX_INHERITED;
}

/* Ascending order means that a target is never a descriptor that still waits for its own move. */
static void place(const char *name, const struct handoff *handoff, size_t before) {
    for (size_t i = 0; i < handoff->count; i++) {
        int from = handoff->fds[i], to = FIRST_FD + (int)(before + i);
        if ((from == to ? fcntl(to, F_SETFD, 0) : dup2(from, to)) < 0)
            refuse(name, "descriptor %d cannot be used: %s", to, strerror(errno));
    }
}

static void set_number(const char *variable, size_t number) {
    char text[24];
    snprintf(text, sizeof text, "%zu", number);
    setenv(variable, text, 1);
}

/* BERTH_FD_<FDNAME> for programs that take a number: the first of its name, then <FDNAME>_2, _3, and so on. What a
 * variable's name cannot hold becomes an underscore. */
static void set_variables(const struct handoff *handoff, size_t before) {
    char variable[300];
    const char *one = handoff->names;
    for (size_t i = 0; i < handoff->count; i++) {
        size_t length = strcspn(one, ":"), nth = 1;
        for (const char *other = handoff->names; other < one; other += strcspn(other, ":") + 1)
            nth += strncmp(other, one, length) == 0 && other[length] == ':';
        snprintf(variable, sizeof variable, nth > 1 ? "BERTH_FD_%.*s_%zu" : "BERTH_FD_%.*s", (int)length, one, nth);
        for (char *c = variable; *c != '\0'; c++)
            *c = isalnum((unsigned char)*c) ? *c : '_';
        set_number(variable, FIRST_FD + before + i);
        one += length + 1;
    }
}

void run_plain(const char *file, char **command) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execvp(file, command);
    int status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
    fprintf(stderr, "berth-claim: cannot run '%s': %s\n", file, strerror(errno));
    exit(status);
}

void run(const char *name, const struct handoff *handoff, const char *file, char **command) {
    static char names[2 * MAX_NAMES];
    size_t before = inherited_fds();
    if (handoff->count > 0) {
        place(name, handoff, before);
        snprintf(names, sizeof names, "%s%s%s", before > 0 ? getenv("LISTEN_FDNAMES") : "", before > 0 ? ":" : "", handoff->names);
        setenv("LISTEN_FDNAMES", names, 1);
        set_number("LISTEN_PID", (size_t)getpid());
        set_number("LISTEN_FDS", before + handoff->count);
        unsetenv("LISTEN_PIDFDID"); /* systemd 258: the id of a process whose descriptors these are not */
        set_variables(handoff, before);
    }
    run_plain(file, command);
}
