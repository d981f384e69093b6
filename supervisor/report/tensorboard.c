#include "supervisor/report/tensorboard.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/class_counts.h"
#include "ipc/first_batch.h"
#include "supervisor/report/histogram.h"
#include "supervisor/report/options.h"
#include "supervisor/report/picture_grid.h"
#include "supervisor/report/series.h"
#include "supervisor/report/tb_event.h"

#define FOLDER "tensorboard"
#define BEGIN "events.out.tfevents."
#define END ".imsuper"
#define NEXT ".tensorboard.next" /* not in the folder: any name there may be read */
#define PICTURE_BYTES_MAX ((size_t)1 << 28)
#define OLD_BYTES_MAX ((size_t)1 << 30)
#define WEIGHTS_EVERY_NS (60 * IM_SECOND)
#define WEIGHTS_SHARE 500 /* taking histograms may cost one part in so many of the time */

void sv_tensorboard_init(struct sv_tensorboard *t, const char *run_dir)
{
    *t = (struct sv_tensorboard){.run_dir = run_dir, .fd = -1};
}

void sv_tensorboard_close(struct sv_tensorboard *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What is written now: the state behind it, and the records. */
struct batch {
    struct sv_tensorboard *t; /* a copy, which counts once the records are written */
    struct sv_records records;
    int picture_err; /* of a picture that is missing, with a sentence; the rest is written */
    struct im_text *picture_text;
    bool went_back;   /* the steps of the stages did */
    const bool *kept; /* of the lines of stages; NULL: all */
    size_t line;      /* of them */
    struct sv_tb_scalar scalar[SV_TB_SCALARS];
    size_t scalars;
};

static void add_scalar(struct batch *b, const char *group, const char *key, double value)
{
    struct sv_tb_scalar *s = &b->scalar[b->scalars];

    if (!isfinite(value) || b->scalars == SV_TB_SCALARS)
        return;
    snprintf(s->tag, sizeof s->tag, "%.20s/%.40s", group, key);
    s->value = value;
    b->scalars++;
}

static void flush(struct batch *b, const struct im_json *line, int64_t step)
{
    b->t->last_time = im_json_real_or(line, "time", b->t->last_time);
    sv_tb_scalars(&b->records, b->t->last_time, step, b->scalar, b->scalars);
    b->scalars = 0;
}

/* Keys of an epoch's line under other names. */
static const struct {
    const char *key, *group, *name;
} epoch_names[] = {
    {"train_loss", "epoch", "train_loss"},
    {"train_top1", "epoch", "train_top1"},
    {"val_loss", "val", "loss"},
    {"val_top1", "val", "top1"},
    {"val_top5", "val", "top5"},
    {"val_map", "val", "map"},
    {"val_f1", "val", "f1"},
    {"val_f1_macro", "val", "f1_macro"},
    {"ema_val_map", "val_ema", "map"},
    {"ema_val_loss", "val_ema", "loss"},
    {"ema_val_top1", "val_ema", "top1"},
    {"ema_val_top5", "val_ema", "top5"},
    {"images_per_second", "throughput", "samples_per_sec"},
    {"images_per_second_per_gpu", "throughput", "device_samples_per_sec"},
    {"mfu", "throughput", "mfu"},
    {"joules_per_image", "throughput", "joules_per_image"},
    {"seconds", "time", "epoch_seconds"},
    {"image_size", "epoch", "image_size"},
    {"batch_size", "epoch", "batch_size"},
    {"skipped_steps", "epoch", "skipped_steps"},
};

static bool has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static void add_epoch(struct batch *b, const struct im_json *line, int64_t step)
{
    const struct im_json *value;
    double v;

    for (size_t i = 0; i < IM_COUNT(epoch_names); i++)
        add_scalar(b, epoch_names[i].group, epoch_names[i].name,
                   im_json_real_or(line, epoch_names[i].key, (double)NAN));
    for (const char *key = NULL; (value = im_json_next(line, &key));)
        if (has_prefix(key, "gpu_") && im_json_as_real(value, &v) == 0)
            add_scalar(b, "gpu_epoch", key + 4, v);
    if (step != b->t->train_step)
        add_scalar(b, "train", "lr", im_json_real_or(line, "lr", (double)NAN));
}

static void add_step(struct batch *b, const struct im_json *line, int64_t step)
{
    const struct im_json *value;
    double v;

    for (const char *key = NULL; (value = im_json_next(line, &key));) {
        if (strcmp(key, "step") == 0 || strcmp(key, "epoch") == 0 || strcmp(key, "time") == 0 ||
            im_json_as_real(value, &v) < 0)
            continue;
        if (has_prefix(key, "gpu_"))
            add_scalar(b, "gpu", key + 4, v);
        else
            add_scalar(b, "train", key, v);
    }
    b->t->train_step = step;
}

/* A picture in the run directory, where there is one. */
static bool add_picture(struct batch *b, const char *name, const char *tag, int64_t step)
{
    char path[PATH_MAX], *png = NULL;
    size_t n = 0;

    if (snprintf(path, sizeof path, "%s/%s", b->t->run_dir, name) >= (int)sizeof path ||
        access(path, F_OK) < 0 || im_read_file(path, PICTURE_BYTES_MAX, &png, &n, NULL) < 0)
        return false;
    sv_tb_image(&b->records, b->t->last_time, step, tag, png, n);
    free(png);
    return true;
}

/* Who is taken for whom; of a run with --per-class-log, with --ema by the averaged weights, too. */
static void add_confusion(struct batch *b, const struct im_json *line, bool averaged, int64_t step)
{
    const uint32_t epoch = (uint32_t)im_json_int_or(line, "epoch", 0);
    char name[64];
    int err = sv_epoch_confusion_draw(b->t->run_dir, epoch, averaged, b->picture_text);

    b->picture_err = err < 0 ? err : b->picture_err;
    snprintf(name, sizeof name, IM_PER_CLASS_FOLDER "/" SV_CONFUSION_PICTURE, epoch,
             im_per_class_of(averaged));
    add_picture(b, name, averaged ? "val_ema/confusion" : "val/confusion", step);
}

static void add_first_batch(struct batch *b, const struct sv_options *options)
{
    const char *several = sv_options_value(options, "multi-label");
    int err;

    if (b->t->has_first_batch)
        return;
    err = sv_first_batch_draw(b->t->run_dir, !several || strcmp(several, "true") != 0, b->picture_text);
    b->picture_err = err < 0 ? err : b->picture_err;
    b->t->has_first_batch = add_picture(b, IM_FIRST_BATCH_PICTURE, "train/first_batch", 0);
}

static int take_metrics(void *context, const struct im_json *line)
{
    struct batch *b = context;
    const int64_t step = im_json_int_or(line, "step", -1);
    const bool is_epoch = strcmp(im_json_str_or(line, "event", ""), "epoch") == 0;

    if (step < 0)
        return 0;
    if (is_epoch)
        add_epoch(b, line, step);
    else if (strcmp(im_json_str_or(line, "split", ""), "train") == 0)
        add_step(b, line, step);
    b->t->last_step = step;
    flush(b, line, step);
    for (int averaged = 0; is_epoch && averaged < 2; averaged++)
        add_confusion(b, line, averaged, step);
    return b->records.failed ? -ENOMEM : 0;
}

static int take_stages(void *context, const struct im_json *line)
{
    struct batch *b = context;
    const int64_t step = im_json_int_or(line, "step", -1);
    const struct im_json *stage, *value;
    const bool kept = !b->kept || b->kept[b->line];
    double v;

    b->line++;
    b->went_back |= !b->kept && step < b->t->stage_step;
    if (!kept || step <= b->t->stage_step)
        return 0;
    for (const char *name = NULL; (stage = im_json_next(line, &name));)
        for (const char *key = NULL; im_json_is_object(stage) && (value = im_json_next(stage, &key));) {
            char group[32];

            snprintf(group, sizeof group, "stage/%.16s", name);
            if (im_json_as_real(value, &v) == 0)
                add_scalar(b, group, key, v);
        }
    b->t->stage_step = step;
    flush(b, line, step);
    return b->records.failed ? -ENOMEM : 0;
}

/* Steps of the lines of stages. */
struct steps {
    int64_t *step;
    size_t count, room;
};

static int take_step(void *context, const struct im_json *line)
{
    struct steps *s = context;

    if (s->count == s->room) {
        int64_t *larger = realloc(s->step, (s->room = 2 * s->room + 64) * sizeof *larger);

        if (!larger)
            return -ENOMEM;
        s->step = larger;
    }
    s->step[s->count++] = im_json_int_or(line, "step", -1);
    return 0;
}

/* Who goes back to a snapshot does steps again: of the lines before, those count that are of earlier steps. */
static int choose_lines(const char *path, bool **ret_kept)
{
    struct steps s = {0};
    int64_t end = sv_each_line(path, 0, take_step, &s, NULL), least = INT64_MAX;
    bool *kept = end < 0 ? NULL : calloc(s.count + 1, sizeof *kept);

    for (size_t i = s.count; kept && i-- > 0;) {
        kept[i] = s.step[i] < least;
        least = s.step[i] < least ? s.step[i] : least;
    }
    free(s.step);
    *ret_kept = kept;
    return end < 0 ? (int)end : kept ? 0 : -ENOMEM;
}

/* Reads what a source has more than was read; 0 where there is no such file. */
static int read_source(struct batch *b, struct sv_tb_source *source, const char *name, sv_take_line *take,
                       struct im_text *text)
{
    char path[PATH_MAX];
    struct stat st;
    int64_t end;

    snprintf(path, sizeof path, "%s/%s", b->t->run_dir, name);
    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : im_fail(text, -errno, "cannot read %s: %s", path, strerror(errno));
    if (b->t->last_time <= 0) /* of a version whose lines have no time */
        b->t->last_time = (double)st.st_mtim.tv_sec;
    end = sv_each_line(path, source->offset, take, b, text);
    if (end < 0)
        return (int)end;
    *source = (struct sv_tb_source){st.st_dev, st.st_ino, end};
    return 0;
}

/* Is it another file than was read, or a shorter one? */
static bool was_replaced(const struct sv_tensorboard *t, const struct sv_tb_source *source, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", t->run_dir, name);
    if (source->inode == 0 || stat(path, &st) < 0)
        return false; /* nothing was read of it, or it is away for now */
    return st.st_dev != source->device || st.st_ino != source->inode || st.st_size < source->offset;
}

static int append(struct sv_tensorboard *t, const struct sv_records *r, struct im_text *text)
{
    int err = r->failed ? -ENOMEM : im_write_all(t->fd, r->bytes, r->n);

    if (err == 0) {
        t->written += (int64_t)r->n;
        return 0;
    }
    if (ftruncate(t->fd, (off_t)t->written) <
        0) /* a part of a record may be there: then all is written anew */
        sv_tensorboard_close(t);
    return im_fail(text, err, "cannot write to " FOLDER "/ of %s: %s", t->run_dir, strerror(-err));
}

/* imsuper's files in the folder: the last of them by name. Those other than `but` are removed, where it is given. */
static void find_files(const char *folder, const char *but, char ret_last[NAME_MAX + 1])
{
    DIR *d = opendir(folder);
    struct dirent *entry;

    ret_last[0] = 0;
    while (d && (entry = readdir(d))) {
        const size_t n = strlen(entry->d_name);

        if (!has_prefix(entry->d_name, BEGIN) || n < strlen(END) ||
            strcmp(entry->d_name + n - strlen(END), END) != 0)
            continue;
        if (but && strcmp(entry->d_name, but) != 0)
            unlinkat(dirfd(d), entry->d_name, 0);
        if (strcmp(entry->d_name, ret_last) > 0)
            snprintf(ret_last, NAME_MAX + 1, "%s", entry->d_name);
    }
    if (d)
        closedir(d);
}

/* Copies records that cannot be made anew from the file before. */
static void keep_records(struct batch *b, const char *path)
{
    const unsigned char *record;
    char *bytes = NULL;
    size_t total = 0, n, took;

    if (im_read_file(path, OLD_BYTES_MAX, &bytes, &total, NULL) < 0)
        return;
    for (size_t at = 0; (took = sv_record_next((unsigned char *)bytes + at, total - at, &record, &n)) > 0;
         at += took) {
        unsigned char *to;

        if (!sv_tb_is_kept(record, n, b->t->last_step))
            continue;
        to = sv_record_begin(&b->records, n);
        if (!to)
            break;
        memcpy(to, record, n);
        sv_record_end(&b->records, n);
    }
    free(bytes);
}

/* Later than that of `last`, so that readers, who go by names, come to it after that one. */
static void make_name(const char *last, char ret[NAME_MAX + 1])
{
    char host[48] = "";
    long long seconds = (long long)time(NULL), before = *last ? strtoll(last + strlen(BEGIN), NULL, 10) : 0;

    gethostname(host, sizeof host - 1);
    for (char *c = host; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-')
            *c = '_';
    snprintf(ret, NAME_MAX + 1, BEGIN "%010lld.%s.%d" END, seconds > before ? seconds : before + 1, host,
             (int)getpid());
}

/* Writes a whole file under another name, then gives it its own. Returns its descriptor. */
static int put_file(const char *run_dir, const struct sv_records *r, const char *folder, const char *name,
                    struct im_text *text)
{
    char next[PATH_MAX], path[PATH_MAX + NAME_MAX + 2], last[NAME_MAX + 1];
    int fd, err;

    snprintf(next, sizeof next, "%s/" NEXT, run_dir);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    err = im_file_replace(next, r->bytes, r->n, text);
    if (err < 0)
        return err;
    fd = open(next, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0 || rename(next, path) < 0) {
        err = im_fail(text, -errno, "cannot write %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        unlink(next);
        return err;
    }
    find_files(folder, name, last);
    return fd;
}

/* The folder, after what is none is moved aside. */
static int make_folder(const char *folder, struct im_text *text)
{
    struct stat st;

    if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode) && im_move_aside(folder, text) < 0)
        return -ENOTDIR;
    return im_mkdirs(folder, 0777, text);
}

/* All that the sources have, and of the file before what they have not. */
static int collect(struct batch *b, const struct sv_options *options, const char *before,
                   struct im_text *text)
{
    struct sv_tensorboard *t = b->t;
    char stages[PATH_MAX];
    bool *kept = NULL;
    int err;

    sv_tb_begin(&b->records, now_seconds());
    sv_tb_options(&b->records, now_seconds(), options);
    err = read_source(b, &t->metrics, "metrics.jsonl", take_metrics, text);
    snprintf(stages, sizeof stages, "%s/stages.jsonl", t->run_dir);
    if (err == 0 && access(stages, F_OK) == 0)
        err = choose_lines(stages, &kept);
    b->kept = kept;
    if (err == 0 && kept)
        err = read_source(b, &t->stages, "stages.jsonl", take_stages, text);
    free(kept);
    if (err == 0)
        add_first_batch(b, options);
    if (err == 0 && before)
        keep_records(b, before);
    return err == 0 && b->records.failed ? -ENOMEM : err;
}

static int write_anew(struct sv_tensorboard *t, const struct sv_options *options, struct im_text *text)
{
    struct sv_tensorboard next = {.run_dir = t->run_dir,
                                  .stage_step = -1,
                                  .train_step = -1,
                                  .weights = t->weights,
                                  .weights_at = t->weights_at,
                                  .weights_took = t->weights_took};
    struct batch b = {.t = &next, .picture_text = text};
    char folder[PATH_MAX], path[PATH_MAX + NAME_MAX + 2], last[NAME_MAX + 1], name[NAME_MAX + 1];
    int err;

    snprintf(folder, sizeof folder, "%s/" FOLDER, t->run_dir);
    err = make_folder(folder, text);
    if (err < 0)
        return err;
    find_files(folder, NULL, last);
    snprintf(path, sizeof path, "%s/%s", folder, last);
    make_name(last, name);
    err = collect(&b, options, *last ? path : NULL, text);
    if (err == 0)
        err = next.fd = put_file(t->run_dir, &b.records, folder, name, text);
    next.written = (int64_t)b.records.n;
    sv_records_free(&b.records);
    if (err < 0)
        return err;
    sv_tensorboard_close(t);
    *t = next;
    return b.picture_err;
}

/* 1: the sources went back; all has to be written anew. */
static int write_more(struct sv_tensorboard *t, const struct sv_options *options, struct im_text *text)
{
    struct sv_tensorboard next = *t;
    struct batch b = {.t = &next, .picture_text = text};
    int err = read_source(&b, &next.metrics, "metrics.jsonl", take_metrics, text);

    if (err == 0)
        err = read_source(&b, &next.stages, "stages.jsonl", take_stages, text);
    if (err == 0 && b.went_back)
        err = 1;
    if (err == 0)
        add_first_batch(&b, options);
    if (err == 0 && b.records.n > 0)
        err = append(&next, &b.records, text);
    if (err == 0)
        *t = next;
    else
        t->fd = next.fd; /* closed, where it could not be cut back */
    sv_records_free(&b.records);
    return err == 0 ? b.picture_err : err;
}

/* Histograms of the weights, where there are others than last time, and it does not cost too much. */
static int write_weights(struct sv_tensorboard *t, struct im_text *text)
{
    const im_ns began = im_now();
    struct sv_records r = {0};
    char path[PATH_MAX];
    struct stat st;
    int64_t step = -1;
    int err;

    snprintf(path, sizeof path, "%s/checkpoints/last.safetensors", t->run_dir);
    if (stat(path, &st) < 0 ||
        (st.st_mtim.tv_sec == t->weights.tv_sec && st.st_mtim.tv_nsec == t->weights.tv_nsec))
        return 0;
    if (t->weights_at > 0 &&
        (began - t->weights_at < WEIGHTS_EVERY_NS || began - t->weights_at < WEIGHTS_SHARE * t->weights_took))
        return 0;
    err = sv_histograms(&r, path, now_seconds(), &step, text);
    /* Of a step that is not in the metrics yet, or was taken back: later. */
    if (err == 0 && step >= 0 && step <= t->last_step && r.n > 0)
        err = append(t, &r, text);
    else if (err == 0)
        step = -1;
    sv_records_free(&r);
    if (err == 0 && step >= 0) {
        t->weights = st.st_mtim;
        t->weights_at = im_now();
        t->weights_took = t->weights_at - began;
    }
    return err;
}

static bool is_removed(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

int sv_tensorboard_update(struct sv_tensorboard *t, struct im_text *text)
{
    struct sv_options options;
    int err = sv_options_load(&options, t->run_dir, text);

    if (err < 0)
        return err == -ENOENT ? 0 : err;
    if (t->fd >= 0 && (is_removed(t->fd) || was_replaced(t, &t->metrics, "metrics.jsonl") ||
                       was_replaced(t, &t->stages, "stages.jsonl")))
        sv_tensorboard_close(t);
    if (t->fd >= 0)
        err = write_more(t, &options, text);
    if (err == 1 || (err == 0 && t->fd < 0))
        err = write_anew(t, &options, text);
    if (err == 0)
        err = write_weights(t, text);
    sv_options_free(&options);
    return err;
}
