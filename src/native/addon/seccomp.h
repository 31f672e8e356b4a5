/* The calls of supervised programs that src/native/addon/seccomp.c has received, each in a slot, and what is noted beside it
 * for the berthd that comes after a crash. */
#ifndef BERTH_SECCOMP_H
#define BERTH_SECCOMP_H

#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/types.h>

/* At a time. A program has one at the most, and nearly all are answered at once. */
enum { MAX_CALLS = 512 };

/* NULL when there is none. */
const struct seccomp_notif *call_in(int slot);
/* The program's socket is about to be changed, and how it was before. */
void note_begun(int slot, int reuse_port, uid_t owner);
/* The same for a socket that was changed, or left, by a berthd that did not come to the end. */
int begun_reuse_port(int slot);
uid_t begun_owner(int slot);

#endif
