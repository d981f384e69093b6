/* The configuration of a run: defaults < recipe < YAML file < environment IMSUPER_* < flags, from the one
 * table in conf_keys.h.
 *
 * Functions return 0 or a negative errno; a wrong value gives -EINVAL and a sentence that names flag,
 * variable or file and line, the value, and what is allowed. A configuration is a plain value without
 * pointers: copy it as one likes.
 *
 * In this folder: the options and their checks. An option is one row of conf_keys.h: its flag, YAML key,
 * variable, help and range; rules between options are in conf_check.c and its neighbours; presets, models and
 * the LR range test are here because several roles use them. Names and values of options are an interface for
 * users and do not change. Nothing here opens data or devices. */
#ifndef IPC_CONFIG_CONF_H
#define IPC_CONFIG_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ipc/base/err.h"
#include "ipc/config/conf_keys.h"

#define IM_CONF_CHOICE_(constant, word) constant,
enum im_conf_layout { IM_LAYOUTS(IM_CONF_CHOICE_) };
enum im_conf_io { IM_IOS(IM_CONF_CHOICE_) };
enum im_conf_backend { IM_BACKENDS(IM_CONF_CHOICE_) };
enum im_conf_model { IM_MODELS(IM_CONF_CHOICE_) };
enum im_conf_stem { IM_STEMS(IM_CONF_CHOICE_) };
enum im_conf_head { IM_HEADS(IM_CONF_CHOICE_) };
enum im_conf_blurpool { IM_BLURPOOLS(IM_CONF_CHOICE_) };
enum im_conf_amp { IM_AMPS(IM_CONF_CHOICE_) };
enum im_conf_schedule { IM_SCHEDULES(IM_CONF_CHOICE_) };
enum im_conf_anneal { IM_ANNEALS(IM_CONF_CHOICE_) };
enum im_conf_lr_scale { IM_LR_SCALES(IM_CONF_CHOICE_) };
enum im_conf_muon_rest { IM_MUON_RESTS(IM_CONF_CHOICE_) };
enum im_conf_loss { IM_LOSSES(IM_CONF_CHOICE_) };
enum im_conf_sampler { IM_SAMPLERS(IM_CONF_CHOICE_) };
enum im_conf_elastic { IM_ELASTICS(IM_CONF_CHOICE_) };
enum im_conf_early_stop { IM_EARLY_STOPS(IM_CONF_CHOICE_) };
enum im_conf_ema_warmup { IM_EMA_WARMUPS(IM_CONF_CHOICE_) };
enum im_conf_loss_scale { IM_LOSS_SCALES(IM_CONF_CHOICE_) };
enum im_conf_bad_sample { IM_BAD_SAMPLES(IM_CONF_CHOICE_) };
enum im_conf_on_signal { IM_ON_SIGNALS(IM_CONF_CHOICE_) };
enum im_conf_weights { IM_WEIGHTS(IM_CONF_CHOICE_) };
enum im_conf_flip { IM_FLIPS(IM_CONF_CHOICE_) };
enum im_conf_read_ranges { IM_READ_RANGES(IM_CONF_CHOICE_) };
enum im_conf_pad_mode { IM_PAD_MODES(IM_CONF_CHOICE_) };
enum im_conf_tta { IM_TTAS(IM_CONF_CHOICE_) };
enum im_conf_split { IM_SPLIT_CHOICES(IM_CONF_CHOICE_) };
enum im_conf_augment { IM_AUGMENTS(IM_CONF_CHOICE_) };
enum im_conf_aug_policy { IM_AUG_POLICIES(IM_CONF_CHOICE_) };
enum im_conf_aug_border { IM_AUG_BORDERS(IM_CONF_CHOICE_) };
enum im_conf_aug_filter { IM_AUG_FILTERS(IM_CONF_CHOICE_) };
enum im_conf_average_bn { IM_AVERAGE_BNS(IM_CONF_CHOICE_) };
enum im_conf_export_format { IM_EXPORT_FORMATS(IM_CONF_CHOICE_) };
enum im_conf_export_input { IM_EXPORT_INPUTS(IM_CONF_CHOICE_) };
enum im_conf_log { IM_LOG_LEVELS(IM_CONF_CHOICE_) }; /* same values as enum im_log_level */
enum im_conf_color { IM_COLORS(IM_CONF_CHOICE_) };
enum im_conf_group { IM_CONF_GROUPS(IM_CONF_CHOICE_) IM_GROUP_COUNT };
#undef IM_CONF_CHOICE_

