/* The warden's few sentences on stderr. It must go on whatever the terminal does: a sentence that cannot be
 * written at once is left out. */
#ifndef SUPERVISOR_WARDEN_SAY_H
#define SUPERVISOR_WARDEN_SAY_H

/* Prints "imsuper: ..." and a newline. */
void sv_warden_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
