/*
 * Gives the sanitizers' reports of each process names of their own, asan.RANDOM.PID and ubsan.RANDOM.PID, in the directory
 * that $BERTH_REPORTS names, or where the lab has it. The runtimes add the pid alone, which comes again: in another lab,
 * in another PID namespace, and after 32,768 processes; what is then found takes the place of what was found before. And
 * where both are loaded, UBSan's log_path= arrives at ASan, because both define __sanitizer_set_report_path, and UBSan
 * itself writes to standard error. Preloaded into Node and linked into the C by test/sanitized.sh; does nothing without
 * the runtimes.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

typedef void set_path(const char *path);

__attribute__((weak)) void __asan_init(void);
__attribute__((weak)) set_path __sanitizer_set_report_path;

static void name_reports_of(set_path *set, const char *sanitizer, uint64_t number)
{
	char path[4096];
	const char *directory = getenv("BERTH_REPORTS");

	snprintf(path, sizeof path, "%s/%s.%016llx", directory == NULL ? "/var/log/berth-sanitizers" : directory,
		 sanitizer, (unsigned long long)number);
	set(path);
}

__attribute__((constructor)) static void name_reports(void)
{
	uint64_t number;
	const void *bytes = (const void *)getauxval(AT_RANDOM);

	if (__asan_init == NULL || __sanitizer_set_report_path == NULL || bytes == NULL)
		return;
	memcpy(&number, bytes, sizeof number);
	/* It takes the path from $ASAN_OPTIONS, so it must have done that before. */
	__asan_init();
	name_reports_of(__sanitizer_set_report_path, "asan", number);

	void *ubsan = dlopen("libubsan.so.1", RTLD_LAZY | RTLD_NOLOAD);
	set_path *set = ubsan == NULL ? NULL : (set_path *)dlsym(ubsan, "__sanitizer_set_report_path");
	if (set != NULL)
		name_reports_of(set, "ubsan", number);
	if (ubsan != NULL)
		dlclose(ubsan);
}
