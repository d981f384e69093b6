/* imsuper data index --seek: the seek index of all images. Images are decoded by imsuper-augmenter, which is sent their
 * paths and answers with counts. */
#include "reader/tools/data_seek.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/json.h"
#include "ipc/base/piped.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"

/* In the order of the index, which is that of the disk most likely. A program that has ended has said why. */
static int send_paths(const struct rd_index *index, FILE *to, struct im_text *text)
{
    char path[PATH_MAX];

    for (int split = IM_TRAIN; split <= IM_VAL; split++)
        for (uint64_t i = 0; i < rd_index_count(index, (enum im_split)split); i++) {
            if (rd_index_reference(index, (enum im_split)split, i, path, sizeof path) < 0)
                continue; /* nobody can open it */
            if (fwrite(path, strlen(path) + 1, 1, to) != 1)
                return errno == EPIPE ? 0 : im_fail(text, -errno, "cannot send paths: %s", strerror(errno));
        }
    return 0;
}

/* Its answer, and its status as waitpid() has it. */
static int end(struct im_piped *p, char *answer, size_t size)
{
    size_t have = 0;
    ssize_t got;

    while (have + 1 < size && ((got = read(p->from, answer + have, size - have - 1)) > 0 || errno == EINTR))
        have += got > 0 ? (size_t)got : 0;
    answer[have] = '\0';
    return im_piped_end(p);
}

static int parse(const char *answer, struct rd_seek_counts *ret, struct im_text *text)
{
    struct im_json *j;
    int err = im_json_parse(answer, strlen(answer), &j, text);

    if (err < 0)
        return err;
    *ret = (struct rd_seek_counts){.made = (uint64_t)im_json_int_or(j, "made", 0),
                                   .present = (uint64_t)im_json_int_or(j, "present", 0),
                                   .without = (uint64_t)im_json_int_or(j, "without", 0),
                                   .failed = (uint64_t)im_json_int_or(j, "failed", 0),
                                   .made_bytes = (uint64_t)im_json_int_or(j, "made_bytes", 0),
                                   .seconds = im_json_real_or(j, "seconds", 0)};
    im_json_free(&j);
    return 0;
}

int rd_seek_make(const struct im_conf *conf, const struct rd_index *index, const char *file, bool is_shown,
                 struct rd_seek_counts *ret, struct im_text *text)
{
    char program[PATH_MAX], verb[] = "seek", seek_file[PATH_MAX], root[PATH_MAX], workers[32], images[32],
                            shown[] = "0", answer[4096];
    char *argv[] = {program, verb, seek_file, root, workers, images, shown, NULL};
    struct im_piped p;
    FILE *to;
    int err, status;

    im_beside("imsuper-augmenter", program, sizeof program);
    snprintf(seek_file, sizeof seek_file, "%s", file);
    snprintf(root, sizeof root, "%s", rd_index_leads_out(index) ? "" : rd_index_root(index));
    snprintf(workers, sizeof workers, "%" PRId64, conf->augmenters > 0 ? conf->augmenters : im_cpu_count());
    snprintf(images, sizeof images, "%" PRIu64,
             rd_index_count(index, IM_TRAIN) + rd_index_count(index, IM_VAL));
    shown[0] = is_shown ? '1' : '0';
    signal(SIGPIPE, SIG_IGN);
    err = im_piped_start(&p, argv, &(struct im_piped_how){.with_input = true}, text);
    if (err < 0)
        return err;
    to = fdopen(p.to, "w");
    err = to ? send_paths(index, to, text) : im_fail(text, -ENOMEM, "no memory to send paths");
    if (to)
        fclose(to);
    else
        close(p.to);
    p.to = -1;
    status = end(&p, answer, sizeof answer);
    if (err == 0 && WIFSIGNALED(status))
        return im_fail(text, -ECHILD,
                       "%s was killed by signal %d; what was made is kept, the same command goes on", program,
                       WTERMSIG(status));
    if (err == 0 && status != 0)
        return WEXITSTATUS(status);
    return err < 0 ? err : parse(answer, ret, text);
}