/* IM_KEY_batch_size and so on. */
#define IM_CONF_ID_(field, ...) IM_KEY_##field,
enum im_conf_key_id {
    IM_CONF_KEYS(IM_CONF_ID_, IM_CONF_ID_, IM_CONF_ID_, IM_CONF_ID_, IM_CONF_ID_, IM_CONF_ID_) IM_KEY_COUNT
};
#undef IM_CONF_ID_

enum {
    IM_CONF_TEXT_BYTES = 1024,   /* a text value with its NUL */
    IM_CONF_FROZEN_BYTES = 65536 /* the frozen form with its NUL */
};

enum im_conf_source {
    IM_CONF_DEFAULT,
    IM_CONF_FILE,
    IM_CONF_ENVIRONMENT,
    IM_CONF_FLAG,
    IM_CONF_FROZEN, /* from the process that froze it */
    IM_CONF_CODE,   /* set by a program */
    IM_CONF_SET,    /* from the set that `augment` names */
    IM_CONF_RECIPE
};

/* Where a value came from. */
struct im_conf_origin {
    int32_t source; /* enum im_conf_source */
    int32_t line;   /* of the file conf.config, or of the recipe's; 0: none */
};

#define IM_CONF_BOOL_(field, ...) bool field;
#define IM_CONF_INT_(field, ...) int64_t field;
#define IM_CONF_SEED_(field, ...) uint64_t field;
/* Of a run on several machines that goes on without some of them: what is other than the options say. Zeroed: nothing is. */
struct im_conf_share {
    int64_t world;      /* trainers of the machines that take part; 0: of all machines */
    int64_t first_rank; /* of this machine's, among them */
};

#define IM_CONF_REAL_(field, ...) double field;
#define IM_CONF_TEXT_(field, ...) char field[IM_CONF_TEXT_BYTES];
#define IM_CONF_ENUM_(field, ...) int32_t field;
struct im_conf {
    IM_CONF_KEYS(IM_CONF_BOOL_, IM_CONF_INT_, IM_CONF_SEED_, IM_CONF_REAL_, IM_CONF_TEXT_, IM_CONF_ENUM_)
    struct im_conf_origin origin[IM_KEY_COUNT];
    struct im_conf_share share; /* no option */
};
#undef IM_CONF_BOOL_
#undef IM_CONF_INT_
#undef IM_CONF_SEED_
#undef IM_CONF_REAL_
#undef IM_CONF_TEXT_
#undef IM_CONF_ENUM_

void im_conf_defaults(struct im_conf *conf);

/* All of a command line: defaults, then the recipe (--recipe or IMSUPER_RECIPE), the file that --config or
 * IMSUPER_CONFIG names, the environment, the flags. `commands`: IM_FOR_* of the command, whose flags alone
 * are taken. Returns the index of the first argument that is no flag (argc: none), or a negative errno.
 * `warning` gets a sentence about variables that look like a mistyped key, else "". */
int im_conf_load(struct im_conf *conf, im_conf_commands commands, int argc, char **argv,
                 struct im_text *warning, struct im_text *text);

/* The parts of it, each over what `conf` holds already. */
int im_conf_load_recipe(struct im_conf *conf, const char *name, struct im_text *text);
int im_conf_load_yaml(struct im_conf *conf, const char *path, struct im_text *text);
/* For tests, which have no file. */
int im_conf_parse_yaml(struct im_conf *conf, const char *path_for_errors, const char *bytes, size_t n,
                       struct im_text *text);
