/* The option table: every key of the configuration, once. From it come struct im_conf, --help, the YAML and
 * environment names, the frozen text that children get and the effective config.yaml.
 *
 * A row is KIND(field, "name", default, [low, high, | choices,] group, commands, "METAVAR", "help"). A flag
 * is --name, an environment variable IMSUPER_NAME with _ for -, a YAML key name. Help texts start small and
 * end without a full stop. To add an option, add a row. */
#ifndef IPC_CONFIG_CONF_KEYS_H
#define IPC_CONFIG_CONF_KEYS_H

#include <stdint.h>

#include "ipc/config/models.h"
#include "ipc/config/optimizers.h"

/* Choices: X(constant, "word"). The first has the value 0, and so on. */
#define IM_LAYOUTS(X)                                                                                        \
    X(IM_LAYOUT_AUTO, "auto")                                                                                \
    X(IM_LAYOUT_FOLDERS, "folders")                                                                          \
    X(IM_LAYOUT_ILSVRC, "ilsvrc")                                                                            \
    X(IM_LAYOUT_TINY, "tiny-imagenet")                                                                       \
    X(IM_LAYOUT_SINGLE, "single")                                                                            \
    X(IM_LAYOUT_CSV, "csv")                                                                                  \
    X(IM_LAYOUT_SHARDS, "shards")
#define IM_IOS(X)                                                                                            \
    X(IM_IO_AUTO, "auto")                                                                                    \
    X(IM_IO_URING, "uring")                                                                                  \
    X(IM_IO_PREAD, "pread")
#define IM_BACKENDS(X)                                                                                       \
    X(IM_BACKEND_AUTO, "auto")                                                                               \
    X(IM_BACKEND_REF, "ref")                                                                                 \
    X(IM_BACKEND_ONEDNN, "onednn")                                                                           \
    X(IM_BACKEND_CUDA, "cuda")
#define IM_AMPS(X)                                                                                           \
    X(IM_AMP_NONE, "none")                                                                                   \
    X(IM_AMP_BF16, "bf16")                                                                                   \
    X(IM_AMP_FP16, "fp16")                                                                                   \
    X(IM_AMP_AUTO, "auto")
#define IM_STEMS(X)                                                                                          \
    X(IM_CONF_STEM_AUTO, "auto")                                                                             \
    X(IM_CONF_STEM_IMAGENET, "imagenet")                                                                     \
    X(IM_CONF_STEM_SMALL, "small")
#define IM_HEADS(X)                                                                                          \
    X(IM_CONF_HEAD_AUTO, "auto")                                                                             \
    X(IM_CONF_HEAD_FC, "fc")                                                                                 \
    X(IM_CONF_HEAD_CONV, "conv")
#define IM_BLURPOOLS(X)                                                                                      \
    X(IM_CONF_BLURPOOL_NONE, "none")                                                                         \
    X(IM_CONF_BLURPOOL_ZHANG, "zhang")                                                                       \
    X(IM_CONF_BLURPOOL_FFCV, "ffcv")
#define IM_SCHEDULES(X)                                                                                      \
    X(IM_SCHEDULE_COSINE, "cosine")                                                                          \
    X(IM_SCHEDULE_CONSTANT, "constant")                                                                      \
    X(IM_SCHEDULE_ONECYCLE, "onecycle")                                                                      \
    X(IM_SCHEDULE_POLYNOMIAL, "polynomial")                                                                  \
    X(IM_SCHEDULE_STEP, "step")                                                                              \
    X(IM_SCHEDULE_MULTISTEP, "multistep")                                                                    \
    X(IM_SCHEDULE_EXPONENTIAL, "exponential")                                                                \
    X(IM_SCHEDULE_TRIANGULAR, "triangular")
#define IM_ANNEALS(X)                                                                                        \
    X(IM_ANNEAL_COS, "cos")                                                                                  \
    X(IM_ANNEAL_LINEAR, "linear")
#define IM_LR_SCALES(X)                                                                                      \
    X(IM_LR_SCALE_NONE, "none")                                                                              \
    X(IM_LR_SCALE_LINEAR, "linear")                                                                          \
    X(IM_LR_SCALE_SQRT, "sqrt")
#define IM_MUON_RESTS(X)                                                                                     \
    X(IM_MUON_REST_ADAMW, "adamw")                                                                           \
    X(IM_MUON_REST_SGD, "sgd")
#define IM_LOSSES(X)                                                                                         \
    X(IM_CONF_LOSS_CE, "ce")                                                                                 \
    X(IM_CONF_LOSS_BCE, "bce")
#define IM_EMA_WARMUPS(X)                                                                                    \
    X(IM_EMA_WARMUP_NONE, "none")                                                                            \
    X(IM_EMA_WARMUP_TF, "tf")                                                                                \
    X(IM_EMA_WARMUP_TIMM, "timm")
#define IM_LOSS_SCALES(X)                                                                                    \
    X(IM_LOSS_SCALE_OFF, "off")                                                                              \
    X(IM_LOSS_SCALE_DYNAMIC, "dynamic")
#define IM_BAD_SAMPLES(X)                                                                                    \
    X(IM_BAD_SAMPLE_SKIP, "skip")                                                                            \
    X(IM_BAD_SAMPLE_STOP, "stop")
#define IM_ON_SIGNALS(X)                                                                                     \
    X(IM_ON_SIGNAL_SAVE, "save")                                                                             \
    X(IM_ON_SIGNAL_STOP, "stop")
#define IM_WEIGHTS(X)                                                                                        \
    X(IM_WEIGHTS_BEST, "best")                                                                               \
    X(IM_WEIGHTS_LAST, "last")                                                                               \
    X(IM_WEIGHTS_BEST_EMA, "best-ema")                                                                       \
    X(IM_WEIGHTS_EMA, "ema")
#define IM_TTAS(X)                                                                                           \
    X(IM_TTA_NONE, "none")                                                                                   \
    X(IM_TTA_FLIP, "flip")                                                                                   \
    X(IM_TTA_VIEWS, "views")
#define IM_SPLIT_CHOICES(X)                                                                                  \
    X(IM_SPLIT_CHOICE_AUTO, "auto")                                                                          \
    X(IM_SPLIT_CHOICE_VAL, "val")                                                                            \
    X(IM_SPLIT_CHOICE_TRAIN, "train")
#define IM_FLIPS(X)                                                                                          \
    X(IM_FLIP_RANDOM, "random")                                                                              \
    X(IM_FLIP_ALTERNATE, "alternate")
#define IM_READ_RANGES(X)                                                                                    \
    X(IM_RANGES_AUTO, "auto")                                                                                \
    X(IM_RANGES_ON, "on")                                                                                    \
    X(IM_RANGES_OFF, "off")
#define IM_PAD_MODES(X)                                                                                      \
    X(IM_PAD_CONSTANT, "constant")                                                                           \
    X(IM_PAD_EDGE, "edge")                                                                                   \
    X(IM_PAD_REFLECT, "reflect")                                                                             \
    X(IM_PAD_SYMMETRIC, "symmetric")
#define IM_AUGMENTS(X)                                                                                       \
    X(IM_AUGMENT_NONE, "none")                                                                               \
    X(IM_AUGMENT_LIGHT, "light")                                                                             \
    X(IM_AUGMENT_CLASSIC, "classic")                                                                         \
    X(IM_AUGMENT_AUTOAUGMENT, "autoaugment")                                                                 \
    X(IM_AUGMENT_RANDAUGMENT, "randaugment")                                                                 \
    X(IM_AUGMENT_TRIVIAL, "trivial")                                                                         \
    X(IM_AUGMENT_HEAVY, "heavy")
#define IM_AUG_POLICIES(X)                                                                                   \
    X(IM_AUG_POLICY_NONE, "none")                                                                            \
    X(IM_AUG_POLICY_IMAGENET, "imagenet")                                                                    \
    X(IM_AUG_POLICY_CIFAR10, "cifar10")                                                                      \
    X(IM_AUG_POLICY_RANDAUGMENT, "randaugment")                                                              \
    X(IM_AUG_POLICY_TRIVIAL, "trivial")
#define IM_AUG_BORDERS(X)                                                                                    \
    X(IM_AUG_BORDER_REFLECT_101, "reflect-101")                                                              \
    X(IM_AUG_BORDER_CONSTANT, "constant")
#define IM_AUG_FILTERS(X)                                                                                    \
    X(IM_AUG_FILTER_NEAREST, "nearest")                                                                      \
    X(IM_AUG_FILTER_BILINEAR, "bilinear")
#define IM_EXPORT_FORMATS(X)                                                                                 \
    X(IM_EXPORT_ONNX, "onnx")                                                                                \
    X(IM_EXPORT_PT, "pt")                                                                                    \
    X(IM_EXPORT_SAFETENSORS, "safetensors")                                                                  \
    X(IM_EXPORT_TIMM, "timm")                                                                                \
    X(IM_EXPORT_TORCHVISION, "torchvision")
#define IM_EXPORT_INPUTS(X)                                                                                  \
    X(IM_EXPORT_UINT8, "uint8")                                                                              \
    X(IM_EXPORT_FLOAT, "float")
#define IM_SAMPLERS(X)                                                                                       \
    X(IM_SAMPLER_SHUFFLE, "shuffle")                                                                         \
    X(IM_SAMPLER_BALANCED, "balanced")
#define IM_EARLY_STOPS(X)                                                                                    \
    X(IM_EARLY_STOP_TOP1, "top1")                                                                            \
    X(IM_EARLY_STOP_LOSS, "loss")
#define IM_ELASTICS(X)                                                                                       \
    X(IM_ELASTIC_KEEP, "keep")                                                                               \
    X(IM_ELASTIC_DROP, "drop")
#define IM_AVERAGE_BNS(X)                                                                                    \
    X(IM_AVERAGE_BN_ANEW, "anew")                                                                            \
    X(IM_AVERAGE_BN_MEAN, "mean")
#define IM_LOG_LEVELS(X)                                                                                     \
    X(IM_CONF_LOG_DEBUG, "debug")                                                                            \
    X(IM_CONF_LOG_INFO, "info")                                                                              \
    X(IM_CONF_LOG_WARN, "warn")                                                                              \
    X(IM_CONF_LOG_ERROR, "error")
#define IM_COLORS(X)                                                                                         \
    X(IM_COLOR_AUTO, "auto")                                                                                 \
    X(IM_COLOR_ALWAYS, "always")                                                                             \
    X(IM_COLOR_NEVER, "never")

/* Headings of --help, in its order; the word is also a section of the YAML file (training: {lr: 0.1}). */
#define IM_CONF_GROUPS(X)                                                                                    \
    X(IM_GROUP_DATA, "Data")                                                                                 \
    X(IM_GROUP_AUGMENTATION, "Augmentation")                                                                 \
    X(IM_GROUP_MODEL, "Model")                                                                               \
    X(IM_GROUP_TRAINING, "Training")                                                                         \
    X(IM_GROUP_PIPELINE, "Pipeline")                                                                         \
    X(IM_GROUP_OUTPUT, "Output")                                                                             \
    X(IM_GROUP_ROBUSTNESS, "Robustness")                                                                     \
    X(IM_GROUP_SYNTH, "Synth")

