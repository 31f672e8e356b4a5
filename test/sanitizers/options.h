/* What the C programs of a sanitized build do where no environment tells them: in the lab's units. In front of each file;
 * reports.c says where the reports go. */
const char *__asan_default_options(void);
__attribute__((weak, used, visibility("default"))) const char *__asan_default_options(void) {
    return "exitcode=86";
}
const char *__ubsan_default_options(void);
__attribute__((weak, used, visibility("default"))) const char *__ubsan_default_options(void) {
    return "print_stacktrace=1:exitcode=86";
}
