/* Closing a connection in which a stranger may have left descriptors. */
#ifndef BERTH_DISCARD_H
#define BERTH_DISCARD_H

/* Closes it without waiting for anything that is in it. */
void close_connection(int fd);
/* The same where something is in it: berthd's answer is read all the same. */
void discard_connection(int fd);

#endif