/* Commands that use a key, as a set. */
typedef uint64_t im_conf_commands;
#define IM_FOR(bit) ((im_conf_commands)1 << (bit))
#define IM_FOR_ANY (~(im_conf_commands)0)
#define IM_FOR_START IM_FOR(0)
#define IM_FOR_STATUS IM_FOR(1)
#define IM_FOR_STOP IM_FOR(2)
#define IM_FOR_SYNTH IM_FOR(3)
#define IM_FOR_INDEX IM_FOR(4)
#define IM_FOR_PREVIEW IM_FOR(5)
#define IM_FOR_BENCH IM_FOR(6)
#define IM_FOR_LIST IM_FOR(7)
#define IM_FOR_STEPS IM_FOR(8)      /* bench and profile of the trainer */
#define IM_FOR_LR_FIND IM_FOR(9)    /* beside IM_FOR_START */
#define IM_FOR_MODEL IM_FOR(10)     /* the table of a model's layers */
#define IM_FOR_GPUS IM_FOR(11)      /* the list of GPUs */
#define IM_FOR_LIST_RUNS IM_FOR(12) /* the list of a workspace's runs */
#define IM_FOR_CHILDREN IM_FOR(13)  /* no flag: `start` sets it for the processes of its run */
#define IM_FOR_CONTROL IM_FOR(14)   /* pause, resume, restart, scale */
#define IM_FOR_RESTART IM_FOR(15)
#define IM_FOR_SCALE IM_FOR(16)
#define IM_FOR_ORGANISE IM_FOR(17)   /* class folders from any layout */
#define IM_FOR_PLOT IM_FOR(18)       /* charts of runs */
#define IM_FOR_COMPARE IM_FOR(19)    /* of runs with each other */
#define IM_FOR_DOCTOR IM_FOR(20)     /* what of this machine or data set would hold up a run */
#define IM_FOR_BENCH_READ IM_FOR(21) /* bench read and profile reader */
#define IM_FOR_BENCH_DATA IM_FOR(22) /* beside IM_FOR_START */
#define IM_FOR_VERIFY IM_FOR(23)     /* data verify and data stats */
#define IM_FOR_EVAL IM_FOR(24)
#define IM_FOR_PREDICT IM_FOR(25)
#define IM_FOR_EVALUATED IM_FOR(26) /* the index of weights in use, where nothing is trained */
#define IM_FOR_EXPORT IM_FOR(27)    /* weights for other programs */
#define IM_FOR_TOP IM_FOR(28)
#define IM_FOR_LOGS IM_FOR(29)
#define IM_FOR_BENCH_RING IM_FOR(30)
#define IM_FOR_IMPORT IM_FOR(31)  /* weights of other programs */
#define IM_FOR_AVERAGE IM_FOR(32) /* the mean of weights */
#define IM_FOR_PIXELS IM_FOR(33)  /* samples for a program that asks for them */
#define IM_FOR_TRACE IM_FOR(34)
#define IM_FOR_PROFILE IM_FOR(35)       /* beside the measurement: profiles for speedscope */
#define IM_FOR_MEASURED IM_FOR(36)      /* beside the measurement: an earlier one to compare with */
#define IM_FOR_NEAR IM_FOR(37)          /* data verify alone, beside IM_FOR_VERIFY */
#define IM_FOR_PACK IM_FOR(38)          /* shards from any layout */
#define IM_FOR_UNPACK IM_FOR(39)        /* class folders from shards */
#define IM_FOR_MEMORY IM_FOR(40)        /* what fits GPUs */
#define IM_FOR_BENCH_CLUSTER IM_FOR(41) /* a model of several machines */
#define IM_FOR_WORDS IM_FOR(42)         /* no configuration: --json beside words */
#define IM_FOR_USE (IM_FOR_EVAL | IM_FOR_PREDICT)
#define IM_FOR_RUNS (IM_FOR_START | IM_FOR_STATUS | IM_FOR_STOP | IM_FOR_CONTROL)
/* All that make samples. */
#define IM_FOR_SAMPLES (IM_FOR_START | IM_FOR_PREVIEW | IM_FOR_BENCH | IM_FOR_PIXELS)
#define IM_FOR_ALL                                                                                           \
    (IM_FOR_RUNS | IM_FOR_SYNTH | IM_FOR_INDEX | IM_FOR_CHILDREN | IM_FOR_SAMPLES | IM_FOR_LIST |            \
     IM_FOR_STEPS | IM_FOR_LR_FIND | IM_FOR_MODEL | IM_FOR_RESTART | IM_FOR_SCALE | IM_FOR_LIST_RUNS |       \
     IM_FOR_ORGANISE | IM_FOR_PLOT | IM_FOR_COMPARE | IM_FOR_DOCTOR | IM_FOR_BENCH_READ |                    \
     IM_FOR_BENCH_DATA | IM_FOR_VERIFY | IM_FOR_USE | IM_FOR_EVALUATED | IM_FOR_EXPORT |                     \
     IM_FOR_BENCH_CLUSTER | IM_FOR_TOP | IM_FOR_LOGS | IM_FOR_BENCH_RING | IM_FOR_IMPORT | IM_FOR_AVERAGE |  \
     IM_FOR_TRACE | IM_FOR_PROFILE | IM_FOR_MEASURED | IM_FOR_NEAR | IM_FOR_PACK | IM_FOR_UNPACK |           \
     IM_FOR_MEMORY)