/* Of the run in this folder; paths of data that were relative to where it was started become absolute. */
int im_conf_load_run(struct im_conf *conf, const char *run_dir, struct im_text *text);
int im_conf_load_env(struct im_conf *conf, char *const *environment, struct im_text *warning,
                     struct im_text *text);
int im_conf_parse_args(struct im_conf *conf, im_conf_commands commands, int argc, char **argv,
                       struct im_text *text);

/* Moves the words of argv that are neither flags nor their values behind them, in their order. argv[0] and what
 * follows "--" stay where they are. */
void im_conf_operands_last(im_conf_commands commands, int argc, char **argv);

/* Sets one key from its text, as the file would. */
int im_conf_set(struct im_conf *conf, const char *name, const char *value, struct im_text *text);

/* Gives every key that is still at its default the value that the set of transforms in `augment` has for it.
 * im_conf_load() does it last of all; who fills a configuration in another way calls it. */
void im_conf_apply_set(struct im_conf *conf);

/* Gives loss the value that multi-label has, where only a recipe or nobody set it, and takes label-smoothing from a recipe
 * back. True: it did. */
bool im_conf_apply_multi_label(struct im_conf *conf);

/* What no single value shows: crops that cannot be drawn, a warm-up longer than the run, ... */
int im_conf_check(const struct im_conf *conf, struct im_text *text);

/* The same of the network, for commands that have one: images smaller than its stride, batches of one image
 * that cannot be mixed or normalised. After im_conf_check(). */
int im_conf_check_network(const struct im_conf *conf, struct im_text *text);

/* The optimiser of tensors that are no hidden matrix: opt, or where that is muon, muon-rest. */
enum im_optimizer im_conf_rest_opt(const struct im_conf *conf);
/* The peak learning rate of these tensors over that of the others. */
double im_conf_rest_rate(const struct im_conf *conf);

/* Pixels of the image per place of the network's last values: the smallest image it takes. */
uint32_t im_conf_stride(const struct im_conf *conf);

/* Whether the model is one for CIFAR's small images: small stem by default, 10 classes. */
bool im_conf_small_images(const struct im_conf *conf);

/* Stages of blocks of the model. */
int im_conf_model_stages(const struct im_conf *conf);

/* Whether the run fine-tunes (finetune), and the file that it names; NULL: none, or only init-from does. */
bool im_conf_finetunes(const struct im_conf *conf);
const char *im_conf_finetune_file(const struct im_conf *conf);

/* The stages that are frozen in an epoch (from 0), by freeze and unfreeze-epochs: bit 0 the stem, bit 1 the first
 * stage of blocks, and so on; never the head. */
uint32_t im_conf_frozen_stages(const struct im_conf *conf, uint32_t epoch);

/* The key's name, and the value as text that reads back the same; into s of at least IM_CONF_TEXT_BYTES. */
const char *im_conf_name(enum im_conf_key_id key);

/* What a user writes for this value: "--epochs 3", "--no-drop-last". `name` may be of no option. */
const char *im_conf_flag(const char *name, const char *value, char ret[IM_CONF_TEXT_BYTES + 64]);
void im_conf_value(const struct im_conf *conf, enum im_conf_key_id key, char *s);

/* Whether one of `commands` uses the key. */
bool im_conf_is_for(enum im_conf_key_id key, im_conf_commands commands);

/* The word of a choice: im_conf_choice(IM_KEY_model, conf->model). NULL for a value that is none. */
const char *im_conf_choice(enum im_conf_key_id key, int32_t value);

/* Words of a text, broken before `columns` (as below); a line that ends with '.' or ':' ends here, too. What is continued begins in
 * column `hang`. */
void im_help_flow(FILE *out, const char *text, int hang, int columns);

/* The options of `commands` by group, wrapped to `columns` (0: $COLUMNS, the terminal's width or 80). */
void im_conf_help(FILE *out, im_conf_commands commands, int columns);

