#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "claim.h"

static const char usage[] =
    "usage: berth-claim [--control PATH] [--argv0 ARG] NAME -- COMMAND [ARGUMENT...]\n"
    "       berth-claim [--control PATH] [--done] NAME\n\n"
    "Runs COMMAND with the sockets of the reservation NAME as descriptors 3, 4, ... (sd_listen_fds(3)). Without COMMAND,\n"
    "for ExecStartPre=: hands them over as Handoff= says; --done, for ExecStopPost=: the service has ended.\n"
    "--argv0 is the zeroth argument of COMMAND, else COMMAND itself.\n"
    "Exit status: COMMAND's; 125 refused or no berthd, 126 COMMAND cannot be run, 127 not found. More in berth-claim(1).\n";

static const char portrelease_usage[] =
    "usage: portrelease [--control PATH] NAME...\n\n"
    "Has berthd let go of the ports of the reservations NAME, or with '*' of all, as portreserve did. Only what has\n"
    "Handoff=release is released.\n"
    "Exit status: 0 when it was asked for, or there is no berthd; 1 when berthd could not be talked to. More in portrelease(1).\n";

void make_printable(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c != '\0'; c++) {
        if (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) /* U+0080 to U+009F in UTF-8 */
            c[1] = *c = ' ';
        else if (iscntrl(*c))
            *c = ' ';
    }
}

void refuse(const char *name, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    make_printable(text);
    fprintf(stderr, "berth-claim: cannot claim '%s': %s\n", name, text);
    exit(EXIT_REFUSED);
}

/* Received descriptors must not land on 0, 1 or 2 where the caller had closed those. */
static void fill_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR); /* the lowest free number is fd */
}

/* Whether this is /usr/sbin/portrelease, a link to berth-claim. */
static int is_portrelease(const char *program) {
    const char *slash = strrchr(program, '/');
    return strcmp(slash == NULL ? program : slash + 1, "portrelease") == 0;
}

/* What berthd granted must be what was asked for; a berthd of another version may know more. */
static int is_answer(const struct handoff *handoff, int exec, int done) {
    int released = strcmp(handoff->mode, "release") == 0 && handoff->count == 0;
    if (exec)
        return released || (strcmp(handoff->mode, "exec") == 0 && handoff->count > 0);
    if (done)
        return strcmp(handoff->mode, "done") == 0;
    return released || (strcmp(handoff->mode, "store") == 0 && handoff->count > 0) || strcmp(handoff->mode, "lend") == 0;
}

int main(int argc, char **argv) {
    static struct handoff handoff;
    const char *control = "/run/berth/control";
    int releases = argc > 0 && is_portrelease(argv[0]);
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(releases ? portrelease_usage : usage, stdout) < 0 || fflush(stdout) != 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("%s %s\n", releases ? "portrelease" : "berth-claim", VERSION) < 0 || fflush(stdout) != 0;
    if (argc > 2 && strcmp(argv[1], "--control") == 0) {
        control = argv[2];
        argv += 2;
        argc -= 2;
    }
    fill_standard_streams();
    if (releases)
        return release(control, argv + 1);
    char *zeroth = NULL;
    if (argc > 2 && strcmp(argv[1], "--argv0") == 0) {
        zeroth = argv[2];
        argv += 2;
        argc -= 2;
    }
    int done = argc == 3 && strcmp(argv[1], "--done") == 0;
    int exec = argc > 3 && argv[1][0] != '-' && strcmp(argv[2], "--") == 0;
    if (!done && !exec && (zeroth != NULL || argc != 2 || argv[1][0] == '-')) {
        fputs(usage, stderr);
        return EXIT_REFUSED;
    }
    const char *name = argv[done ? 2 : 1];
    ask(control, name, done ? "Done" : "Claim", exec ? "exec" : "unit", &handoff);
    if (!is_answer(&handoff, exec, done))
        refuse(name, "berthd granted something else (%s); are berthd and berth-claim of one version?", handoff.mode);
    if (exec) {
        const char *file = argv[3];
        argv[3] = zeroth != NULL ? zeroth : argv[3];
        run(name, &handoff, file, argv + 3);
    }
    if (strcmp(handoff.mode, "store") == 0)
        store(name, &handoff);
    return EXIT_SUCCESS;
}
