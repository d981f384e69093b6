/* Fatal signals that another process sent, such as `kill -SEGV`, told from those by which a process ends itself: the first
 * say nothing about the program or what it works on. SIGKILL leaves no trace. */
#ifndef IPC_SENT_SIGNALS_H
#define IPC_SENT_SIGNALS_H

/* Before exec: they wait until the program can tell who sent them. What the process does itself ends it all the same. Async-signal-safe. */
void im_sent_signals_hold(void);

/* From now on such a signal is reported before it acts; those that wait are, at once. `tell` runs in a signal
 * handler. What this process does itself (a bad address, abort()) is not reported. */
void im_sent_signals_note(void (*tell)(int signo));

#endif
