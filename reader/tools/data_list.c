/* imsuper-reader data list: training images spread evenly over the data set, for programs that look at samples
 * outside of a run. An image keeps its number in the index, so that what is drawn for it is what a run draws.
 *
 * Five fields an image, each ended by a NUL byte because a path may hold anything else: number,
 * label, class, path, and where its bytes are (ipc/base/reference.h). With --both-splits a field stands before all images,
 * the folder below which all of them lie ("": links lead out of it), behind it the number of classes and their names, and each
 * image has a sixth field, its split, and a seventh, the classes that it belongs to: "0", with several labels "0 2". */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "reader/dataset/data.h"
#include "reader/tools/data_cmd.h"

static void print_classes_of(const struct rd_index *index, uint32_t label)
{
    const char *separator = "";

    if (rd_index_set_words(index) == 0)
        printf("%u", label);
    for (uint32_t class = 0; rd_index_set_words(index) && class < rd_index_class_count(index); class ++)
        if (rd_index_has(index, label, class)) {
            printf("%s%u", separator, class);
            separator = " ";
        }
    putchar(0);
}

static int print_image(const struct rd_index *index, enum im_split split, bool names_split, uint64_t id,
                       struct im_text *text)
{
    uint32_t label = rd_index_label(index, split, id);
    char path[PATH_MAX], reference[PATH_MAX], class[4096];
    int err = rd_index_path(index, split, id, path, sizeof path);

    if (err >= 0)
        err = rd_index_reference(index, split, id, reference, sizeof reference);
    if (err < 0)
        return im_fail(text, err, "the path of image %" PRIu64 " is too long", id);
    printf("%" PRIu64 "%c%u%c%s%c%s%c%s%c", id, 0, label, 0,
           rd_index_label_text(index, label, class, sizeof class), 0, path, 0, reference, 0);
    if (names_split) {
        printf("%s%c", split == IM_TRAIN ? "train" : "val", 0);
        print_classes_of(index, label);
    }
    return 0;
}

/* `wanted` images, spread over the split; 0: all. */
static int print_split(const struct rd_index *index, enum im_split split, bool names_split, uint64_t wanted,
                       struct im_text *text)
{
    const uint64_t count = rd_index_count(index, split);
    int err = 0;

    wanted = wanted == 0 || wanted > count ? count : wanted;
    for (uint64_t i = 0; err == 0 && i < wanted; i++)
        err = print_image(index, split, names_split, wanted == count ? i : i * count / wanted, text);
    return err;
}

int rd_cmd_list(struct im_conf *conf)
{
    struct im_text text = {""};
    struct rd_data data = {0};
    struct rd_source source = rd_cmd_source(conf);
    int err = rd_data_open(&source, &(struct rd_progress){0}, &data, &text);

    if (err < 0)
        return rd_cmd_fail(err, &text);
    if (conf->both_splits) {
        printf("%s%c", rd_index_leads_out(&data.index) ? "" : rd_index_root(&data.index), 0);
        printf("%u%c", rd_index_class_count(&data.index), 0);
        for (uint32_t class = 0; class < rd_index_class_count(&data.index); class ++)
            printf("%s%c", rd_index_class(&data.index, class), 0);
        for (int split = 0; err == 0 && split < IM_SPLITS; split++)
            err = print_split(&data.index, (enum im_split)split, true, (uint64_t)conf->sample, &text);
    } else {
        err = print_split(&data.index, conf->split == IM_SPLIT_CHOICE_VAL ? IM_VAL : IM_TRAIN, false,
                          (uint64_t)conf->images, &text);
    }
    rd_data_close(&data);
    if (err == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        err = im_fail(&text, -EIO, "the list of images could not be written");
    return err < 0 ? rd_cmd_fail(err, &text) : IM_EXIT_OK;
}
