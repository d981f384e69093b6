/* imsuper data synth: makes a labelled data set of JPEG files, so that nobody has to download one to see the
 * program work. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "reader/tools/data_cmd.h"
#include "reader/tools/synth.h"

static void show(void *context, uint64_t done)
{
    const struct rd_line *line = context;

    rd_line_show(line, "drawing: %" PRIu64 " of %" PRIu64 " images", done, line->count);
}

static int print_json(const struct rd_synth *synth, double seconds)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.synth/1");
    im_json_set_str(j, "folder", synth->folder);
    im_json_set_int(j, "train", (int64_t)synth->class_count * synth->per_class);
    im_json_set_int(j, "val", (int64_t)synth->class_count * synth->val_per_class);
    im_json_set_int(j, "classes", synth->class_count);
    im_json_set_real(j, "seconds", seconds);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int rd_cmd_synth(struct im_conf *conf)
{
    struct im_text text = {""};
    struct rd_synth synth;
    struct rd_line line;
    im_ns start = im_now();
    double seconds;
    int err;

    synth = (struct rd_synth){
        .folder = conf->out,
        .class_count = (uint32_t)conf->classes,
        .per_class = (uint32_t)conf->per_class,
        .val_per_class = (uint32_t)conf->val_per_class,
        .seed = conf->seed,
        .size_min = (uint32_t)conf->side_min,
        .size_max = (uint32_t)conf->side_max,
        .quality = (int)conf->jpeg_quality,
    };
    line = (struct rd_line){
        .is_shown = isatty(STDERR_FILENO) && !conf->quiet && !conf->plain,
        .count = synth.class_count * ((uint64_t)synth.per_class + synth.val_per_class),
    };
    err = rd_synth_write(&synth, show, &line, &text);
    rd_line_clear(&line);
    if (err < 0) {
        im_command_fail(err, &text);
        return err == -EINVAL ? IM_EXIT_USAGE : IM_EXIT_FAILED; /* never bad data: it is ours */
    }
    seconds = (double)(im_now() - start) / (double)IM_SECOND;
    if (conf->json && (err = print_json(&synth, seconds)) < 0)
        return im_command_fail(err, &text);
    if (!conf->json && !conf->quiet)
        im_say(stdout, "made %" PRIu64 " images of %u classes in %.1f s: %s", line.count, synth.class_count,
               seconds, conf->out);
    return IM_EXIT_OK;
}
