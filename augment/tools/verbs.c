/* The table of verbs of imsuper-augmenter; each lives in its own file. */
#include "augment/tools/session.h"

#include "ipc/base/count.h"

static const struct im_command verbs[] = {
    {.name = "preview",
     .typed = "imsuper data preview",
     .usual = "--data-dir DIR --augment classic -o grid.png",
     .what = "Shows one image under 16 draws and 16 images, as training would see them.",
     .options = IM_FOR_PREVIEW,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = au_cmd_preview},
    {.name = "bench",
     .typed = "imsuper bench augment",
     .usual = "--data-dir DIR --augment classic [--json]",
     .what = "Measures decoding and transforms on one core, files in memory.",
     .options = IM_FOR_BENCH | IM_FOR_MEASURED,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = au_cmd_bench},
    {.name = "profile",
     .typed = "imsuper profile augment",
     .usual = "--data-dir DIR --augment classic [-o x.speedscope.json]",
     .what = "Shows where the time of an augmenter goes.",
     .options = IM_FOR_BENCH | IM_FOR_PROFILE,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = au_cmd_profile},
    {.name = "bench-decode",
     .typed = "imsuper bench decode",
     .usual = "--data-dir DIR [--images N] [--json]",
     .what = "Measures decoding of whole images on one core, files in memory: images, megapixels and "
             "megabytes a second.",
     .options = IM_FOR_BENCH | IM_FOR_MEASURED,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = au_cmd_bench_decode},
    {.name = "verify",
     .typed = "imsuper data verify",
     .usual = "--data-dir DIR [-o FILE.html] [--json]",
     .what = "Decodes every image as training would: names those that cannot be used, and shows CMYK, "
             "rotated and\n"
             "misnamed files, duplicates, images in both splits, and the balance of classes. -o writes a "
             "page with\n"
             "pictures. Exit status 65 when there are bad images.",
     .options = IM_FOR_VERIFY | IM_FOR_NEAR,
     .required = "data-dir",
     .run = au_cmd_verify},
    {.name = "stats",
     .typed = "imsuper data stats",
     .usual = "--data-dir DIR [--sample N] [--json]",
     .what = "Measures mean and standard deviation of each colour, and the sizes of the training images.",
     .options = IM_FOR_VERIFY,
     .required = "data-dir",
     .run = au_cmd_stats},
    {.name = "seek", .typed = "imsuper data index --seek", .is_inner = true, .words = au_words_seek},
    {.name = "images", .typed = "imsuper predict --serve", .is_inner = true, .words = au_words_images},
    {.name = "pixels",
     .typed = "imsuper-augmenter pixels",
     .usual = "--data-dir DIR --split val",
     .what = "Sends samples to the program that started it.",
     .options = IM_FOR_PIXELS,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .is_inner = true,
     .run = au_cmd_pixels},
};

int au_command_main(int argc, char **argv)
{
    return im_command_main("imsuper-augmenter", verbs, IM_COUNT(verbs), argc, argv);
}
