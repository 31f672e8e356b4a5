/* berth-claim: asks berthd for the sockets of a reservation and passes them on. No policy is in it. */
#ifndef BERTH_CLAIM_H
#define BERTH_CLAIM_H

#include <stddef.h>

enum {
    MAX_STALE = 8 * 1024,   /* 16 names of 255 bytes, and then some */
    MAX_NAMES = 128 * 1024, /* the kernel takes no longer environment variable (MAX_ARG_STRLEN, execve(2)) */
    MAX_ATTEMPTS = 20,      /* to get an answer out of a berthd that is being restarted */
    EXIT_REFUSED = 125,     /* the exit statuses of env(1) */
    EXIT_CANNOT_RUN = 126,
    EXIT_NOT_FOUND = 127,
};

struct handoff {
    int *fds; /* ascending, close-on-exec */
    size_t count;
    char mode[16]; /* exec, store, lend, bind, release, done */
    char names[MAX_NAMES]; /* as in LISTEN_FDNAMES: one for each descriptor, separated by colons */
    char stale[MAX_STALE]; /* names that are to leave the fd store */
};

/* What berthd is asked. `text` is the request, `name` what messages call it; `fd` goes along unless it is -1. */
struct question {
    const char *control;
    const char *name;
    const char *text;
    int fd;
};

/* One line on stderr, `berth-claim: cannot claim 'NAME': …`, and exit 125. */
_Noreturn void refuse(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether a reservation can be called so; then it needs no escape in JSON. */
int is_name(const char *name);

/* Copies a JSON string from just behind its opening quote. Returns where it ends; NULL when it does not, or does not fit. */
const char *copy_string(const char *from, char *to, size_t room);

/* What came over a socket stays on its one line, and moves no cursor. */
void make_printable(char *text);

/* Has berthd let go of reservations, whose names end in NULL. Returns portrelease's exit status. */
int release(const char *control, char **names);

/* Refuses what is no name of a reservation. The characters of those stand for themselves in JSON. */
void check_name(const char *name);

/* Asks berthd and receives all descriptors of the answer. Returns only when that was granted. */
void ask(const struct question *question, struct handoff *handoff);

/* Runs a program, which execvp(3) finds by `file`, in this process's place, with the descriptors, if any, as
 * sd_listen_fds(3) wants them. */
_Noreturn void run(const char *name, const struct handoff *handoff, const char *file, char **command);

/* The same without descriptors; what there is of LISTEN_FDS stays. */
_Noreturn void run_plain(const char *file, char **command);

/* Puts the descriptors into the fd store of this process's unit, from which systemd passes them to the service. */
void store(const char *name, struct handoff *handoff);

/* Lets bind(2) and listen(2) of this process and its children wait for whoever has the descriptor that is returned. */
int supervise(const char *names);

#endif