/* The same as a JSON array, the caller's: name, letter, is_bool, metavar, choices, group, help. NULL or parts left
 * out: out of memory. */
struct im_json;
struct im_json *im_conf_describe(im_conf_commands commands);

/* Options of `commands` and their values as an object, the caller's: all whose value is of this source, or with -1 those
 * that are not the default. */
struct im_json *im_conf_values(const struct im_conf *conf, im_conf_commands commands, int source);

/* The effective configuration with each value's source as comment; malloc'ed YAML that im_conf_load_yaml()
 * reads back. NULL: no memory. */
char *im_conf_dump_yaml(const struct im_conf *conf, im_conf_commands commands);

/* All values as "key=value\n" lines, for children. -ENOSPC when longer than `room` (IM_CONF_FROZEN_BYTES is
 * always enough). */
int im_conf_freeze(const struct im_conf *conf, char *frozen, size_t room);
/* The reverse: every key once, no other; -EBADMSG with a sentence otherwise. `conf` is written
 * on success only. */
int im_conf_thaw(struct im_conf *conf, const char *frozen, struct im_text *text);

/* train-crop. */
enum im_crop { IM_CROP_RRC, IM_CROP_PAD, IM_CROP_CENTER };
/* `padding` in pixels on each side; 0 unless IM_CROP_PAD. -EINVAL for another text, as
 * im_conf_check() has found. */
int im_conf_train_crop(const struct im_conf *conf, enum im_crop *ret_crop, int *ret_padding);

/* aug-fill and its like: "R,G,B", each 0 to 255, or where `ret_random` is not NULL "random". -EINVAL for
 * another text. */
int im_conf_fill(const char *s, uint8_t ret_colour[3], bool *ret_random);

/* "3h30m", "45m", "1d12h", "90s", "1.5h": days, hours, minutes, seconds, each once and in this order; above 0
 * and at most a year. -EINVAL for another text. */
int im_conf_duration(const char *s, double *ret_seconds);

/* "9090" (of this machine alone), "0.0.0.0:9090", "[::1]:9090", "localhost:9090" or "unix:PATH". -EINVAL for another
 * text. */
struct im_conf_listen {
    char address[64];
    char path[108]; /* of the socket; "": an address */
    uint16_t port;
    bool is_ipv6;
};
int im_conf_listen(const char *s, struct im_conf_listen *ret);

/* "0.485,0.456,0.406": three finite numbers. */
int im_conf_triplet(const char *s, double ret_values[3]);

/* "30,60,80": ascending whole numbers from 1 on. Returns their count, or -EINVAL. */
enum { IM_CONF_MILESTONES_MAX = 64 };
int im_conf_milestones(const char *s, uint32_t ret_epochs[IM_CONF_MILESTONES_MAX]);

/* gpus: "auto" gives count -1; "N" gives count N and no list; "0,2" and "3," (a comma makes a list)
 * give the devices. */
enum { IM_CONF_GPUS_MAX = 64 };
struct im_conf_gpus {
    int count; /* -1: all there are */
    bool is_list;
    int devices[IM_CONF_GPUS_MAX];
};
int im_conf_parse_gpus(const char *s, struct im_conf_gpus *ret);

/* A run that keeps no state: a range test, an evaluation. */
bool im_conf_is_probe(const struct im_conf *conf);

/* The GPU of a rank in a configuration that `start` has frozen; -1: it trains on the CPU. */
int im_conf_gpu(const struct im_conf *conf, uint32_t rank);

/* Image side and batch of a training epoch. */
struct im_conf_sizes {
    uint32_t image_size, batch_size;
};

/* resize-schedule, taken apart (conf_resize.c has its grammar); without one, a single entry of
 * image-size and batch-size. */
enum { IM_CONF_RESIZE_MAX = 64 };
struct im_conf_resize_entry {
    uint32_t first, last; /* epochs from 1; last UINT32_MAX: to the end */
    uint32_t from, to;    /* pixels */
    uint32_t batch;
};
struct im_conf_resize {
    struct im_conf_resize_entry entry[IM_CONF_RESIZE_MAX];
    int count;
    bool uses_batch_size; /* an entry has no batch of its own */
};

