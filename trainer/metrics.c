/* metrics.jsonl, summary.csv and DONE: see metrics.h for the guarantees. The files are written by a thread
 * (ipc/base/writer.h); what cannot be opened or written stays with it, and training goes on.
 *
 * Opening reads each file whole, keeps the lines at or before the position from which the run continues, and,
 * if that changed anything, replaces the file crash-safely: a crash while opening leaves the file as it was.
 * A line in the middle that is not JSON (a power failure leaves blocks of zeroes) is removed and counted
 * too. */
#include "trainer/metrics.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"

#define LINES_NAME "metrics.jsonl"
#define SUMMARY_NAME "summary.csv"
#define DONE_NAME "DONE"
#define SUMMARY_HEADER                                                                                       \
    "epoch,train_loss,train_top1,val_loss,val_top1,val_top5,lr,images_per_second,seconds,image_size,batch_"  \
    "size,"                                                                                                  \
    "ema_val_loss,ema_val_top1,ema_val_top5"
/* Of images with several labels. */
#define SUMMARY_HEADER_SEVERAL                                                                               \
    SUMMARY_HEADER ",val_map,val_f1,val_f1_macro,ema_val_map,ema_val_f1,ema_val_f1_macro"

#define FILE_BYTES_MAX ((size_t)1 << 31)

#define SYNC_WAIT_NS (5 * IM_SECOND) /* for the disk, before a checkpoint is written */
#define SETTLE_WAIT_NS (IM_SECOND)   /* for the thread that writes, before a snapshot */
#define CLOSE_WAIT_NS (2 * IM_SECOND)

static int join_path(char path[PATH_MAX], const char *directory, const char *name, struct im_text *text)
{
    if (snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX)
        return 0;
    return im_fail(text, -ENAMETOOLONG, "the path of %s in %.200s... is too long", name, directory);
}

/* The position where a run continues. */
struct place {
    uint64_t step;
    uint32_t epoch;
    const char *header; /* of summary.csv */
};

/* How a file of the run is opened to continue there. */
struct opening {
    char directory[PATH_MAX];
    struct place at;
    int removed; /* lines */
};

/* Whether a line is kept when a run continues there. */
typedef bool keep_line(const char *line, size_t n, const struct place *at);

/* An epoch's line has the step of the last line before its validation, and goes with its epoch. */
static bool keep_metric(const char *line, size_t n, const struct place *at)
{
    struct im_json *object = NULL;
    int64_t step;
    bool keep;

    if (at->step == 0 || im_json_parse(line, n, &object, NULL) < 0)
        return false; /* a new run starts with its config line */
    if (im_json_as_int(im_json_get(object, "step"), &step) == 0)
        keep = step >= 0 && (uint64_t)step <= at->step &&
               (strcmp(im_json_str_or(object, "event", ""), "epoch") != 0 ||
                im_json_int_or(object, "epoch", 0) <= at->epoch);
    else
        keep = strcmp(im_json_str_or(object, "event", ""), "config") == 0;
    im_json_free(&object);
    return keep;
}

static bool keep_summary(const char *line, size_t n, const struct place *at)
{
    unsigned long epoch;
    char *end;

    if (n == strlen(at->header) && memcmp(line, at->header, n) == 0)
        return true;
    if (n == 0 || line[0] < '0' || line[0] > '9')
        return false;
    errno = 0;
    epoch = strtoul(line, &end, 10);
    return errno == 0 && *end == ',' && epoch <= at->epoch;
}

/* Moves the kept lines to the front of `bytes`; drops a last line without its newline. Returns their
 * length. */
static size_t filter(char *bytes, size_t n, keep_line *keep, const struct place *place, int *removed)
{
    size_t kept = 0;

    for (size_t at = 0; at < n;) {
        const char *newline = memchr(bytes + at, '\n', n - at);
        size_t length = newline ? (size_t)(newline - (bytes + at)) : n - at;

        if (newline && keep(bytes + at, length, place)) {
            memmove(bytes + kept, bytes + at, length + 1);
            kept += length + 1;
        } else if (*removed < INT_MAX) {
            (*removed)++;
        }
        at += length + (newline != NULL);
    }
    return kept;
}

