/* The table of verbs of imsuper-reader; each lives in its own file. */
#include "reader/tools/verbs.h"

#include "ipc/base/count.h"
#include "reader/tools/bench_read.h"
#include "reader/tools/data_cmd.h"

static const struct im_command verbs[] = {
    {.name = "data index",
     .typed = "imsuper data index",
     .usual = "--data-dir DIR",
     .what = "Looks at a data set: finds its layout, classes and images, and indexes them.",
     .options = IM_FOR_INDEX,
     .required = "data-dir",
     .run = rd_cmd_index},
    {.name = "data measure",
     .typed = "imsuper data measure",
     .usual = "--data-dir DIR",
     .what = "Indexes a data set as `data index` does, for `imsuper start`, which has shown the warnings.",
     .options = IM_FOR_INDEX,
     .required = "data-dir",
     .is_inner = true,
     .run = rd_cmd_measure},
    {.name = "data evaluated",
     .typed = "imsuper-reader data evaluated",
     .usual = "--data-dir DIR|--image-list FILE --subset-out DIR",
     .what = "Makes the index of an evaluation, for `imsuper eval` and `imsuper predict`.",
     .options = IM_FOR_INDEX | IM_FOR_EVALUATED,
     .required = "subset-out",
     .is_inner = true,
     .run = rd_cmd_evaluated},
    {.name = "data synth",
     .typed = "imsuper data synth",
     .usual = "--out DIR --classes 10",
     .what = "Makes a small labelled data set to try things with.",
     .options = IM_FOR_SYNTH,
     .required = "out",
     .run = rd_cmd_synth},
    {.name = "data organise",
     .typed = "imsuper data organise",
     .usual = "SRC DST",
     .what =
         "Writes DST/train/CLASS/FILE and DST/val/CLASS/FILE from the images of SRC, in whatever layout they "
         "are.\nWhat is in DST already is never overwritten. Started again after a kill or a full disk, the "
         "same command goes on.\nDST/organise.undo says what was made; --undo takes it back.",
     .options = IM_FOR_ORGANISE,
     .operand = "data-dir",
     .second = "out",
     .run = rd_cmd_organise},
    {.name = "data pack",
     .typed = "imsuper data pack",
     .usual = "SRC DST",
     .what =
         "Writes DST/train-000000.tar and so on from the images of SRC, in whatever layout they are: tar\n"
         "shards in WebDataset's naming, with _info.json as timm reads it, and classes.txt. Each is read "
         "again\n"
         "and compared. Started again after a kill or a full disk, the same command goes on.",
     .options = IM_FOR_PACK,
     .operand = "data-dir",
     .second = "out",
     .run = rd_cmd_pack},
    {.name = "data unpack",
     .typed = "imsuper data unpack",
     .usual = "SRC DST",
     .what =
         "Writes DST/train/CLASS/FILE and DST/val/CLASS/FILE from the shards of SRC.\nWhat is in DST already "
         "is never overwritten. Started again after a kill or a full disk, the same command goes on.",
     .options = IM_FOR_UNPACK,
     .operand = "data-dir",
     .second = "out",
     .run = rd_cmd_unpack},
    {.name = "data list",
     .typed = "imsuper data list",
     .usual = "--data-dir DIR --images 16",
     .what = "Names images for programs: number, label, class and path, each ended by a NUL.",
     .options = IM_FOR_LIST,
     .required = "data-dir",
     .is_inner = true,
     .run = rd_cmd_list},
    {.name = "data members",
     .typed = "imsuper-reader data members",
     .usual = "SHARD",
     .what = "Prints as JSON where the images of a shard are, for `imsuper predict`.",
     .options = IM_FOR_LIST,
     .operand = "data-dir",
     .required = "data-dir",
     .is_inner = true,
     .run = rd_cmd_members},
    {.name = "bench",
     .typed = "imsuper bench read",
     .usual = "--data-dir DIR [--cold] [--json]",
     .what = "Measures one reader: images/s, MB/s, latency and CPU time of reading the files of a data set.\n"
             "--cold drops them from the page cache before each pass.",
     .options = IM_FOR_BENCH_READ | IM_FOR_MEASURED,
     .required = "data-dir",
     .run = rd_cmd_bench},
    {.name = "profile",
     .typed = "imsuper profile reader",
     .usual = "--data-dir DIR [--json] [-o x.speedscope.json]",
     .what = "Shows the latency of reads over the number of files in flight (1 to --queue-depth), first from "
             "the\n"
             "disk, then from the page cache.",
     .options = IM_FOR_BENCH_READ | IM_FOR_PROFILE,
     .required = "data-dir",
     .run = rd_cmd_profile},
    {.name = "drop",
     .typed = "imsuper-reader drop",
     .usual = "--data-dir DIR",
     .what = "Drops the training images from the page cache.",
     .options = IM_FOR_BENCH_READ,
     .required = "data-dir",
     .is_inner = true,
     .run = rd_cmd_drop},
    {.name = "io",
     .typed = "imsuper-reader io",
     .what = "Prints as JSON which engine of --io works here, and why not io_uring.",
     .is_inner = true,
     .run = rd_cmd_io},
};

int rd_verb_main(int argc, char **argv)
{
    return im_command_main("imsuper-reader", verbs, IM_COUNT(verbs), argc, argv);
}