/* clang-format off */
#define IM_CONF_KEYS(BOOL, INT, SEED, REAL, TEXT, ENUM) \
    TEXT(data_dir, "data-dir", "", IM_GROUP_DATA, IM_FOR_SAMPLES | IM_FOR_INDEX | IM_FOR_LIST | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_UNPACK | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_VERIFY | IM_FOR_EVAL | IM_FOR_EXPORT | IM_FOR_AVERAGE, "DIR", "folder of the images, or https:// or s3:// where they lie, or tar shards: a folder of them or train-{000..127}.tar; `imsuper data synth` makes a folder") \
    ENUM(layout, "layout", IM_LAYOUT_AUTO, IM_LAYOUTS, IM_GROUP_DATA, IM_FOR_SAMPLES | IM_FOR_INDEX | IM_FOR_LIST | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_UNPACK | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_VERIFY | IM_FOR_EVAL | IM_FOR_EXPORT | IM_FOR_AVERAGE, "NAME", "how the folder is laid out: class folders under train/ and val/ (folders), class folders alone (single), ILSVRC CLS-LOC, Tiny ImageNet, images with tables of classes (csv), or tar files (shards)") \
    TEXT(labels, "labels", "", IM_GROUP_DATA, IM_FOR_SAMPLES | IM_FOR_INDEX | IM_FOR_LIST | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_VERIFY | IM_FOR_EVAL | IM_FOR_EXPORT | IM_FOR_AVERAGE, "FILE", "CSV file with the class of each training image (file,label); default: train.csv or labels.csv where train/ has no class folders") \
    TEXT(val_labels, "val-labels", "", IM_GROUP_DATA, IM_FOR_SAMPLES | IM_FOR_INDEX | IM_FOR_LIST | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_VERIFY | IM_FOR_EVAL | IM_FOR_EXPORT | IM_FOR_AVERAGE, "FILE", "the same for validation images; default: val.csv") \
    BOOL(multi_label, "multi-label", false, IM_GROUP_DATA, IM_FOR_SAMPLES | IM_FOR_INDEX | IM_FOR_LIST | IM_FOR_PACK | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_VERIFY | IM_FOR_USE | IM_FOR_EVALUATED | IM_FOR_EXPORT | IM_FOR_AVERAGE, "", "an image may have any number of labels: tables such as file,a|b or with a column of 0 and 1 for each class; loss bce, and mAP in place of accuracies") \
    REAL(val_split, "val-split", 0, 0, 0.9, IM_GROUP_DATA, IM_FOR_SAMPLES | IM_FOR_INDEX | IM_FOR_LIST | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_VERIFY | IM_FOR_EVAL | IM_FOR_EXPORT | IM_FOR_AVERAGE, "SHARE", "share of each class's training images to validate with, where there are no others; 0 = none") \
    INT(val_split_seed, "val-split-seed", 0, 0, INT64_MAX, IM_GROUP_DATA, IM_FOR_SAMPLES | IM_FOR_INDEX | IM_FOR_LIST | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_VERIFY | IM_FOR_EVAL | IM_FOR_EXPORT | IM_FOR_AVERAGE, "N", "seed of the choice that val-split makes; the run's seed has no part in it") \
    BOOL(rebuild_index, "rebuild-index", false, IM_GROUP_DATA, IM_FOR_START | IM_FOR_INDEX | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_UNPACK | IM_FOR_EVAL, "", "scan all folders again even if the cached index is current") \
    TEXT(cache_dir, "cache-dir", "", IM_GROUP_DATA, IM_FOR_START | IM_FOR_INDEX | IM_FOR_EVAL, "DIR", "where images from https:// and s3:// are kept, on a local disk; all runs of a machine may share it; default: ~/.cache/imsuper/objects") \
    TEXT(cache_size, "cache-size", "auto", IM_GROUP_DATA, IM_FOR_START | IM_FOR_EVAL, "SIZE", "bytes that all images kept there may take, such as 200G; the ones unused for longest make room; auto leaves a twentieth of the disk free") \
    INT(connections, "connections", 32, 1, 256, IM_GROUP_DATA, IM_FOR_START | IM_FOR_EVAL, "N", "objects that are fetched from https:// or s3:// at a time") \
    BOOL(subset, "subset", false, IM_GROUP_DATA, IM_FOR_START | IM_FOR_INDEX, "", "train on a class-balanced subset of the images") \
    INT(subset_size, "subset-size", 10000, 1, 1000000000000, IM_GROUP_DATA, IM_FOR_START | IM_FOR_INDEX, "N", "images in the subset that --subset selects") \
    INT(changed_since, "changed-since", 0, 0, INT64_MAX, IM_GROUP_DATA, IM_FOR_INDEX, "NS", "also count the images that changed after this time (nanoseconds since 1970)") \
    TEXT(subset_out, "subset-out", "", IM_GROUP_DATA, IM_FOR_INDEX, "DIR", "output folder: data.index (the index to train from) and, with --subset, subset.txt (the list)") \
    BOOL(copies, "copies", false, IM_GROUP_DATA, IM_FOR_INDEX, "", "also say sizes and hashes of the images, by which two copies of a data set can be compared") \
    TEXT(seek_index, "seek-index", "auto", IM_GROUP_DATA, IM_FOR_START | IM_FOR_INDEX | IM_FOR_BENCH | IM_FOR_BENCH_READ, "auto|off|DIR", "where Huffman codes of images stand, so that crops are decoded without what lies around them: a file in ~/.cache/imsuper (auto) or in DIR") \
    ENUM(read_ranges, "read-ranges", IM_RANGES_AUTO, IM_READ_RANGES, IM_GROUP_DATA, IM_FOR_START | IM_FOR_BENCH | IM_FOR_BENCH_READ, "HOW", "read only the part of a JPEG file that the random resized crop needs, once the seek index has it: about 1.3 times fewer bytes; auto: while the disk is read, and not the kernel's memory") \
    TEXT(pixel_cache, "pixel-cache", "off", IM_GROUP_DATA, IM_FOR_START, "off|ram|disk|DIR", "keep images decoded, in memory, in a file in ~/.cache/imsuper (disk) or in one in DIR: from the second epoch on nothing is decoded; training images are resized before they are cropped, which changes their pixels") \
    INT(pixel_cache_side, "pixel-cache-side", 0, 0, 1024, IM_GROUP_DATA, IM_FOR_START, "PIXELS", "short side that training images are kept at; smaller ones are kept as they are; 0 = image-size * 256/224") \
    TEXT(pixel_cache_size, "pixel-cache-size", "auto", IM_GROUP_DATA, IM_FOR_START, "SIZE", "bytes that pixel-cache may take, such as 200G; auto leaves a tenth of the memory or a twentieth of the disk free") \
    BOOL(seek, "seek", false, IM_GROUP_DATA, IM_FOR_INDEX, "", "make the seek index of all images now, in as many processes as `augmenters`; a run makes it on its way otherwise") \
    ENUM(io, "io", IM_IO_AUTO, IM_IOS, IM_GROUP_DATA, IM_FOR_START | IM_FOR_BENCH_READ | IM_FOR_USE, "ENGINE", "file I/O engine; auto uses io_uring where the system supports it") \
    INT(queue_depth, "queue-depth", 64, 1, 1024, IM_GROUP_DATA, IM_FOR_START | IM_FOR_BENCH_READ | IM_FOR_USE, "N", "files in flight per reader") \
    INT(image_size, "image-size", 224, 8, 1024, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE | IM_FOR_MEMORY, "PIXELS", "side of the square training images") \
    INT(eval_image_size, "eval-image-size", 0, 0, 1024, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE, "PIXELS", "side of the square validation images; 0 = image size of the last training epoch") \
    INT(eval_resize, "eval-resize", 0, 0, 4096, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE, "PIXELS", "short side of validation images before the centre crop; 0 = eval-image-size * 256/224") \
    TEXT(train_crop, "train-crop", "rrc", IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "HOW", "rrc (random resized crop), pad:N (pad by N and crop), or center") \
    ENUM(pad_mode, "pad-mode", IM_PAD_CONSTANT, IM_PAD_MODES, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "HOW", "what train-crop pad:N puts around an image, as torchvision's padding_mode; constant: zeros; edge: its border; reflect: the image mirrored at its border's pixels; symmetric: with these twice") \
    REAL(rrc_scale_min, "rrc-scale-min", 0.08, 1e-4, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SHARE", "smallest area of a random resized crop") \
    REAL(rrc_scale_max, "rrc-scale-max", 1, 1e-4, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SHARE", "largest area of a random resized crop") \
    REAL(rrc_ratio_min, "rrc-ratio-min", 3.0 / 4, 0.1, 10, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "RATIO", "narrowest width/height of a random resized crop") \
    REAL(rrc_ratio_max, "rrc-ratio-max", 4.0 / 3, 0.1, 10, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "RATIO", "widest width/height of a random resized crop") \
    REAL(hflip, "hflip", 0.5, 0, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "P", "probability of a horizontal flip") \
    ENUM(flip, "flip", IM_FLIP_RANDOM, IM_FLIPS, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "HOW", "horizontal flips; random: with probability hflip; alternate: half of the images in the first epoch, and from then on each image in every second epoch, so that two epochs show both sides of all (airbench)") \
    BOOL(scaled_decode, "scaled-decode", false, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES | IM_FOR_USE, "", "decode JPEG files at 1/2, 1/4 or 1/8 size where the crop is at least 2, 4 or 8 times the sample; faster on large images, but pixels differ slightly") \
    ENUM(augment, "augment", IM_AUGMENT_LIGHT, IM_AUGMENTS, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SET", "set of training transforms; flags, environment and files override its values") \
    ENUM(aug_policy, "aug-policy", IM_AUG_POLICY_NONE, IM_AUG_POLICIES, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "NAME", "learned policy, with torchvision's tables and ranges (in YAML aug: {policy: ...})") \
    REAL(aug_policy_p, "aug-policy-p", 1, 0, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "P", "probability of the policy") \
    INT(aug_num_ops, "aug-num-ops", 2, 1, 16, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "N", "randaugment operations applied per image") \
    INT(aug_magnitude, "aug-magnitude", 9, 0, 1000, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "N", "strength of randaugment: a bin, from 0 on") \
    INT(aug_magnitude_bins, "aug-magnitude-bins", 31, 2, 1001, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "N", "bins of strength of randaugment and trivial") \
    ENUM(aug_policy_filter, "aug-policy-filter", IM_AUG_FILTER_NEAREST, IM_AUG_FILTERS, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "NAME", "interpolation of a policy's shears, shifts and rotations") \
    TEXT(aug_fill, "aug-fill", "0,0,0", IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "R,G,B", "colour of what a shear, shift or rotation brings in from outside") \
    REAL(aug_affine_p, "aug-affine-p", 0, 0, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "P", "chance of ShiftScaleRotate, the one of albumentations up to 1.4.0") \
    REAL(aug_shift_limit, "aug-shift-limit", 0.0625, 0, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SHARE", "largest shift either way, of the side") \
    REAL(aug_scale_limit, "aug-scale-limit", 0.1, 0, 0.99, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SHARE", "largest change of scale: 0.1 is 0.9 to 1.1") \
    REAL(aug_rotate_limit, "aug-rotate-limit", 45, 0, 180, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "DEGREES", "largest rotation either way") \
    ENUM(aug_affine_border, "aug-affine-border", IM_AUG_BORDER_REFLECT_101, IM_AUG_BORDERS, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "NAME", "ShiftScaleRotate: fill outside the image with its reflection or with aug.fill") \
    ENUM(aug_affine_filter, "aug-affine-filter", IM_AUG_FILTER_BILINEAR, IM_AUG_FILTERS, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "NAME", "interpolation of ShiftScaleRotate") \
    REAL(aug_jitter_p, "aug-jitter-p", 1, 0, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "P", "probability of ColorJitter (no effect while its four ranges are 0)") \
    REAL(aug_brightness, "aug-brightness", 0, 0, 10, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "X", "range of brightness: a factor from 1-X (not below 0) to 1+X") \
    REAL(aug_contrast, "aug-contrast", 0, 0, 10, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "X", "range of contrast, likewise") \
    REAL(aug_saturation, "aug-saturation", 0, 0, 10, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "X", "range of saturation, likewise") \
    REAL(aug_hue, "aug-hue", 0, 0, 0.5, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "X", "range of hue: a shift from -X to X, where 1 is the full circle") \
    REAL(aug_dropout_p, "aug-dropout-p", 0, 0, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "P", "probability of CoarseDropout (rectangular holes)") \
    INT(aug_holes_min, "aug-holes-min", 8, 1, 64, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "N", "smallest number of holes") \
    INT(aug_holes_max, "aug-holes-max", 8, 1, 64, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "N", "largest number of holes") \
    REAL(aug_hole_height_min, "aug-hole-height-min", 8, 0, 1024, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SIZE", "smallest hole height: pixels if 1 or more, fraction of the side if below 1") \
    REAL(aug_hole_height_max, "aug-hole-height-max", 8, 0, 1024, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SIZE", "largest hole height") \
    REAL(aug_hole_width_min, "aug-hole-width-min", 8, 0, 1024, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SIZE", "smallest hole width, in the same units") \
    REAL(aug_hole_width_max, "aug-hole-width-max", 8, 0, 1024, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SIZE", "largest hole width") \
    TEXT(aug_dropout_fill, "aug-dropout-fill", "0,0,0", IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "FILL", "fill of holes and cutouts: R,G,B or random (per byte)") \
    INT(aug_cutout, "aug-cutout", 0, 0, 1024, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "PIXELS", "side of the square that Cutout (DeVries) blanks; 0 = off") \
    REAL(aug_erase_p, "aug-erase-p", 0, 0, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "P", "probability of RandomErasing (applied before normalisation)") \
    REAL(aug_erase_scale_min, "aug-erase-scale-min", 0.02, 0.0001, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SHARE", "smallest area erased") \
    REAL(aug_erase_scale_max, "aug-erase-scale-max", 0.33, 0.0001, 1, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "SHARE", "largest area erased") \
    REAL(aug_erase_ratio_min, "aug-erase-ratio-min", 0.3, 0.01, 100, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "RATIO", "smallest height/width ratio of the erased area") \
    REAL(aug_erase_ratio_max, "aug-erase-ratio-max", 3.3, 0.01, 100, IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "RATIO", "largest height/width ratio of the erased area") \
    TEXT(aug_erase_fill, "aug-erase-fill", "0,0,0", IM_GROUP_AUGMENTATION, IM_FOR_SAMPLES, "FILL", "fill of the erased area: R,G,B or random (per byte)") \
    TEXT(mean, "mean", "0.485,0.456,0.406", IM_GROUP_AUGMENTATION, IM_FOR_START | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE, "R,G,B", "per-channel mean to subtract (pixels from 0 to 1)") \
    TEXT(std, "std", "0.229,0.224,0.225", IM_GROUP_AUGMENTATION, IM_FOR_START | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE, "R,G,B", "per-channel standard deviation to divide by") \
    ENUM(model, "model", IM_MODEL_RESNET50, IM_MODELS, IM_GROUP_MODEL, IM_FOR_BENCH_CLUSTER | IM_FOR_START | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE | IM_FOR_MEMORY, "NAME", "the network; resnetv2 is pre-activation, resnet20, 32, 44, 56 and airbench94 are CIFAR's") \
    ENUM(stem, "stem", IM_CONF_STEM_AUTO, IM_STEMS, IM_GROUP_MODEL, IM_FOR_START | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE | IM_FOR_MEMORY, "NAME", "first layers: imagenet (7x7/2 convolution and pooling) or small (3x3); auto: small for CIFAR's networks, imagenet for the others") \
    ENUM(head, "head", IM_CONF_HEAD_AUTO, IM_HEADS, IM_GROUP_MODEL, IM_FOR_START | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE | IM_FOR_MEMORY, "NAME", "classifier: fc or the same as a 1x1 convolution (conv); auto: conv for resnetv2, fc for the others") \
    ENUM(blurpool, "blurpool", IM_CONF_BLURPOOL_NONE, IM_BLURPOOLS, IM_GROUP_MODEL, IM_FOR_START | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE | IM_FOR_MEMORY, "NAME", "anti-aliasing blur: zhang (after strided convolutions, as timm's resnetblur50) or ffcv (before every strided convolution)") \
    REAL(drop_path_rate, "drop-path-rate", 0, 0, 0.99, IM_GROUP_MODEL, IM_FOR_START | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_MEMORY, "P", "stochastic depth: probability of dropping the last block; rises linearly from 0 at the first block") \
    BOOL(zero_init_residual, "zero-init-residual", false, IM_GROUP_MODEL, IM_FOR_START, "", "zero-initialise the last batch norm of each block (resnetv2: last convolution), so that blocks start as the identity") \
    ENUM(amp, "amp", IM_AMP_AUTO, IM_AMPS, IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_STEPS | IM_FOR_MODEL | IM_FOR_USE | IM_FOR_MEMORY, "TYPE", "mixed precision of activations and convolutions: bf16, fp16 (GPUs only; always with loss scaling) or none (fp32); auto: bf16 on GPUs from compute capability 8.0 on, fp16 from 7.0 on, else none; weights stay fp32") \
    TEXT(init_from, "init-from", "", IM_GROUP_MODEL, IM_FOR_START | IM_FOR_MODEL, "FILE", "initial weights of a new run: a safetensors, .pt, .pth or ONNX file from torchvision, timm or imsuper; names and shapes must match the model") \
    BOOL(init_skip_head, "init-skip-head", false, IM_GROUP_MODEL, IM_FOR_START | IM_FOR_MODEL, "", "do not load the classifier from init-from (for other classes)") \
    TEXT(finetune, "finetune", "", IM_GROUP_MODEL, IM_FOR_START, "[FILE]", "fine-tune the weights of init-from (or FILE): recipe finetune, unless another is given, and a new classifier where theirs has other classes") \
    TEXT(freeze, "freeze", "", IM_GROUP_MODEL, IM_FOR_START, "STAGES", "parts that are not trained: backbone (all but the classifier), stem, layer1, layer2, ... with commas between, or N: the stem and the first N layers; their batch norms keep their running statistics") \
    BOOL(freeze_bn, "freeze-bn", false, IM_GROUP_MODEL, IM_FOR_START, "", "train no batch norm: weights, biases and running statistics of all of them stay as they are") \
    TEXT(unfreeze_epochs, "unfreeze-epochs", "", IM_GROUP_MODEL, IM_FOR_START, "EPOCHS", "after each of these epochs one more part that freeze names is trained, from the last to the first; after the last of them all parts") \
    REAL(layer_decay, "layer-decay", 1, 0.01, 1, IM_GROUP_TRAINING, IM_FOR_START, "X", "the learning rate of each block is X times that of the block behind it, as timm's layer_decay; 1 = the same for all") \
    INT(epochs, "epochs", 90, 1, 100000, IM_GROUP_TRAINING, IM_FOR_START, "N", "passes over the training images") \
    INT(batch_size, "batch-size", 256, 0, 65536, IM_GROUP_TRAINING, IM_FOR_BENCH_CLUSTER | IM_FOR_START | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EVALUATED | IM_FOR_MEMORY, "N", "images per step and trainer process; 0 or auto = the largest that fits the GPU (start only)") \
    TEXT(resize_schedule, "resize-schedule", "", IM_GROUP_TRAINING, IM_FOR_START, "ENTRIES", "image size and batch size by epoch; overrides image-size and batch-size: 1-30:64x256,31-50:128x128,51-:224x64; 12-14:160..192 is a ramp in steps of 32") \
    BOOL(drop_last, "drop-last", true, IM_GROUP_TRAINING, IM_FOR_START, "", "leave the images of an epoch that do not fill a last batch out of it, others in each; the default") \
    ENUM(sampler, "sampler", IM_SAMPLER_SHUFFLE, IM_SAMPLERS, IM_GROUP_TRAINING, IM_FOR_START, "NAME", "order of the training images: shuffle (each once an epoch) or balanced (as many of each class; images of small classes come several times an epoch, augmented anew)") \
    REAL(lr, "lr", 0.1, 0, 1000, IM_GROUP_TRAINING, IM_FOR_START, "RATE", "peak learning rate") \
    ENUM(lr_scale, "lr-scale", IM_LR_SCALE_NONE, IM_LR_SCALES, IM_GROUP_TRAINING, IM_FOR_START, "HOW", "scale learning rates by images per step / 256 (linear) or by its square root (sqrt)") \
    ENUM(schedule, "schedule", IM_SCHEDULE_COSINE, IM_SCHEDULES, IM_GROUP_TRAINING, IM_FOR_START, "NAME", "learning-rate schedule") \
    BOOL(schedule_restarts, "schedule-restarts", false, IM_GROUP_TRAINING, IM_FOR_START, "", "restart the schedule (cosine, polynomial, onecycle) at each entry of resize-schedule; optimiser state is kept") \
    REAL(warmup_epochs, "warmup-epochs", 0, 0, 100000, IM_GROUP_TRAINING, IM_FOR_START, "N", "epochs of linear warm-up") \
    REAL(warmup_factor, "warmup-factor", 0.01, 1e-9, 1, IM_GROUP_TRAINING, IM_FOR_START, "X", "warm-up starts at this fraction of the learning rate") \
    REAL(lr_min, "lr-min", 0, 0, 1000, IM_GROUP_TRAINING, IM_FOR_START, "RATE", "final learning rate of cosine and polynomial") \
    REAL(poly_power, "poly-power", 1, 0.01, 100, IM_GROUP_TRAINING, IM_FOR_START, "X", "exponent of polynomial") \
    INT(step_epochs, "step-epochs", 30, 1, 100000, IM_GROUP_TRAINING, IM_FOR_START, "N", "epochs between decays of schedule step") \
    TEXT(milestones, "milestones", "30,60,80", IM_GROUP_TRAINING, IM_FOR_START, "EPOCHS", "epochs after which multistep decays the learning rate") \
    REAL(gamma, "gamma", 0.1, 1e-6, 1, IM_GROUP_TRAINING, IM_FOR_START, "X", "decay factor: step and multistep at each decay, exponential after each epoch") \
    REAL(lr_peak_epoch, "lr-peak-epoch", 2, 0, 100000, IM_GROUP_TRAINING, IM_FOR_START, "N", "epoch at which triangular peaks") \
    REAL(pct_start, "pct-start", 0.3, 0, 1, IM_GROUP_TRAINING, IM_FOR_START, "SHARE", "fraction of the run in which onecycle increases the learning rate") \
    REAL(div_factor, "div-factor", 25, 1e-3, 1e9, IM_GROUP_TRAINING, IM_FOR_START, "X", "onecycle starts at lr / div-factor") \
    REAL(final_div_factor, "final-div-factor", 1e4, 1e-3, 1e12, IM_GROUP_TRAINING, IM_FOR_START, "X", "onecycle ends at its initial learning rate / final-div-factor") \
    ENUM(anneal, "anneal", IM_ANNEAL_COS, IM_ANNEALS, IM_GROUP_TRAINING, IM_FOR_START, "HOW", "annealing curve of onecycle") \
    BOOL(lr_range_test, "sweep", false, IM_GROUP_TRAINING, IM_FOR_CHILDREN, "", "this run is an LR range test") \
    REAL(start_lr, "start-lr", 1e-7, 1e-12, 1000, IM_GROUP_TRAINING, IM_FOR_LR_FIND, "RATE", "learning rate of the first step") \
    REAL(end_lr, "end-lr", 10, 1e-12, 1e6, IM_GROUP_TRAINING, IM_FOR_LR_FIND, "RATE", "learning rate of the last step, unless the loss diverges before") \
    INT(num_iter, "num-iter", 100, 30, 100000, IM_GROUP_TRAINING, IM_FOR_LR_FIND, "N", "steps") \
    BOOL(three_phase, "three-phase", false, IM_GROUP_TRAINING, IM_FOR_START, "", "onecycle in three phases: up, down to the initial learning rate, down to the final one") \
    BOOL(cycle_momentum, "cycle-momentum", true, IM_GROUP_TRAINING, IM_FOR_START, "", "onecycle cycles momentum (Adam: beta1) inversely to the learning rate; the default") \
    REAL(base_momentum, "base-momentum", 0.85, 0, 0.9999, IM_GROUP_TRAINING, IM_FOR_START, "M", "momentum at onecycle's peak learning rate") \
    REAL(max_momentum, "max-momentum", 0.95, 0, 0.9999, IM_GROUP_TRAINING, IM_FOR_START, "M", "highest momentum of onecycle, at its start and end") \
    ENUM(opt, "opt", IM_OPTIMIZER_SGD, IM_OPTIMIZERS, IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_MEMORY, "NAME", "optimiser: sgd, adamw and muon as in PyTorch, lars and lamb as in timm; muon steps the filters of all convolutions but the first, muon-rest the other tensors") \
    REAL(momentum, "momentum", 0.9, 0, 0.9999, IM_GROUP_TRAINING, IM_FOR_START, "M", "momentum of sgd and lars, also where sgd is muon-rest") \
    BOOL(nesterov, "nesterov", false, IM_GROUP_TRAINING, IM_FOR_START, "", "use Nesterov momentum") \
    REAL(beta1, "beta1", 0.9, 0, 0.9999, IM_GROUP_TRAINING, IM_FOR_START, "B", "decay of the first moment of adamw and lamb") \
    REAL(beta2, "beta2", 0.999, 0, 0.999999, IM_GROUP_TRAINING, IM_FOR_START, "B", "decay of the second moment of adamw and lamb") \
    REAL(eps, "eps", 0, 0, 1, IM_GROUP_TRAINING, IM_FOR_START, "E", "added to denominators in adamw, lars and lamb; 0 = the optimiser's default (1e-8; lamb: 1e-6)") \
    REAL(lars_trust, "lars-trust", 0.001, 0, 1000, IM_GROUP_TRAINING, IM_FOR_START, "X", "trust coefficient of lars") \
    REAL(muon_momentum, "muon-momentum", 0.95, 0, 0.9999, IM_GROUP_TRAINING, IM_FOR_START, "M", "momentum of what muon steps, always Nesterov's") \
    BOOL(muon_fixed_norm, "muon-fixed-norm", false, IM_GROUP_TRAINING, IM_FOR_START, "", "before each step of muon scale the matrix so that its norm is the root of its rows, instead of decaying it") \
    ENUM(muon_rest, "muon-rest", IM_MUON_REST_ADAMW, IM_MUON_RESTS, IM_GROUP_TRAINING, IM_FOR_START, "NAME", "optimiser of what muon does not step: first layer, classifier, batch norm, biases") \
    REAL(muon_rest_lr, "muon-rest-lr", 0, 0, 1000, IM_GROUP_TRAINING, IM_FOR_START, "RATE", "peak learning rate of muon-rest; it follows the schedule of lr; 0 = 0.001 for adamw, 0.1 for sgd") \
    REAL(norm_lr_scale, "norm-lr-scale", 1, 1e-6, 1e6, IM_GROUP_TRAINING, IM_FOR_START, "X", "learning rate of batch norm and of biases of convolutions, times that of other tensors that muon does not step") \
    REAL(weight_decay, "weight-decay", 1e-4, 0, 10, IM_GROUP_TRAINING, IM_FOR_START, "W", "L2 penalty (adamw, muon: decoupled decay); none on batch norm and biases") \
    REAL(grad_clip, "grad-clip", 0, 0, 1e30, IM_GROUP_TRAINING, IM_FOR_START, "NORM", "clip the global gradient norm to this value; 0 = no clipping (lamb: 1)") \
    INT(accumulate, "accumulate", 1, 1, 65536, IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_MEMORY, "N", "gradient accumulation: batches per optimiser step") \
    REAL(ema, "ema", 0, 0, 0.9999999, IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_MEMORY, "DECAY", "decay of the weights' exponential moving average; validation reports both; 0 = off") \
    ENUM(ema_warmup, "ema-warmup", IM_EMA_WARMUP_NONE, IM_EMA_WARMUPS, IM_GROUP_TRAINING, IM_FOR_START, "HOW", "EMA warm-up: limits the decay in the first steps; tf: (1+t)/(10+t), timm: 1-t^(-2/3)") \
    ENUM(loss, "loss", IM_CONF_LOSS_CE, IM_LOSSES, IM_GROUP_TRAINING, IM_FOR_START, "NAME", "training loss: ce, or bce (binary cross-entropy per class, as timm); validation always reports cross-entropy") \
    REAL(bce_threshold, "bce-threshold", 0, 0, 0.9999, IM_GROUP_TRAINING, IM_FOR_START, "SHARE", "bce: binarise targets at this threshold; 0 = soft targets") \
    BOOL(bce_sum, "bce-sum", false, IM_GROUP_TRAINING, IM_FOR_START, "", "bce: sum over the classes instead of averaging") \
    TEXT(class_weights, "class-weights", "", IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_INDEX, "HOW", "weight of each class in the training loss, as CrossEntropyLoss(weight=...): balanced (by the number of its images) or a file with a line NAME,WEIGHT for each class") \
    REAL(label_smoothing, "label-smoothing", 0, 0, 0.999, IM_GROUP_TRAINING, IM_FOR_START, "S", "label smoothing: fraction of the target spread over all classes") \
    REAL(mixup, "mixup", 0, 0, 100, IM_GROUP_TRAINING, IM_FOR_START, "ALPHA", "MixUp with lambda from Beta(ALPHA, ALPHA); image i is mixed with image n-1-i of its batch; 0 = off (typical: 0.2)") \
    REAL(cutmix, "cutmix", 0, 0, 100, IM_GROUP_TRAINING, IM_FOR_START, "ALPHA", "CutMix with lambda from Beta(ALPHA, ALPHA); 0 = off (typical: 1)") \
    REAL(mix_p, "mix-p", 1, 0, 1, IM_GROUP_TRAINING, IM_FOR_START, "P", "probability that a batch is mixed") \
    REAL(mix_switch_p, "mix-switch-p", 0.5, 0, 1, IM_GROUP_TRAINING, IM_FOR_START, "P", "probability of CutMix where MixUp and CutMix are both on") \
    ENUM(loss_scale, "loss-scale", IM_LOSS_SCALE_OFF, IM_LOSS_SCALES, IM_GROUP_TRAINING, IM_FOR_START, "HOW", "dynamic: scale the loss as PyTorch's GradScaler; in fp32 the weights are the same") \
    INT(max_bad_steps, "max-bad-steps", 10, 1, 1000000, IM_GROUP_ROBUSTNESS, IM_FOR_START, "N", "stop the run after N steps in a row with a non-finite loss or gradient (each is skipped)") \
    SEED(seed, "seed", 42, IM_GROUP_TRAINING, IM_FOR_SAMPLES | IM_FOR_SYNTH | IM_FOR_INDEX | IM_FOR_STEPS, "N", "seed of all random choices") \
    INT(validate_every, "validate-every", 1, 1, 100000, IM_GROUP_TRAINING, IM_FOR_START, "N", "validate every N epochs, and after the last") \
    INT(early_stop, "early-stop", 0, 0, 100000, IM_GROUP_TRAINING, IM_FOR_START, "N", "end the run when validation was no better for N epochs; 0 = never") \
    ENUM(early_stop_on, "early-stop-on", IM_EARLY_STOP_TOP1, IM_EARLY_STOPS, IM_GROUP_TRAINING, IM_FOR_START, "WHAT", "early-stop: what must become better: top1 (with multi-label mAP) or loss of validation, of the averaged weights where they are better") \
    ENUM(backend, "backend", IM_BACKEND_AUTO, IM_BACKENDS, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_STEPS | IM_FOR_USE, "NAME", "compute backend of the trainers") \
    TEXT(gpus, "gpus", "auto", IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_STEPS | IM_FOR_USE, "WHICH", "GPUs to train on, one trainer each: auto (all; the CPU if there is none), 0 (none), a number of GPUs, or a list: `0,2`, or `2,` for GPU 2 alone (`imsuper gpus` lists them)") \
    INT(ranks, "ranks", 1, 1, 64, IM_GROUP_PIPELINE, IM_FOR_BENCH_CLUSTER | IM_FOR_START | IM_FOR_USE, "N", "data-parallel trainer processes; batch-size is per trainer; on GPUs one per GPU (see gpus)") \
    TEXT(nodes, "nodes", "", IM_GROUP_PIPELINE, IM_FOR_BENCH_CLUSTER | IM_FOR_START, "HOST,...", "train on several machines: names or addresses of all, the first (HOST or HOST:PORT) holds the run; each runs the same command with its own --node; Slurm, MPI, torchrun and Kubernetes say it by themselves; bench cluster: how many, such as 1..256") \
    INT(node, "node", -1, -1, 63, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_RESTART | IM_FOR_SCALE | IM_FOR_LOGS, "N", "which of `nodes` this machine is, from 0; of a run that goes on: the machine that is meant") \
    TEXT(cluster_key, "cluster-key", "", IM_GROUP_PIPELINE, IM_FOR_START, "FILE", "key of the machines of a run, the same file on all; `imsuper cluster key FILE` makes one") \
    REAL(cluster_timeout, "cluster-timeout", 300, 1, 86400, IM_GROUP_ROBUSTNESS, IM_FOR_START, "SECONDS", "how long to wait for machines that are missing, at the start, and where too few are left (cluster-min-nodes); then the run ends, saved") \
    REAL(cluster_wait, "cluster-wait", 30, 0, 86400, IM_GROUP_ROBUSTNESS, IM_FOR_START, "SECONDS", "how long to wait for a machine that is gone before the others share its work; it may come back later") \
    INT(cluster_min_nodes, "cluster-min-nodes", 0, 0, 64, IM_GROUP_ROBUSTNESS, IM_FOR_START, "N", "machines with which the run begins and goes on when others are missing; 0: it begins with all, and goes on where more than half of nodes are, or half of them with node 0; of two machines, or without nodes, with any that are left") \
    INT(virtual_ranks, "virtual-ranks", 0, 0, 64, IM_GROUP_PIPELINE, IM_FOR_START, "V", "compute as V trainers would, however many there are: each step is V batches of batch-size images, each with its own batch norm, whose gradients are added in one order; the weights are the same bits for any number of trainers up to V, also when it changes; CPUs; 0 = off") \
    ENUM(elastic, "elastic", IM_ELASTIC_KEEP, IM_ELASTICS, IM_GROUP_ROBUSTNESS, IM_FOR_START, "WHAT", "what a step is when the number of trainers changes, because machines are lost or return or another ranks is given: keep: the same images a step, of which a trainer takes more batches or fewer; drop: the same batches a trainer, so that a step has fewer images or more") \
    BOOL(sync_bn, "sync-bn", false, IM_GROUP_PIPELINE, IM_FOR_START, "", "synchronise batch norm statistics across ranks") \
    BOOL(tf32, "tf32", true, IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_STEPS | IM_FOR_USE, "", "GPUs, fp32: allow TF32 (10-bit mantissa) in convolutions and matrix products, which is several times faster; the default") \
    BOOL(deterministic, "deterministic", false, IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_STEPS | IM_FOR_USE, "", "GPUs: use deterministic kernels only (slower), so that runs on the same GPUs give the same weights; the CPU is always deterministic") \
    BOOL(step_ahead, "step-ahead", true, IM_GROUP_TRAINING, IM_FOR_START, "", "GPUs: begin a step before the end of the one before, so that the GPU does not wait for the host; changes no bits; the default; only without --accumulate") \
    BOOL(wgrad_stream, "wgrad-stream", false, IM_GROUP_TRAINING, IM_FOR_START | IM_FOR_STEPS | IM_FOR_MEMORY, "", "GPUs: compute the gradients of convolutions' weights on a second stream, beside the rest of the backward pass; takes more memory, changes no bits; off until it has been measured on a GPU") \
    INT(readers, "readers", 0, 0, 1024, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_USE, "N", "reader processes; 0 or auto = chosen for this machine, and changed while the run goes on when they limit it") \
    INT(augmenters, "augmenters", 0, 0, 1024, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_USE | IM_FOR_INDEX, "N", "decoding processes; 0 or auto = chosen for this machine, and changed while the run goes on when they limit it") \
    BOOL(readers_auto, "readers-auto", false, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "", "readers was 0 or auto") \
    BOOL(augmenters_auto, "augmenters-auto", false, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "", "augmenters was 0 or auto") \
    INT(trainer_threads, "trainer-threads", 0, 0, 1024, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_STEPS | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_AVERAGE, "N", "threads of a CPU trainer; 0 = chosen for this machine") \
    INT(cell_bytes, "cell-bytes", 262144, 4096, 67108864, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_BENCH_READ | IM_FOR_USE, "BYTES", "bytes of one cell of the encoded ring; larger files are passed by reference") \
    INT(encoded_cells, "encoded-cells", 0, 0, 1048576, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_USE, "N", "cells of the encoded ring; 0 = chosen from batch-size and memory") \
    INT(batches_ahead, "batches-ahead", 4, 2, 64, IM_GROUP_PIPELINE, IM_FOR_START | IM_FOR_USE, "N", "batches in each trainer's ring") \
    TEXT(recipe, "recipe", "", IM_GROUP_OUTPUT, IM_FOR_START, "NAME", "named preset of options; config, environment and flags override it; `imsuper recipes` lists the presets") \
    TEXT(config, "config", "", IM_GROUP_OUTPUT, IM_FOR_ALL, "FILE", "YAML file of these options") \
    TEXT(workspace, "workspace", "runs", IM_GROUP_OUTPUT, IM_FOR_RUNS | IM_FOR_LIST_RUNS | IM_FOR_PLOT | IM_FOR_COMPARE | IM_FOR_DOCTOR | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_TOP | IM_FOR_LOGS | IM_FOR_AVERAGE | IM_FOR_TRACE, "DIR", "folder that holds the run directories") \
    TEXT(run_name, "run-name", "", IM_GROUP_OUTPUT, IM_FOR_RUNS | IM_FOR_TOP | IM_FOR_LOGS | IM_FOR_TRACE, "NAME", "run directory in the workspace; an existing run is continued; default: model and time") \
    TEXT(resume, "resume", "", IM_GROUP_OUTPUT, IM_FOR_START, "[FILE]", "start from this training state (last.state.safetensors); without FILE: continue --run-name or the newest run, and start no new one") \
    BOOL(dry_run, "dry-run", false, IM_GROUP_OUTPUT, IM_FOR_START | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_UNPACK, "", "check everything that can be checked, show what would be done, and do nothing") \
    INT(checkpoint_keep, "checkpoint-keep", 3, 1, 100000, IM_GROUP_OUTPUT, IM_FOR_START, "N", "epoch checkpoints to keep besides last and best") \
    BOOL(tensorboard, "tensorboard", true, IM_GROUP_OUTPUT, IM_FOR_START, "", "write TensorBoard event files into tensorboard/ of the run directory; the default") \
    BOOL(per_class_log, "per-class-log", false, IM_GROUP_OUTPUT, IM_FOR_START, "", "each validation also writes precision, recall, F1 and images of each class into per_class/ of the run directory, and a confusion matrix") \
    TEXT(metrics_listen, "metrics-listen", "", IM_GROUP_OUTPUT, IM_FOR_START, "ADDRESS", "serve the run's numbers for Prometheus under /metrics: PORT (of this machine alone), HOST:PORT or unix:PATH") \
    TEXT(on_event, "on-event", "", IM_GROUP_OUTPUT, IM_FOR_START, "COMMAND", "shell command that is given each event of the run (run.started, epoch.ended, checkpoint.saved, ...) as a line of JSON on its standard input") \
    REAL(status_interval, "status-interval", 30, 0.1, 86400, IM_GROUP_OUTPUT, IM_FOR_START | IM_FOR_USE, "SECONDS", "interval of status lines when the output is not a terminal") \
    ENUM(log_level, "log-level", IM_CONF_LOG_INFO, IM_LOG_LEVELS, IM_GROUP_OUTPUT, IM_FOR_ALL, "LEVEL", "lowest severity to log") \
    ENUM(color, "color", IM_COLOR_AUTO, IM_COLORS, IM_GROUP_OUTPUT, IM_FOR_ALL, "WHEN", "colours; auto: on a terminal unless NO_COLOR is set") \
    BOOL(plain, "plain", false, IM_GROUP_OUTPUT, IM_FOR_ALL, "", "key=value lines even on a terminal") \
    BOOL(json, "json", false, IM_GROUP_OUTPUT, IM_FOR_WORDS | IM_FOR_START | IM_FOR_TOP | IM_FOR_LOGS | IM_FOR_PLOT | IM_FOR_ORGANISE | IM_FOR_UNPACK | IM_FOR_SYNTH | IM_FOR_PREVIEW | IM_FOR_BENCH_CLUSTER | IM_FOR_LR_FIND | IM_FOR_STATUS | IM_FOR_STOP | IM_FOR_CONTROL | IM_FOR_INDEX | IM_FOR_BENCH | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_GPUS | IM_FOR_LIST_RUNS | IM_FOR_COMPARE | IM_FOR_DOCTOR | IM_FOR_BENCH_READ | IM_FOR_BENCH_DATA | IM_FOR_VERIFY | IM_FOR_PACK | IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_BENCH_RING | IM_FOR_IMPORT | IM_FOR_AVERAGE | IM_FOR_TRACE | IM_FOR_MEMORY, "", "answer as one JSON object") \
    BOOL(quiet, "quiet", false, IM_GROUP_OUTPUT, IM_FOR_ALL, "", "only warnings and errors") \
    TEXT(run_dir, "run-dir", "", IM_GROUP_OUTPUT, IM_FOR_CHILDREN, "DIR", "the run's directory") \
    TEXT(index_hash, "index-hash", "", IM_GROUP_DATA, IM_FOR_CHILDREN, "HASH", "identifies the images and their labels") \
    INT(order_ranks, "order-ranks", 0, 0, 64, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "N", "ranks that the order of samples was made for; 0: ranks") \
    INT(order_accumulate, "order-accumulate", 0, 0, 65536, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "N", "batches of an optimiser step of each of the order-ranks; 0: accumulate x ranks has as many") \
    INT(node_count, "node-count", 1, 1, 64, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "N", "machines of the run; each has `ranks` trainers") \
    INT(node_index, "node-index", 0, 0, 63, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "N", "which of them this is") \
    INT(node_head, "node-head", 0, 0, 63, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "N", "which machine of `nodes` is node 0; the one after it is node 1") \
    INT(node_port, "node-port", 0, 0, 65535, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "N", "of machines for which `nodes` names none") \
    TEXT(node_address, "node-address", "", IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "ADDRESS", "of this machine, where trainers of others reach its trainers") \
    TEXT(index_file, "index-file", "", IM_GROUP_DATA, IM_FOR_CHILDREN, "FILE", "the index of the images") \
    TEXT(seek_file, "seek-file", "", IM_GROUP_DATA, IM_FOR_CHILDREN, "FILE", "the seek index of the images; empty: none") \
    INT(pixel_cache_limit, "pixel-cache-limit", 0, 0, INT64_MAX, IM_GROUP_DATA, IM_FOR_CHILDREN, "BYTES", "what the pixel cache may take here") \
    BOOL(has_avif, "has-avif", false, IM_GROUP_DATA, IM_FOR_CHILDREN, "", "names in the index end in .avif: augmenters load the library at once") \
    TEXT(read_root, "read-root", "", IM_GROUP_DATA, IM_FOR_CHILDREN, "DIR", "below which readers and augmenters may read; empty: anywhere") \
    BOOL(now, "now", false, IM_GROUP_OUTPUT, IM_FOR_STOP, "", "stop at once: do not finish the step, do not save; the last checkpoint remains") \
    TEXT(stage, "stage", "", IM_GROUP_OUTPUT, IM_FOR_RESTART | IM_FOR_LOGS, "STAGE[#N]", "reader, augmenter or trainer: all of them, or number N") \
    TEXT(runs, "runs", "", IM_GROUP_OUTPUT, IM_FOR_PLOT | IM_FOR_COMPARE, "RUN...", "names of runs in the workspace, or their folders; the flag may be left out") \
    TEXT(metric, "metric", "", IM_GROUP_OUTPUT, IM_FOR_PLOT | IM_FOR_COMPARE, "NAME,...", "charts to draw: loss, accuracy, lr, throughput, step_loss, step_top1, grad_norm or a column of summary.csv (plot: loss; compare: the first four)") \
    REAL(smooth, "smooth", 0, 0, 0.9999, IM_GROUP_OUTPUT, IM_FOR_PLOT | IM_FOR_COMPARE, "X", "draw an exponential average over the curves, as TensorBoard does; weight of what was before, such as 0.6") \
    BOOL(log_x, "log-x", false, IM_GROUP_OUTPUT, IM_FOR_PLOT | IM_FOR_COMPARE, "", "logarithmic axis of epochs or steps") \
    BOOL(log_y, "log-y", false, IM_GROUP_OUTPUT, IM_FOR_PLOT | IM_FOR_COMPARE, "", "logarithmic axis of values") \
    BOOL(follow, "follow", false, IM_GROUP_OUTPUT, IM_FOR_LOGS | IM_FOR_TOP, "", "go on with what is logged from now on, until the run ends") \
    REAL(trace_seconds, "seconds", 5, 0.1, 3600, IM_GROUP_OUTPUT, IM_FOR_TRACE, "SECONDS", "how long the run is watched") \
    TEXT(counts, "counts", "", IM_GROUP_OUTPUT, IM_FOR_SCALE, "augmenters=N readers=M", "how many of each there should be from now on; auto = as they are needed") \
    TEXT(time_limit, "time-limit", "", IM_GROUP_ROBUSTNESS, IM_FOR_START, "DURATION", "stop the run, saved, before this time is over (exit status 75); such as 3h30m, 45m, 1d12h or 90s") \
    ENUM(on_signal, "on-signal", IM_ON_SIGNAL_SAVE, IM_ON_SIGNALS, IM_GROUP_ROBUSTNESS, IM_FOR_START, "WHAT", "what SIGUSR1 does: save a checkpoint and go on, or save and stop with exit status 75") \
    ENUM(on_bad_sample, "on-bad-sample", IM_BAD_SAMPLE_SKIP, IM_BAD_SAMPLES, IM_GROUP_ROBUSTNESS, IM_FOR_START, "WHAT", "skip a file that cannot be decoded, or stop the run") \
    INT(bad_sample_limit, "bad-sample-limit", 1000, 0, 1000000000, IM_GROUP_ROBUSTNESS, IM_FOR_START, "N", "stop the run after N skipped files; 0 = no limit") \
    INT(max_file_bytes, "max-file-bytes", 268435456, 1024, 2147483647, IM_GROUP_ROBUSTNESS, IM_FOR_SAMPLES | IM_FOR_VERIFY | IM_FOR_USE, "BYTES", "larger files are bad samples") \
    INT(max_pixels, "max-pixels", 178956970, 1024, 4294967296, IM_GROUP_ROBUSTNESS, IM_FOR_SAMPLES | IM_FOR_VERIFY | IM_FOR_USE, "N", "images with more pixels are bad samples; the default is Pillow's limit") \
    INT(max_side, "max-side", 65500, 32, 65500, IM_GROUP_ROBUSTNESS, IM_FOR_SAMPLES | IM_FOR_VERIFY | IM_FOR_USE, "PIXELS", "images with a longer side are bad samples") \
    INT(max_scans, "max-scans", 100, 1, 100000, IM_GROUP_ROBUSTNESS, IM_FOR_SAMPLES | IM_FOR_VERIFY | IM_FOR_USE, "N", "progressive JPEGs with more scans are bad samples; the limit falls to 16 as images approach max-pixels") \
    INT(decode_memory_mib, "decode-memory-mib", 0, 0, 65536, IM_GROUP_ROBUSTNESS, IM_FOR_SAMPLES | IM_FOR_VERIFY | IM_FOR_USE, "MIB", "images that take more memory to decode are bad samples; 0 = chosen from the machine's or container's memory, at most 2048") \
    INT(sample_deadline_ms, "sample-deadline-ms", 10000, 100, 3600000, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "MS", "processor time for one image; also how long an augmenter may stand still on one") \
    INT(read_deadline_ms, "read-deadline-ms", 30000, 200, 3600000, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "MS", "a file whose read takes longer while others are read is tried again by another reader, and left out after the second time; while none can be read, the run waits") \
    INT(stall_timeout_ms, "stall-timeout-ms", 60000, 1000, 86400000, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "MS", "kill and restart a reader or augmenter that has work and makes no progress for this long") \
    INT(rank_timeout_ms, "rank-timeout-ms", 600000, 1000, 86400000, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "MS", "a trainer for which the others wait this long in a collective counts as hung") \
    REAL(snapshot_interval, "snapshot-interval", 30, 0, 86400, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "SECONDS", "interval of training snapshots in shared memory, from which training recovers when a trainer dies; 0 = not by time") \
    INT(snapshot_steps, "snapshot-steps", 0, 0, 1000000000, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "N", "take a snapshot at least every N steps of training or validation; 0 = not by steps") \
    INT(max_restarts, "max-restarts", 10, 0, 1000000, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "N", "stop the run after N restarts of one process that failed by itself, without progress of anyone in between") \
    REAL(trainer_deadline, "trainer-deadline", -1, -1, 86400, IM_GROUP_ROBUSTNESS, IM_FOR_START | IM_FOR_USE, "SECONDS", "end a trainer that has its input and finishes no step for this long, and continue from the last snapshot; 10 times as long until its first step, and while it saves; -1 = 20 times the slowest of its last steps, at least a minute; 0 = never") \
    TEXT(output, "output", "", IM_GROUP_OUTPUT, IM_FOR_PREVIEW | IM_FOR_LR_FIND | IM_FOR_PLOT | IM_FOR_COMPARE | IM_FOR_VERIFY | IM_FOR_BENCH_DATA | IM_FOR_EVAL | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_AVERAGE | IM_FOR_TRACE | IM_FOR_PROFILE, "FILE", "file to write: export's (for timm a folder), or a picture (default preview.png, plot.png, compare.png) or timeline (default trace.json), or a profile for speedscope (for Perfetto where FILE ends with .trace.json); lr-find: the PNG file, beside which its JSON file lies, or a folder for both (default lr_finder_plots); eval: folder for all files") \
    INT(images, "images", 16, 1, 4096, IM_GROUP_DATA, IM_FOR_PREVIEW | IM_FOR_BENCH | IM_FOR_LIST | IM_FOR_PIXELS, "N", "number of images, spread over the training set; a preview shows 64 at most") \
    INT(epoch, "epoch", 0, 0, 100000, IM_GROUP_AUGMENTATION, IM_FOR_PREVIEW | IM_FOR_BENCH | IM_FOR_PIXELS, "N", "epoch whose random draws are shown") \
    BOOL(evaluate, "evaluate", false, IM_GROUP_OUTPUT, IM_FOR_CHILDREN, "", "this run is one validation pass that writes what became of each image") \
    INT(outputs, "outputs", 0, 0, 1000000, IM_GROUP_MODEL, IM_FOR_CHILDREN, "N", "classes of the weights that are evaluated; 0 = those of the data") \
    TEXT(weights_from, "weights-from", "", IM_GROUP_MODEL, IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT, "WEIGHTS|RUN", "file of weights (safetensors, .pt, .pth, ONNX), run directory, or name of a run in the workspace") \
    ENUM(weights, "weights", IM_WEIGHTS_BEST, IM_WEIGHTS, IM_GROUP_MODEL, IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_AVERAGE, "WHICH", "weights of a run: best or last epoch, plain or averaged (ema: averages of the last epoch)") \
    ENUM(export_format, "format", IM_EXPORT_ONNX, IM_EXPORT_FORMATS, IM_GROUP_OUTPUT, IM_FOR_EXPORT, "NAME", "onnx: a file for any runtime; pt: a state_dict that torch.load(weights_only=True) reads; safetensors; timm: a folder for timm.create_model(\"local-dir:FOLDER\"); torchvision: a .pth file for torchvision.models") \
    ENUM(export_input, "input", IM_EXPORT_UINT8, IM_EXPORT_INPUTS, IM_GROUP_OUTPUT, IM_FOR_EXPORT, "TYPE", "what the ONNX file takes; uint8: decoded RGB images [batch, height, width, 3] of any size, and it resizes, crops and normalises as validation does; float: [batch, 3, side, side] after that") \
    BOOL(fold_bn, "fold-bn", true, IM_GROUP_OUTPUT, IM_FOR_EXPORT, "", "ONNX: make batch norm part of the convolution before it (default): faster, and the answers differ in rounding only") \
    TEXT(weights_list, "weights-list", "", IM_GROUP_MODEL, IM_FOR_AVERAGE, "WEIGHTS|RUN ...", "files of weights or runs, separated by blanks") \
    TEXT(ratio, "ratio", "", IM_GROUP_MODEL, IM_FOR_AVERAGE, "NUMBERS", "share of each of them, such as 0.3,0.7; default: equal shares") \
    ENUM(average_bn, "bn", IM_AVERAGE_BN_ANEW, IM_AVERAGE_BNS, IM_GROUP_MODEL, IM_FOR_AVERAGE, "HOW", "running statistics of batch norm; anew: taken over training images, as the averaged weights see other values than each of them did; mean: those of the files, averaged") \
    INT(bn_images, "bn-images", 2048, 2, 4096, IM_GROUP_MODEL, IM_FOR_AVERAGE, "N", "training images to take the statistics over, with the transforms of training") \
    BOOL(prove, "prove", true, IM_GROUP_OUTPUT, IM_FOR_EXPORT, "", "compare what was written with what this program computes, and write FILE.proof.json (default); ONNX files are run by onnxruntime, where python3 has it, on validation images of the run or of data-dir") \
    INT(prove_images, "prove-images", 200, 1, 4096, IM_GROUP_OUTPUT, IM_FOR_EXPORT, "N", "validation images to prove an ONNX file with") \
    BOOL(whole_images, "whole-images", false, IM_GROUP_DATA, IM_FOR_PIXELS, "", "send the decoded image beside the sample") \
    ENUM(tta, "tta", IM_TTA_NONE, IM_TTAS, IM_GROUP_AUGMENTATION, IM_FOR_USE, "HOW", "flip: average the outputs for each image and its mirror image; views: the mean of these, weighted half, and of the same moved by a pixel up and left, and down and right") \
    TEXT(class_names, "class-names", "", IM_GROUP_DATA, IM_FOR_USE | IM_FOR_EXPORT | IM_FOR_IMPORT | IM_FOR_EVALUATED, "FILE|A,B,...", "names of the classes of weights that have none, or other ones than these, in the order of the outputs: a file with one a line, or the names with commas") \
    ENUM(split, "split", IM_SPLIT_CHOICE_AUTO, IM_SPLIT_CHOICES, IM_GROUP_DATA, IM_FOR_EVAL | IM_FOR_EVALUATED | IM_FOR_LIST | IM_FOR_PIXELS, "WHICH", "images to take; auto: eval: the validation images, or all where there are none; otherwise those of training") \
    TEXT(image_list, "image-list", "", IM_GROUP_DATA, IM_FOR_EVALUATED, "FILE", "absolute paths of images, each ended by a NUL, in place of a data folder") \
    INT(worst, "worst", 20, 0, 100000, IM_GROUP_OUTPUT, IM_FOR_EVAL, "N", "name the N images with the highest loss") \
    TEXT(serve, "serve", "", IM_GROUP_OUTPUT, IM_FOR_PREDICT, "ADDRESS", "answer images that come over HTTP, instead of naming files: PORT (of this machine alone), HOST:PORT or unix:PATH") \
    TEXT(shard, "shard", "", IM_GROUP_DATA, IM_FOR_USE | IM_FOR_EVALUATED, "I/N|auto", "the I-th of N parts of the images, from 0: give each machine the same images; predict: join what they print in this order; eval: writes its part into the folder of -o, for --join; auto: as many parts as processes of the launcher") \
    BOOL(join, "join", false, IM_GROUP_OUTPUT, IM_FOR_EVAL, "", "name the folder of the parts that --shard has written in place of weights: they are reported as one evaluation") \
    INT(top_k, "top-k", 5, 1, 1000, IM_GROUP_OUTPUT, IM_FOR_PREDICT, "N", "classes to give for each image") \
    REAL(threshold, "threshold", 0, 0, 1, IM_GROUP_OUTPUT, IM_FOR_PREDICT, "P", "give the classes of at least this probability only: all such of weights for several labels, unless top-k is given") \
    BOOL(diff, "diff", false, IM_GROUP_OUTPUT, IM_FOR_PREVIEW, "", "show each image beside its untransformed crop") \
    INT(passes, "passes", 5, 1, 100000, IM_GROUP_OUTPUT, IM_FOR_BENCH | IM_FOR_STEPS | IM_FOR_BENCH_READ | IM_FOR_BENCH_DATA, "N", "passes over the images; for the trainer: rounds of one second") \
    INT(sample, "sample", 0, 0, 1000000000, IM_GROUP_DATA, IM_FOR_VERIFY | IM_FOR_BENCH_READ | IM_FOR_LIST, "N", "take N images spread over each split; 0 = all of them (bench read and profile reader: at most 4096)") \
    INT(near_duplicates, "near-duplicates", 0, 0, 7, IM_GROUP_DATA, IM_FOR_NEAR, "BITS", "also find images that look alike though their bytes differ: so many of 64 bits of a difference hash may differ (4 finds resized and recompressed copies); 0 = do not look") \
    BOOL(both_splits, "both-splits", false, IM_GROUP_DATA, IM_FOR_LIST, "", "list validation images too") \
    BOOL(cold, "cold", false, IM_GROUP_DATA, IM_FOR_BENCH_READ | IM_FOR_BENCH_DATA, "", "drop these files from the page cache before each pass, so that they come from the disk") \
    INT(jobs, "jobs", 0, 0, 1024, IM_GROUP_PIPELINE, IM_FOR_VERIFY | IM_FOR_PACK, "N", "processes that decode, or shards that are written at a time; 0 = as many as there are cores") \
    REAL(pass_seconds, "pass-seconds", 2, 0.05, 3600, IM_GROUP_OUTPUT, IM_FOR_BENCH_DATA, "SECONDS", "how long one pass of the measurement lasts") \
    REAL(warm_up_seconds, "warm-up-seconds", 1, 0, 3600, IM_GROUP_OUTPUT, IM_FOR_BENCH_DATA, "SECONDS", "what is not measured at the beginning") \
    REAL(images_per_second, "images-per-second", 0, 0, 1e9, IM_GROUP_OUTPUT, IM_FOR_BENCH_DATA, "R", "each simulated trainer takes R images/s at most; 0 = as many as come") \
    TEXT(scan, "scan", "", IM_GROUP_OUTPUT, IM_FOR_BENCH_DATA, "STAGE=LOW..HIGH", "measure with each of these numbers of processes: augmenters=1..8 or readers=1..4") \
    TEXT(compare, "compare", "", IM_GROUP_OUTPUT, IM_FOR_BENCH_DATA | IM_FOR_MEASURED, "FILE", "compare with an earlier measurement: a file that --json wrote") \
    REAL(bandwidth, "bandwidth", 10, 0.001, 100000, IM_GROUP_PIPELINE, IM_FOR_BENCH_CLUSTER, "GBIT/S", "of the network, for each machine in each direction") \
    REAL(latency, "latency", 50, 0, 1000000, IM_GROUP_PIPELINE, IM_FOR_BENCH_CLUSTER, "MICROSECONDS", "of the network: from one trainer to another on the next machine and through its program") \
    REAL(step_ms, "step-ms", 0, 0, 3600000, IM_GROUP_TRAINING, IM_FOR_BENCH_CLUSTER, "MILLISECONDS", "what a step of one trainer takes without sums over the others; bench step measures it") \
    REAL(gradient_mb, "gradient-mb", 0, 0, 1000000, IM_GROUP_TRAINING, IM_FOR_BENCH_CLUSTER, "MB", "what the trainers sum in a step; 0 = 4 bytes for each parameter of the model") \
    BOOL(ring, "ring", false, IM_GROUP_TRAINING, IM_FOR_BENCH_CLUSTER, "", "sums go round a ring, as Gloo's between CPUs; NCCL takes trees where they are faster") \
    REAL(overlap, "overlap", 0, 0, 1, IM_GROUP_TRAINING, IM_FOR_BENCH_CLUSTER, "SHARE", "of the step, that sums may go on beside; 0 = they begin after it") \
    REAL(node_rate, "node-rate", 0, 0, 100000000, IM_GROUP_PIPELINE, IM_FOR_BENCH_CLUSTER, "IMAGES/S", "that a machine can read and augment; 0 = enough; bench data measures it") \
    REAL(storage_rate, "storage-rate", 0, 0, 100000000, IM_GROUP_PIPELINE, IM_FOR_BENCH_CLUSTER, "IMAGES/S", "that storage which all machines share can give in all; 0 = enough") \
    BOOL(consume, "consume", false, IM_GROUP_PIPELINE, IM_FOR_CHILDREN, "", "trainers take batches and do not train: bench data") \
    TEXT(out, "out", "", IM_GROUP_SYNTH, IM_FOR_SYNTH | IM_FOR_ORGANISE | IM_FOR_PACK | IM_FOR_UNPACK, "DIR", "output folder of the images") \
    INT(shard_bytes, "shard-bytes", 1000000000, 1, INT64_MAX, IM_GROUP_DATA, IM_FOR_PACK, "N", "a shard holds at most N bytes (WebDataset: maxsize)") \
    INT(shard_images, "shard-images", 100000, 1, INT64_MAX, IM_GROUP_DATA, IM_FOR_PACK, "N", "a shard holds at most N images (WebDataset: maxcount)") \
    BOOL(organise_copy, "copy", false, IM_GROUP_DATA, IM_FOR_ORGANISE, "", "copy the images") \
    BOOL(organise_hard_link, "hard-link", false, IM_GROUP_DATA, IM_FOR_ORGANISE, "", "write hard links (default): no space, and the new folder stays whole when the old one is moved; needs one file system") \
    BOOL(organise_symlink, "symlink", false, IM_GROUP_DATA, IM_FOR_ORGANISE, "", "write symbolic links to where the images are now") \
    TEXT(undo, "undo", "", IM_GROUP_DATA, IM_FOR_ORGANISE, "FILE", "take back what the undo file names (DST/organise.undo)") \
    TEXT(gpu_kind, "gpu-kind", "all", IM_GROUP_MODEL, IM_FOR_MEMORY, "GPU", "GPU to plan for, a name of the table such as v100-16 or h200, or all of them") \
    INT(classes, "classes", 10, 2, 10000, IM_GROUP_SYNTH, IM_FOR_SYNTH | IM_FOR_MODEL | IM_FOR_STEPS | IM_FOR_MEMORY, "N", "number of classes") \
    INT(per_class, "per-class", 200, 1, 10000000, IM_GROUP_SYNTH, IM_FOR_SYNTH, "N", "training images of each class") \
    INT(val_per_class, "val-per-class", 50, 0, 10000000, IM_GROUP_SYNTH, IM_FOR_SYNTH, "N", "validation images of each class") \
    INT(side_min, "side-min", 48, 8, 8192, IM_GROUP_SYNTH, IM_FOR_SYNTH, "PIXELS", "shortest side of an image") \
    INT(side_max, "side-max", 96, 8, 8192, IM_GROUP_SYNTH, IM_FOR_SYNTH, "PIXELS", "longest side of an image") \
    INT(jpeg_quality, "jpeg-quality", 90, 1, 100, IM_GROUP_SYNTH, IM_FOR_SYNTH, "Q", "quality of the JPEG files")

