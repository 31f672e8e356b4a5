/*
 * Gives the sanitizers' reports of each process names of their own, asan.RANDOM.PID and ubsan.RANDOM.PID, in the directory
 * that a lab has for them, elsewhere in REPORTS. The runtimes add the pid alone, which comes again: in another lab, in
 * another PID namespace, and after 32,768 processes; what is then found takes the place of what was found before. And
 * where both are loaded, both define __sanitizer_set_report_path: UBSan's log_path= arrives at ASan, and UBSan itself
 * writes to standard error. test/sanitized.sh links this into the C, and has it preloaded into Node.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

typedef void set_path(const char *path);

__attribute__((weak)) void __asan_init(void);
__attribute__((weak)) set_path __sanitizer_set_report_path;

static void name_reports_of(set_path *set, const char *sanitizer)
{
	static const char in_lab[] = "/var/log/berth-sanitizers";
	char path[4096];
	uint64_t number;
	const char *directory = getenv("BERTH_REPORTS");

	if (directory == NULL)
		directory = access(in_lab, X_OK) == 0 ? in_lab : REPORTS;
	memcpy(&number, (const void *)getauxval(AT_RANDOM), sizeof number);
	snprintf(path, sizeof path, "%s/%s.%016llx", directory, sanitizer, (unsigned long long)number);
	set(path);
}

__attribute__((constructor)) static void name_reports(void)
{
	if (__asan_init == NULL || __sanitizer_set_report_path == NULL)
		return;
	/* It takes a path from $ASAN_OPTIONS, so it must have done that before. */
	__asan_init();
	name_reports_of(__sanitizer_set_report_path, "asan");

	void *ubsan = dlopen("libubsan.so.1", RTLD_LAZY | RTLD_NOLOAD);
	set_path *set = ubsan == NULL ? NULL : (set_path *)dlsym(ubsan, "__sanitizer_set_report_path");

	if (set != NULL)
		name_reports_of(set, "ubsan");
	if (ubsan != NULL)
		dlclose(ubsan);
}
