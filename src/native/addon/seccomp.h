/* What src/native/addon/seccomp.c notes for the berthd that comes after a crash. */
#ifndef BERTH_SECCOMP_H
#define BERTH_SECCOMP_H

#include <sys/types.h>

/* The program's socket is about to be changed, and how it was before. */
void note_begun(int reuse_port, uid_t owner);
/* The same for a socket that was changed, or left, by a berthd that did not come to the end. */
int begun_reuse_port(void);
uid_t begun_owner(void);

#endif
