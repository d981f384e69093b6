/* imsuper-data synth: makes a labelled data set of JPEG files, so that nobody has to download one to see the
 * program work. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/config/conf.h"
#include "reader/tools/data_cmd.h"
#include "reader/tools/synth.h"

static void show(void *context, uint64_t done)
{
    const struct rd_line *line = context;

    rd_line_show(line, "drawing: %" PRIu64 " of %" PRIu64 " images", done, line->count);
}

static int load(int argc, char **argv, struct im_conf *conf, struct im_text *text)
{
    struct im_text warning = {""};
    int next = im_conf_load(conf, IM_FOR_SYNTH, argc, argv, &warning, text);

    if (*warning.s)
        fprintf(stderr, "imsuper: %s\n", warning.s);
    if (next < 0)
        return next;
    if (next < argc)
        return im_fail(text, -EINVAL, "'%.200s' is not an option; see imsuper data synth --help", argv[next]);
    return *conf->out ? 0 : im_fail(text, -EINVAL, "--out is required");
}

int rd_cmd_synth(int argc, char **argv)
{
    struct im_text text = {""};
    struct im_conf conf;
    struct rd_synth synth;
    struct rd_line line;
    im_ns start = im_now();
    int err = load(argc, argv, &conf, &text);

    if (err < 0) {
        rd_cmd_fail(err, &text);
        return RD_EXIT_USAGE;
    }
    synth = (struct rd_synth){
        .folder = conf.out,
        .class_count = (uint32_t)conf.classes,
        .per_class = (uint32_t)conf.per_class,
        .val_per_class = (uint32_t)conf.val_per_class,
        .seed = conf.seed,
        .size_min = (uint32_t)conf.side_min,
        .size_max = (uint32_t)conf.side_max,
        .quality = (int)conf.jpeg_quality,
    };
    line = (struct rd_line){
        .is_shown = isatty(STDERR_FILENO) && !conf.quiet && !conf.plain,
        .count = synth.class_count * ((uint64_t)synth.per_class + synth.val_per_class),
    };
    err = rd_synth_write(&synth, show, &line, &text);
    rd_line_clear(&line);
    if (err < 0) {
        rd_cmd_fail(err, &text);
        return err == -EINVAL ? RD_EXIT_USAGE : RD_EXIT_FAILED;
    }
    if (!conf.quiet)
        printf("made %" PRIu64 " images of %u classes in %.1f s: %s\n", line.count, synth.class_count,
               (double)(im_now() - start) / (double)IM_SECOND, conf.out);
    return RD_EXIT_DONE;
}