/* Truncates the file to that position. Adds the removed lines to *removed. A missing file is fine. */
static int cut_back(const char *path, keep_line *keep, const struct place *at, int *removed,
                    struct im_text *text)
{
    size_t n, kept;
    char *bytes;
    int err;

    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    err = im_read_file(path, FILE_BYTES_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    kept = filter(bytes, n, keep, at, removed);
    if (kept < n)
        err = im_file_replace(path, bytes, kept, text);
    free(bytes);
    return err;
}

/* A file of another program or of another version is not cut back. */
static int check_header(const char *path, const char *header, struct im_text *text)
{
    const size_t length = strlen(header);
    char line[sizeof SUMMARY_HEADER_SEVERAL] = "";
    struct stat st;
    int fd = im_open_regular(path, &st, text);
    ssize_t n;
    bool same;

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    n = pread(fd, line, length + 1, 0);
    close(fd);
    if (n < 0)
        return im_fail(text, -errno, "cannot read %s: %s", path, strerror(errno));
    /* An empty file or a header torn by a crash has no newline and counts as missing. */
    same = memcmp(line, header, (size_t)n < length ? (size_t)n : length) == 0 &&
           ((size_t)n <= length || line[length] == '\n');
    return same ? 0
                : im_fail(text, -EBADMSG, "%s is not an imsuper summary: its first line is not \"%s\"", path,
                          header);
}

static int open_metrics(const char *path, struct opening *o, struct im_text *text)
{
    int err = cut_back(path, keep_metric, &o->at, &o->removed, text);

    return err < 0 ? err : im_lines_open(path, text);
}

static int open_table(const char *path, struct opening *o, struct im_text *text)
{
    int fd, err = check_header(path, o->at.header, text);

    if (err == 0)
        err = cut_back(path, keep_summary, &o->at, &o->removed, text);
    fd = err < 0 ? err : im_lines_open(path, text);
    if (fd < 0 || lseek(fd, 0, SEEK_END) > 0)
        return fd;
    err = im_append_line(fd, o->at.header);
    if (err == 0)
        return fd;
    close(fd);
    return im_fail(text, err, "cannot write %s: %s", path, strerror(-err));
}

/* What waiting does not repair: no file, a file of another program, one that is too large or that we may not use. Where
 * its folder cannot be entered nothing is known of it. */
static bool is_in_the_way(const char *path, int err)
{
    struct stat st;

    return im_is_no_file(path) || err == -EBADMSG || err == -EFBIG ||
           (err == -EACCES && stat(path, &st) == 0);
}

/* Opens a file of the run, after what stands in its way is moved aside. */
static int open_or_make_way(struct opening *o, const char *name,
                            int open_at(const char *path, struct opening *o, struct im_text *text),
                            struct im_text *text)
{
    char path[PATH_MAX];
    int fd, err = join_path(path, o->directory, name, text);

