/* What the C programs of a sanitized build do with what they find where no environment tells them: where the lab's units
 * run them. Included in front of each file (sanitized.sh); preload/sanitizer-reports.c gives each process its own path. */
const char *__asan_default_options(void);
__attribute__((weak, used, visibility("default"))) const char *__asan_default_options(void) {
    return "log_path=/var/log/berth-sanitizers/early:exitcode=86";
}
const char *__ubsan_default_options(void);
__attribute__((weak, used, visibility("default"))) const char *__ubsan_default_options(void) {
    return "print_stacktrace=1:log_path=/var/log/berth-sanitizers/early:exitcode=86";
}
