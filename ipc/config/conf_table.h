/* Private to conf*.c: the option table as data, and setting with the words for errors. */
#ifndef IPC_CONFIG_CONF_TABLE_H
#define IPC_CONFIG_CONF_TABLE_H

#include "ipc/config/conf.h"

enum im_conf_kind { IM_CONF_BOOL, IM_CONF_INT, IM_CONF_SEED, IM_CONF_REAL, IM_CONF_TEXT, IM_CONF_ENUM };

struct im_conf_key {
    const char *name;
    const char *metavar;
    const char *help;
    const char *const *choices; /* NULL-terminated; of IM_CONF_ENUM */
    size_t offset;              /* in struct im_conf */
    int64_t int_min, int_max;   /* of IM_CONF_INT */
    double real_min, real_max;  /* of IM_CONF_REAL */
    enum im_conf_kind kind;
    enum im_conf_group group;
    im_conf_commands commands;
};

extern const struct im_conf_key im_conf_keys[IM_KEY_COUNT];
extern const char *const im_conf_groups[IM_GROUP_COUNT];

/* A value on its way in: where it came from, for the origin and for sentences. */
struct im_conf_place {
    enum im_conf_source source;
    const char *file; /* NULL: none */
    int line;
    const char *written; /* the name as the user wrote it: "--lr", "IMSUPER_LR" */
};

enum { IM_CONF_NAME_BYTES = 64 };

/* Makes a key's form of a written name: _ and . become -, upper case lower. False when it is too long
 * to be one. */
bool im_conf_normal(const char *written, char name[IM_CONF_NAME_BYTES]);

/* The key of a normal name, or of another trainer's name for it (then *ret_value may be the value it stands
 * for). -1: none. */
int im_conf_find(const char *name, const char **ret_value);

/* The same among the keys that one of `commands` uses: a short flag may mean another key
 * to another command. */
int im_conf_find_for(im_conf_commands commands, const char *name, const char **ret_value);

/* im_conf_check()'s part about images of another machine. */
int im_conf_check_remote(const struct im_conf *conf, struct im_text *text);
int im_conf_check_pixel_cache(const struct im_conf *conf, struct im_text *text);

/* im_conf_check()'s part about the aug keys. */
int im_conf_check_transforms(const struct im_conf *conf, struct im_text *text);

/* Its part about the learning-rate schedule. */
int im_conf_check_schedule(const struct im_conf *conf, struct im_text *text);

/* Its part about resize-schedule. */
int im_conf_check_resize(const struct im_conf *conf, struct im_text *text);

/* Its part about what a step of training does. */
int im_conf_check_optimizer(const struct im_conf *conf, struct im_text *text);

/* Its part about what of the network is trained. */
int im_conf_check_finetune(const struct im_conf *conf, struct im_text *text);

/* Its part about images with several labels. */
int im_conf_check_multi_label(const struct im_conf *conf, struct im_text *text);

/* Its part about flags that would do nothing. */
int im_conf_check_idle(const struct im_conf *conf, struct im_text *text);

/* -EINVAL with "PLACE: unknown KIND X; did you mean Y?" or the hint for a name that means
 * something else here. Y is an option of one of `commands`. */
int im_conf_unknown(const char *name, im_conf_commands commands, const struct im_conf_place *place,
                    struct im_text *text);

/* The nearest name of a key of one of these commands, or NULL. */
const char *im_conf_near(const char *name, im_conf_commands commands);

/* What a command line said beside the options' values. */
struct im_conf_said {
    const char *lr, *max_lr;                          /* the values of these flags; NULL: not given */
    struct im_text notes;                             /* what was ignored, or chosen because of a flag */
    char given[IM_KEY_COUNT][IM_CONF_NAME_BYTES + 8]; /* the flag that set this key, as written; "": none */
};

/* A flag of other trainers for which nothing is to do: how many words it takes, 0: it is none. */
int im_conf_ignored(struct im_conf_said *said, const char *name, const char *written, bool has_value,
                    const char *next);

/* The same of a name: why nothing is to do, or NULL. */
const char *im_conf_why_ignored(const char *name);

/* 1 for an argument of blanks, which a \ with a blank behind it makes; -EINVAL where such a one has cut the command. */
int im_conf_blank(struct im_conf_said *said, const char *argument, bool is_last, struct im_text *text);

/* Notes a flag that was taken, under the normal form of the name that was written. */
void im_conf_said_flag(struct im_conf *conf, struct im_conf_said *said, const char *name, const char *value);

/* Notes two flags of one key with different values. */
void im_conf_said_twice(struct im_conf_said *said, const char *first, const char *second, const char *before,
                        const char *now);

/* After the last flag: --max-lr and options of one schedule choose it, where nothing else chose a schedule. */
void im_conf_finish_flags(struct im_conf *conf, im_conf_commands commands, struct im_conf_said *said);

/* Parses and stores. */
int im_conf_put(struct im_conf *conf, int key, const char *value, const struct im_conf_place *place,
                struct im_text *text);

/* The one-letter name of a key for these commands, or 0. */
char im_conf_letter(im_conf_commands commands, const char *name);

/* `start` without images, config or recipe, but with the name of a run, or --resume: loads that run's options, and says so
 * in `note`. */
int im_conf_load_again(struct im_conf *conf, const struct im_conf *first, im_conf_commands commands,
                       struct im_text *note, struct im_text *text);

/* What the option does for these commands. */
const char *im_conf_help_of(im_conf_commands commands, int key);

/* " (auto|uring|pread; default auto)", " (default 64; 1 to 1024)" or nothing, into s, which is empty. */
void im_conf_limits(const struct im_conf *defaults, int key, char *s, size_t room);

#endif
