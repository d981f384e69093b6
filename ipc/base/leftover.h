/* Temporary files of a command that a signal ends. Ctrl-C, SIGTERM and SIGHUP end a command at once, and it leaves nothing
 * half-written behind. A run hears these signals otherwise (supervisor/warden/). */
#ifndef IPC_BASE_LEFTOVER_H
#define IPC_BASE_LEFTOVER_H

/* From here on these signals remove the files before they end the process as they would have. Those that are ignored stay
 * so. */
void im_leftover_watch(void);

/* A file that is to go. Returns its place in the list, or -1 where there is no room: it stays. Any thread. */
int im_leftover_add(const char *path);
void im_leftover_drop(int place); /* accepts -1 */

#endif