/* Names of other trainers with the same meaning: X("their name", "our name", value to set or NULL). One letter: a short flag. A
 * name may stand for several options: a command takes the one that the fewest commands use, others the first. */
#define IM_CONF_ALIASES(X) \
    X("f", "follow", NULL) \
    X("b", "batch-size", NULL) X("c", "config", NULL) X("o", "output", NULL) X("w", "workspace", NULL) X("o", "workspace", NULL) X("q", "quiet", NULL) \
    X("j", "augmenters", NULL) X("workers", "augmenters", NULL) X("num-workers", "augmenters", NULL) X("a", "model", NULL) X("num-epochs", "epochs", NULL) X("bs", "batch-size", NULL) X("max-grad-norm", "grad-clip", NULL) \
    X("max-lr", "lr", NULL) X("learning-rate", "lr", NULL) X("min-lr", "lr-min", NULL) X("wd", "weight-decay", NULL) \
    X("anneal-strategy", "anneal", NULL) X("sched", "schedule", NULL) X("lr-scheduler", "schedule", NULL) X("lr-schedule-type", "schedule", NULL) \
    X("decay-epochs", "step-epochs", NULL) X("lr-step-size", "step-epochs", NULL) X("step-length", "step-epochs", NULL) \
    X("decay-milestones", "milestones", NULL) X("decay-rate", "gamma", NULL) X("lr-gamma", "gamma", NULL) X("step-ratio", "gamma", NULL) \
    X("lr-warmup-epochs", "warmup-epochs", NULL) X("lr-warmup-decay", "warmup-factor", NULL) \
    X("save-dir", "workspace", NULL) X("output-dir", "workspace", NULL) X("output-dir", "output", NULL) X("output", "workspace", NULL) X("experiment", "run-name", NULL) \
    X("world-size", "ranks", NULL) X("nproc-per-node", "ranks", NULL) \
    X("use-blurpool", "blurpool", "zhang") X("no-blurpool", "blurpool", "none") X("no-mixup", "mixup", "0") X("drop-path", "drop-path-rate", NULL) X("zero-init-last", "zero-init-residual", NULL) \
    X("initial-checkpoint", "init-from", NULL) X("checkpoint", "init-from", NULL) X("arch", "model", NULL) X("img-size", "image-size", NULL) X("smoothing", "label-smoothing", NULL) \
    X("maxsize", "shard-bytes", NULL) X("maxcount", "shard-images", NULL) X("data", "data-dir", NULL) X("data-path", "data-dir", NULL) X("train-crop-size", "image-size", NULL) \
    X("val-crop-size", "eval-image-size", NULL) X("val-resize-size", "eval-resize", NULL) \
    X("optimizer", "opt", NULL) X("clip-grad", "grad-clip", NULL) X("clip-grad-norm", "grad-clip", NULL) X("opt-eps", "eps", NULL) \
    X("grad-accum-steps", "accumulate", NULL) X("accum-steps", "accumulate", NULL) X("grad-accum", "accumulate", NULL) X("gradient-accumulation-steps", "accumulate", NULL) X("accumulate-grad-batches", "accumulate", NULL) \
    X("accumulation-steps", "accumulate", NULL) X("model-ema-decay", "ema", NULL) X("ema-decay", "ema", NULL) \
    X("bce-loss", "loss", "bce") X("bce-target-thresh", "bce-threshold", NULL) X("mixup-alpha", "mixup", NULL) X("cutmix-alpha", "cutmix", NULL) X("mixup-prob", "mix-p", NULL) X("mixup-switch-prob", "mix-switch-p", NULL) \
    X("random-erase", "aug-erase-p", NULL) X("reprob", "aug-erase-p", NULL) \
    X("precision", "amp", NULL) X("mixed-precision", "amp", NULL) X("amp-dtype", "amp", NULL) X("use-amp", "amp", "auto") X("no-amp", "amp", "none") X("fp16", "amp", "fp16") X("bf16", "amp", "bf16") \
    X("native-amp", "amp", "auto") X("apex-amp", "amp", "auto") X("half", "amp", "fp16") \
    X("lr0", "lr", NULL) X("imgsz", "image-size", NULL) X("batch", "batch-size", NULL) X("patience", "early-stop", NULL) X("cos-lr", "schedule", "cosine") \
    X("checkpoint-hist", "checkpoint-keep", NULL) X("save-total-limit", "checkpoint-keep", NULL) \
    X("cache", "pixel-cache", NULL) X("multilabel", "multi-label", NULL) X("no-color", "color", "never")