    if (err == 0)
        err = im_mkdirs(o->directory, 0777, text);
    if (err < 0)
        return err;
    fd = im_is_no_file(path) ? -EISDIR : open_at(path, o, text);
    if (fd >= 0 || !is_in_the_way(path, fd))
        return fd;
    err = im_move_aside(path, text);
    return err < 0 ? err : open_at(path, o, text);
}

static int open_lines(void *context, struct im_text *text)
{
    return open_or_make_way(context, LINES_NAME, open_metrics, text);
}

static int open_summary(void *context, struct im_text *text)
{
    return open_or_make_way(context, SUMMARY_NAME, open_table, text);
}

/* Opens a file now, or leaves it to the writer: a file that cannot be opened ends no run. Adds the removed lines to
 * *removed. */
static int add_file(struct tr_metrics *m, const char *name, im_writer_open_file *open,
                    const struct opening *how, int *ret_file, int *removed, struct im_text *text)
{
    struct opening *o = malloc(sizeof *o);
    char path[PATH_MAX];
    int fd = -1, err = o ? join_path(path, how->directory, name, text) : -ENOMEM;

    if (err == 0) {
        *o = *how;
        fd = open(o, text);
        err = fd == -ENOMEM || fd == -ENAMETOOLONG ? fd : 0;
    }
    if (err < 0) {
        free(o);
        return err;
    }
    if (fd >= 0)
        *removed += o->removed;
    *ret_file = im_writer_file(m->writer, path, name, fd, fd < 0 ? open : NULL, o);
    return 0;
}

int tr_metrics_open(struct tr_metrics *m, const char *directory, uint64_t step, uint32_t epoch,
                    bool multi_label, struct im_text *text)
{
    const char *header = multi_label ? SUMMARY_HEADER_SEVERAL : SUMMARY_HEADER;
    struct opening how = {.at = {.step = step, .epoch = epoch, .header = header}};
    char path[PATH_MAX];
    struct stat st;
    int removed = 0;
    int err;

    *m = (struct tr_metrics){.multi_label = multi_label};
    if (snprintf(how.directory, sizeof how.directory, "%s", directory) >= (int)sizeof how.directory)
        return im_fail(text, -ENAMETOOLONG, "the path %.200s... is too long", directory);
    err = im_writer_open(&m->writer);
    if (err == 0)
        err = add_file(m, LINES_NAME, open_lines, &how, &m->lines, &removed, text);
    if (err == 0)
        err = add_file(m, SUMMARY_NAME, open_summary, &how, &m->summary, &removed, text);
    if (err < 0) {
        tr_metrics_close(m);
        return err;
    }
    err = join_path(path, directory, LINES_NAME, text);
    m->is_new = step == 0 && epoch == 0;
    if (err == 0 && stat(path, &st) == 0)
        m->is_new = st.st_size == 0;
    return removed;
}

bool tr_metrics_is_new(const struct tr_metrics *m)
{
    return m->is_new;
}

uint64_t tr_metrics_close(struct tr_metrics *m)
{
    return im_writer_close_each(&m->writer, CLOSE_WAIT_NS, m->lost);
}

int tr_metrics_line(struct tr_metrics *m, const struct im_json *object, struct im_text *text)
{
    char *line = im_json_dump(object);
    int err = 0;

    if (!line)
        return im_fail(text, -ENOMEM, "cannot write " LINES_NAME ": out of memory");
    /* Refuses lines that opening would remove. */
    if (keep_metric(line, strlen(line), &(struct place){.step = INT64_MAX, .epoch = UINT32_MAX}))
        im_writer_line(m->writer, m->lines, line);
    else
        err = im_fail(text, -EINVAL, "a line of " LINES_NAME " needs a step: %.200s", line);
    free(line);
    return err;
}

void tr_metrics_summary(struct tr_metrics *m, const struct tr_summary *s)
{
    const double values[] = {
        s->train_loss,   s->train_top1,        s->val_loss,    s->val_top1,           s->val_top5,
        s->lr,           s->images_per_second, s->seconds,     (double)s->image_size, (double)s->batch_size,
        s->ema_val_loss, s->ema_val_top1,      s->ema_val_top5};
    const double several[] = {s->val.map,     s->val.f1,     s->val.f1_macro,
                              s->ema_val.map, s->ema_val.f1, s->ema_val.f1_macro};
    char line[600];
    size_t n = (size_t)snprintf(line, sizeof line, "%u", s->epoch);

    for (size_t i = 0; i < IM_COUNT(values); i++) {
        const char *format = isfinite(values[i]) ? ",%.9g" : ",";

        n += (size_t)snprintf(line + n, sizeof line - n, format, values[i]);
    }
    for (size_t i = 0; m->multi_label && i < IM_COUNT(several); i++) {
        const char *format = isfinite(several[i]) ? ",%.9g" : ",";

        n += (size_t)snprintf(line + n, sizeof line - n, format, several[i]);
    }
    im_writer_line(m->writer, m->summary, line);
}

int tr_metrics_sync(struct tr_metrics *m)
{
    return im_writer_wait(m->writer, true, SYNC_WAIT_NS);
}

int tr_metrics_settle(struct tr_metrics *m)
{
    return im_writer_wait(m->writer, false, SETTLE_WAIT_NS);
}

bool tr_metrics_news(struct tr_metrics *m, struct im_writer_news *ret)
{
    return im_writer_news(m->writer, ret);
}

int tr_done_set(const char *directory, const struct im_json *object, struct im_text *text)
{
    char *content = im_json_dump_indented(object);
    char path[PATH_MAX];
    int err;

    if (!content)
        return im_fail(text, -ENOMEM, "cannot write " DONE_NAME ": out of memory");
    err = join_path(path, directory, DONE_NAME, text);
    if (err == 0)
        err = im_file_replace_any(path, content, strlen(content), text);
    free(content);
    return err;
}

int tr_done_clear(const char *directory, struct im_text *text)
{
    char path[PATH_MAX];
    int err = join_path(path, directory, DONE_NAME, text);

    if (err == 0 && im_is_no_file(path))
        return im_move_aside(path, text);
    if (err == 0 && unlink(path) < 0 && errno != ENOENT)
        err = im_fail(text, -errno, "cannot remove %s: %s", path, strerror(errno));
    return err;
}
