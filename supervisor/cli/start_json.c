#include "supervisor/cli/start_json.h"

#include <stdio.h>

#include "ipc/base/json.h"
#include "supervisor/cli/header.h"
#include "supervisor/report/event.h"

static void print(struct im_json *j)
{
    im_json_print(j, stdout);
    im_json_free(&j);
}

void sv_start_say_prepared(const struct im_conf *c, const struct sv_dataset *data, uint64_t shared_bytes,
                           const char *precision)
{
    struct im_json *j = sv_event_json("run.prepared", c->run_name, c->run_dir);
    char text[4096];

    im_json_set_str(j, "version", IMSUPER_VERSION);
    im_json_set_bool(j, "dry_run", c->dry_run);
    im_json_set_str(j, "start", sv_header_origin(c, text, sizeof text));
    im_json_set_str(j, "data_dir", c->data_dir);
    im_json_set_str(j, "layout", data->layout);
    im_json_set_int(j, "train_images", (int64_t)data->samples[IM_TRAIN]);
    im_json_set_int(j, "val_images", (int64_t)data->samples[IM_VAL]);
    im_json_set_int(j, "classes", data->classes);
    im_json_set_str(j, "augment", sv_header_augment(c, text, sizeof text));
    im_json_set_str(j, "model", im_conf_choice(IM_KEY_model, c->model));
    im_json_set_str(j, "precision", precision);
    im_json_set_int(j, "epochs", c->epochs);
    im_json_set_int(j, "batch_size", c->batch_size);
    im_json_set_int(j, "image_size", c->image_size);
    im_json_set_int(j, "step_images", im_conf_step_images(c));
    im_json_set_str(j, "optimizer", im_conf_choice(IM_KEY_opt, c->opt));
    im_json_set_real(j, "lr", c->lr);
    im_json_set_int(j, "readers", c->readers);
    im_json_set_int(j, "augmenters", c->augmenters);
    im_json_set_int(j, "trainers", c->ranks);
    im_json_set_int(j, "trainer_threads", c->trainer_threads);
    im_json_set_int(j, "shared_memory_bytes", (int64_t)shared_bytes);
    im_json_set_str(j, "seed",
                    snprintf(text, sizeof text, "%llu", (unsigned long long)c->seed) > 0 ? text : "");
    if (c->dry_run)
        im_json_set(j, "options", im_conf_values(c, IM_FOR_START, -1));
    print(j);
}

void sv_start_say_done(const struct im_conf *c)
{
    struct im_json *j = sv_event_json("run.finished", c->run_name, c->run_dir);

    im_json_set_int(j, "exit_status", 0);
    im_json_set_bool(j, "already", true);
    print(j);
}
