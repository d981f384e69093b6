/* Small files of the run folder that trainers need when they start: names and weights of classes, sets of labels. Their
 * bytes are held since the run began, and written again where somebody has removed them. */
#ifndef SUPERVISOR_WARDEN_KEPT_H
#define SUPERVISOR_WARDEN_KEPT_H

#include <limits.h>
#include <stddef.h>

#define SV_KEPT_MAX 3

struct sv_kept {
    char folder[PATH_MAX];
    struct {
        char path[PATH_MAX], temporary[PATH_MAX];
        char *bytes;
        size_t n;
    } file[SV_KEPT_MAX];
    size_t count;
};

/* Reads those that are there. */
void sv_kept_read(const char *run_dir, struct sv_kept *ret);
void sv_kept_fini(struct sv_kept *kept);

/* Writes those that are missing. Only async-signal-safe calls; a file that cannot be written is left to whoever needs it. */
void sv_kept_restore(const struct sv_kept *kept);

#endif
