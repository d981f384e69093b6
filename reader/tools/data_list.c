/* imsuper-reader data list: images spread evenly over the data set, of training unless --split says otherwise, for programs that look at samples
 * outside of a run. An image keeps its number in the index, so that what is drawn for it is what a run draws.
 *
 * Four fields an image, each ended by a NUL byte because a path may hold anything else: number,
 * label, class, path. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "reader/dataset/data.h"
#include "reader/tools/data_cmd.h"

static int print_image(const struct rd_index *index, enum im_split split, uint64_t id, struct im_text *text)
{
    uint32_t label = rd_index_label(index, split, id);
    char path[PATH_MAX];
    int err = rd_index_path(index, split, id, path, sizeof path);

    if (err < 0)
        return im_fail(text, err, "the path of image %" PRIu64 " is too long", id);
    printf("%" PRIu64 "%c%u%c%s%c%s%c", id, 0, label, 0, rd_index_class(index, label), 0, path, 0);
    return 0;
}

int rd_cmd_list(struct im_conf *conf)
{
    struct im_text text = {""};
    struct rd_data data = {0};
    enum im_split split;
    uint64_t count, wanted;
    struct rd_source source = rd_cmd_source(conf);
    int err = rd_data_open(&source, &(struct rd_progress){0}, &data, &text);

    if (err < 0)
        return rd_cmd_fail(err, &text);
    split = conf->split == IM_SPLIT_CHOICE_VAL ? IM_VAL : IM_TRAIN;
    count = rd_index_count(&data.index, split);
    wanted = (uint64_t)conf->images < count ? (uint64_t)conf->images : count;
    for (uint64_t i = 0; err == 0 && i < wanted; i++)
        err = print_image(&data.index, split, i * count / wanted, &text);
    rd_data_close(&data);
    return err < 0 ? rd_cmd_fail(err, &text) : IM_EXIT_OK;
}