/* Keys whose flag may stand without a value, and what it means then: X("name", "value"). */
#define IM_CONF_BARE(X) X("resume", "auto") X("finetune", "true") X("amp", "auto")

/* Keys that are no switches, and what --no-NAME sets: X("name", "value"). A choice that has the word off, none or never needs no row. */
#define IM_CONF_OFF(X) \
    X("resume", "") X("finetune", "false") X("seek-index", "off") X("pixel-cache", "off") X("gpus", "0") X("on-event", "") X("metrics-listen", "") X("time-limit", "") \
    X("val-split", "0") X("warmup-epochs", "0") X("label-smoothing", "0") X("weight-decay", "0") X("grad-clip", "0") X("ema", "0") X("mixup", "0") X("cutmix", "0") X("early-stop", "0") \
    X("drop-path-rate", "0") X("hflip", "0") X("aug-cutout", "0") X("near-duplicates", "0") X("bad-sample-limit", "0")

/* Other words for a value: X("name", "word", "value"). Those of amp are PyTorch Lightning's, accelerate's and torch's, those of
 * schedule torchvision's, PyTorch's and timm's. */
#define IM_CONF_WORDS(X) \
    X("schedule", "steplr", "step") X("schedule", "multisteplr", "multistep") X("schedule", "exponentiallr", "exponential") \
    X("schedule", "cosineannealinglr", "cosine") X("schedule", "onecyclelr", "onecycle") X("schedule", "poly", "polynomial") \
    X("readers", "auto", "0") X("augmenters", "auto", "0") X("batch-size", "auto", "0") X("batch-size", "-1", "0") \
    X("amp", "true", "auto") X("amp", "yes", "auto") X("amp", "on", "auto") X("amp", "1", "auto") X("amp", "false", "none") X("amp", "no", "none") X("amp", "off", "none") \
    X("amp", "0", "none") X("amp", "16-mixed", "fp16") X("amp", "bf16-mixed", "bf16") X("amp", "16", "fp16") X("amp", "float16", "fp16") X("amp", "bfloat16", "bf16") \
    X("amp", "32", "none") X("amp", "32-true", "none") X("amp", "fp32", "none") X("amp", "float32", "none")

