/* The command line of berth-claim: arguments that a NUL ends. What berthd answers is told by the first byte, and with its
 * highest bit that the name is portrelease. */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static jmp_buf ended;

_Noreturn static void fuzz_exit(int status) {
    longjmp(ended, status + 1);
}

/* Nothing is to be printed a million times; the texts are put together all the same. */
static char printed[4096];
static int fuzz_fputs(const char *text) {
    return snprintf(printed, sizeof printed, "%s", text);
}

#define exit fuzz_exit
#define fputs(text, file) fuzz_fputs(text)
#define fprintf(file, ...) snprintf(printed, sizeof printed, __VA_ARGS__)
#define main claim_main
#define VERSION "0"
#include "../../../src/native/claim/main.c"
#undef main
#undef exit

static uint8_t answer;

void ask(const char *control, const char *name, const char *method, const char *form, struct handoff *handoff) {
    static const char *const modes[] = {"exec", "store", "lend", "done", ""};
    snprintf(printed, sizeof printed, "%s %s %s %s", control, name, method, form);
    if (answer == 'r')
        refuse(name, "%s", name);
    strcpy(handoff->mode, modes[answer % 5]);
    handoff->count = answer % 3;
}

void run(const char *name, const struct handoff *handoff, const char *file, char **command) {
    if (handoff->count == 0 || file == NULL || command[0] == NULL || *name == '-')
        abort();
    fuzz_exit(0);
}

void store(const char *name, struct handoff *handoff) {
    if (handoff->count == 0 || *name == '-')
        abort();
}

int release(const char *control, char **names) {
    while (*names != NULL)
        snprintf(printed, sizeof printed, "%s %s", control, *names++);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char program[] = "berth-claim", portrelease[] = "/usr/sbin/portrelease";
    static char *arguments[66];
    static char copy[8192];
    int count = 1;
    if (size == 0)
        return 0;
    answer = data[0];
    memcpy(copy, data + 1, size - 1);
    copy[size - 1] = '\0';
    arguments[0] = answer & 0x80 ? portrelease : program;
    for (char *one = copy; one < copy + size - 1 && count < 65; one += strlen(one) + 1)
        arguments[count++] = one;
    arguments[count] = NULL;
    if (setjmp(ended) == 0)
        claim_main(count, arguments);
    return 0;
}