/* -EINVAL with a sentence that names the entry: wrong form or range, an epoch that no entry or two cover, a
 * size below the network's stride. */
int im_conf_resize(const struct im_conf *conf, struct im_conf_resize *ret, struct im_text *text);
struct im_conf_sizes im_conf_resize_at(const struct im_conf_resize *r, uint32_t epoch); /* from 0 */

/* Of the run's last epoch, which validation follows; of all entries. */
struct im_conf_sizes im_conf_last_sizes(const struct im_conf *conf);
uint32_t im_conf_smallest_image_size(const struct im_conf *conf);

/* Trainers of the run, on all machines; `ranks` counts those of one machine. The first of this one. */
int64_t im_conf_world(const struct im_conf *conf);
int64_t im_conf_first_rank(const struct im_conf *conf);

/* The ranks, and the batches per optimiser step, that the run's order of samples was made for: other than those
 * that it runs with where it was continued with another number of ranks (ipc/plan.h). */
int64_t im_conf_order_ranks(const struct im_conf *conf);
int64_t im_conf_order_accumulate(const struct im_conf *conf);

/* Batches and images of an optimiser step, of all trainers. With --elastic drop of those that there are now. */
int64_t im_conf_step_batches(const struct im_conf *conf);
int64_t im_conf_step_images(const struct im_conf *conf);

/* With --elastic drop, after a change of trainers: what a step is and was, and what that means for the learning rate. */
void im_conf_say_step(const struct im_conf *conf, int64_t ranks_before, struct im_text *ret);

/* With --virtual-ranks, once the number of trainers is known: the order of samples is that of the virtual ranks, and
 * `accumulate` the batches that a trainer takes of a step at most. Once. */
void im_conf_use_virtual_ranks(struct im_conf *conf);

/* From now on `world` trainers take part, of which this machine's are those from first_rank on: each optimiser step keeps
 * its batches, and takes `accumulate` of them from a trainer at most; with --elastic drop a trainer keeps its own. Once for a configuration as it was frozen. */
void im_conf_take_part(struct im_conf *conf, int64_t world, int64_t first_rank);

/* Sizes of validation with 0 resolved. */
int64_t im_conf_eval_image_size(const struct im_conf *conf);
int64_t im_conf_eval_resize(const struct im_conf *conf);

#define IM_CONF_PIXEL_SIDE_MAX 1024 /* of an image that is kept decoded */
/* Whether the run keeps decoded images, in memory; and the short side of those of training with 0 resolved. */
bool im_conf_has_pixel_cache(const struct im_conf *conf);
bool im_conf_pixel_cache_is_memory(const struct im_conf *conf);
int64_t im_conf_pixel_cache_side(const struct im_conf *conf);

/* What one image may take to decode, in MiB: where nobody chose, as much as an image of the default max-pixels
 * takes in the worst of formats, and more. `imsuper start` chooses less on a smaller machine (sizes.h). */
int64_t im_conf_decode_memory_mib(const struct im_conf *conf);

/* Whether --data-dir lies on another machine: http://, https:// or s3://. */
bool im_conf_is_remote(const char *data_dir);

/* Whether such an address may be used: 0, also for a folder, or -EINVAL with a sentence that does not repeat a password. */
int im_conf_check_address(const char *data_dir, struct im_text *text);

/* Bytes of a --cache-size; 0 for auto. -EINVAL, -ERANGE. */
int im_conf_cache_size(const char *s, uint64_t *ret_bytes);
/* The number type that --amp auto means on a GPU of this compute capability (90 is 9.0); 0: a CPU, where bf16 is a
 * choice. */
enum im_conf_amp im_conf_auto_amp(int sm);
/* The number type of the options. auto is fp32: whoever has a GPU chooses before (supervisor/cli/precision.h). */
enum im_conf_amp im_conf_amp(const struct im_conf *conf);

#endif
