/*
 * Stands in front of Node in a lab whose berth is built with the sanitizers (sanitized.ts): what loads such an addon must
 * have their runtime first, and nothing else of the lab shall have it. Node keeps the name that the process has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define HERE "/usr/lib/berth/sanitizers/"

int main(int argc, char **argv)
{
	char name[16], link[64], preload[256];
	const char *others = getenv("LD_PRELOAD");
	if (argc < 1 || prctl(PR_GET_NAME, name) < 0)
		return 1;
	snprintf(preload, sizeof preload, HERE "libasan.so " HERE "sanitizer-reports.so %s", others == NULL ? "" : others);
	setenv("LD_PRELOAD", preload, 1);
	setenv("ASAN_OPTIONS", "abort_on_error=1", 1);
	/* Node leaves much behind: whose it is, is judged from the report (test/sanitizers/judge.sh). The status counts for
	 * what AddressSanitizer finds, too, which is why that aborts. */
	setenv("LSAN_OPTIONS", "exitcode=0", 1);
	setenv("UBSAN_OPTIONS", "print_stacktrace=1:exitcode=86", 1);
	snprintf(link, sizeof link, HERE "%s", name);
	/* Called by its own name, it has none to keep. */
	if (strcmp(name, "node") != 0)
		execv(link, argv);
	execv("/usr/bin/node", argv);
	perror("/usr/bin/node");
	return 127;
}
