#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "claim.h"

enum { MAX_REQUEST = 60 * 1024 }; /* berthd takes 64 KiB */

static const char usage[] =
    "usage: berth-claim [--control PATH] [--argv0 ARG] NAME -- COMMAND [ARGUMENT...]\n"
    "       berth-claim [--control PATH] [--argv0 ARG] --bind NAME... -- COMMAND [ARGUMENT...]\n"
    "       berth-claim [--control PATH] [--done] NAME\n\n"
    "Runs COMMAND with the sockets of the reservation NAME as descriptors 3, 4, ... (sd_listen_fds(3)). Without COMMAND,\n"
    "for ExecStartPre=: hands them over as Handoff= says; --done, for ExecStopPost=: the service has ended.\n"
    "--bind: COMMAND knows nothing of it; what it binds of the reservations is bound for it beside the held sockets.\n"
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

static _Noreturn void refuse_answer(const char *name, const struct handoff *handoff) {
    refuse(name, "berthd granted something else (%s); are berthd and berth-claim of one version?", handoff->mode);
}

/* Runs a command whose bind(2) and listen(2) berthd serves. `line` is NAME... -- COMMAND [ARGUMENT...]. */
static _Noreturn void run_supervised(const char *control, char **line, const char *zeroth) {
    static struct handoff handoff;
    static char names[MAX_REQUEST], label[MAX_REQUEST], text[MAX_REQUEST + 64];
    size_t length = 0; /* of both: what separates the names is as long here as there */
    char **name = line;
    for (; strcmp(*name, "--") != 0; name++) {
        check_name(*name);
        if (length + strlen(*name) + 4 > sizeof names)
            refuse(*name, "there are too many names");
        sprintf(label + length, "%s%s", name == line ? "" : "','", *name);
        length += (size_t)sprintf(names + length, "%s%s", name == line ? "" : "\",\"", *name);
    }
    sprintf(text, "{\"method\":\"Supervise\",\"parameters\":{\"names\":[\"%s\"]}}", names);
    const struct question question = {control, label, text, supervise(label)};
    ask(&question, &handoff);
    if (strcmp(handoff.mode, "bind") != 0)
        refuse_answer(label, &handoff);
    char **command = name + 1;
    const char *file = command[0];
    command[0] = zeroth != NULL ? (char *)zeroth : command[0];
    run_plain(file, command);
}

/* The place of the `--` behind --bind NAME..., or 0 when the arguments are others. */
static int find_command(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "--bind") != 0)
        return 0;
    for (int i = 2; i < argc - 1; i++) {
        if (strcmp(argv[i], "--") == 0)
            return i > 2 ? i : 0;
        if (argv[i][0] == '-')
            return 0;
    }
    return 0;
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
    int bind = find_command(argc, argv) > 0;
    int done = argc == 3 && strcmp(argv[1], "--done") == 0;
    int exec = argc > 3 && argv[1][0] != '-' && strcmp(argv[2], "--") == 0;
    if (!bind && !done && !exec && (zeroth != NULL || argc != 2 || argv[1][0] == '-')) {
        fputs(usage, stderr);
        return EXIT_REFUSED;
    }
    const char *name = argv[done ? 2 : 1];
    char text[512];
    if (bind)
        run_supervised(control, argv + 2, zeroth);
    check_name(name);
    sprintf(text, "{\"method\":\"%s\",\"parameters\":{\"name\":\"%s\",\"form\":\"%s\"}}", done ? "Done" : "Claim", name,
            exec ? "exec" : "unit");
    ask(&(struct question){control, name, text, -1}, &handoff);
    if (!is_answer(&handoff, exec, done))
        refuse_answer(name, &handoff);
    if (exec) {
        const char *file = argv[3];
        argv[3] = zeroth != NULL ? zeroth : argv[3];
        run(name, &handoff, file, argv + 3);
    }
    if (strcmp(handoff.mode, "store") == 0)
        store(name, &handoff);
    return EXIT_SUCCESS;
}