/* Names of other trainers that mean something else here: X("their name", "what to do"). */
#define IM_CONF_SAVED_HINT "weights are saved after every epoch; --checkpoint-keep N says of how many epochs they stay"
#define IM_CONF_HINTS(X) \
    X("warmup-lr", "use --warmup-factor X (the fraction of --lr that warm-up starts at)") \
    X("logdir", "logs are in the run directory: use --workspace and --run-name") \
    X("device", "use --backend auto|ref|onednn|cuda and --gpus") \
    X("auto-augment", "use --augment autoaugment, randaugment or trivial") \
    X("aa", "use --augment autoaugment, randaugment or trivial") \
    X("color-jitter", "use --aug.brightness, --aug.contrast, --aug.saturation and --aug.hue") \
    X("pretrained", "use --init-from FILE with the weights as a safetensors, .pt or .pth file") \
    X("save-every", IM_CONF_SAVED_HINT) X("save-freq", IM_CONF_SAVED_HINT) X("save-period", IM_CONF_SAVED_HINT) X("save-interval", IM_CONF_SAVED_HINT) \
    X("checkpoint-every", IM_CONF_SAVED_HINT) X("checkpoint-interval", IM_CONF_SAVED_HINT) X("save-steps", IM_CONF_SAVED_HINT) \
    X("norm-weight-decay", "leave it out: batch norm and biases have no weight decay") \
    X("lr-warmup-method", "leave it out: warm-up is linear, from --warmup-factor on") \
    X("print-freq", "use --status-interval SECONDS") \
    X("model-ema", "use --ema DECAY") \
    X("opt-betas", "use --beta1 and --beta2") \
    X("log-dir", "logs are in the run directory: use --workspace and --run-name") \
    X("nnodes", "use --nodes HOST,HOST,... and --node N, or start it by Slurm, MPI, torchrun or Kubernetes, which say it by themselves") \
    X("sync-batchnorm", "use --sync-bn") \
    X("compile", "leave it out: graphs are built and fused automatically") \
    X("project", "use --workspace DIR, and --run-name NAME for the name of the run") \
    X("name", "use --run-name NAME") \
    X("log-wandb", "use --on-event examples/on-event/wandb_log.py, or read the run's tensorboard/") \
    X("input-size", "use --image-size PIXELS") \
    X("crop-pct", "use --eval-resize PIXELS: the short side that the centre crop is cut from") \
    X("test-only", "use imsuper eval RUN|FILE") X("eval-only", "use imsuper eval RUN|FILE") \
    X("lrf", "use --lr-min RATE: the rate at the end, not its share of --lr") \
    X("random-erasing", "use --aug.erase-p SHARE")
/* clang-format on */

#endif
