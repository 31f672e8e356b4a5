/* The environment that a command gets: names of descriptors as berthd sent them, in front of them what systemd passed. The
 * input is LISTEN_PID (`p` for the right one), LISTEN_FDS, LISTEN_FDNAMES and the names, each ended by a NUL. */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

static jmp_buf ran;
static int fuzz_execvp(const char *file, char **command) {
    longjmp(ran, 1 + (file == NULL && command == NULL));
}

#define execvp fuzz_execvp
#define dup2(from, to) ((from) < 0 || (to) < 0 ? -1 : 0)
#define sigprocmask(how, set, old) ((void)(set))
#include "../../../src/native/claim/run.c"

void refuse(const char *name, const char *format, ...) {
    longjmp(ran, 1 + (name == NULL && format == NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct handoff handoff;
    static int fds[8192];
    static const char *const variables[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"};
    char text[4097], *rest = text, program[] = "x", *command[] = {program, NULL};
    memcpy(text, data, size);
    text[size] = '\0';
    clearenv();
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(rest);
        setenv(variables[i], rest, 1);
        rest += length + (rest + length < text + size);
    }
    if (text[0] == 'p') {
        char pid[16];
        snprintf(pid, sizeof pid, "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
    }
    strcpy(handoff.names, rest);
    /* As ask.c has counted them. */
    handoff.count = *rest != '\0';
    for (const char *c = rest; *c != '\0'; c++)
        handoff.count += *c == ':';
    handoff.fds = fds;
    for (size_t i = 0; i < handoff.count; i++)
        fds[i] = 3 + (int)i;
    if (setjmp(ran) == 0)
        run("x", &handoff, "x", command);
    return 0;
}
