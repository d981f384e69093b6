#include "trainer/tools/import.h"

#include <errno.h>
#include <stdio.h>

#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "trainer/export/ending.h"
#include "trainer/export/source.h"
#include "trainer/export/state_dict.h"
#include "trainer/tools/said.h"

static void import_print_text(const struct tr_source *s, const char *path)
{
    im_say(stdout, "%s: %s with %d classes, %d tensors of %s", path, s->model->name, s->model->classes,
           s->model->tensor_count, s->path);
    im_say(stdout, "%s", s->note.s[0] ? s->note.s : "all names are those used here");
    if (!s->classes)
        im_say(stdout, "the classes have no names there: --class-names FILE gives them, one a line");
    tr_say_input(s);
    tr_say_unsaid(s);
}

static int import_print_json(const struct tr_source *s, const char *path)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.import/1");
    im_json_set_str(j, "file", path);
    im_json_set_str(j, "from", s->path);
    im_json_set_str(j, "model", s->model->name);
    im_json_set_int(j, "classes", s->model->classes);
    im_json_set_bool(j, "class_names", s->classes != NULL);
    im_json_set_int(j, "tensors", s->model->tensor_count);
    im_json_set_str(j, "note", s->note.s);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int tr_cmd_import(struct im_conf *conf)
{
    struct im_text text = {""};
    struct tr_source s = {.model = NULL};
    int err = tr_ending_is_ours(conf, "import", &text);

    if (err < 0) {
        im_command_fail(err, &text);
        return IM_EXIT_USAGE;
    }
    err = im_output_find_file(conf->output, sizeof conf->output, &text);
    if (err == 0)
        err = tr_source_open(&s, conf, conf->weights_from, &text);
    if (err == 0)
        err = tr_state_dict_write(conf->output, &s, TR_HEAD_AS_IT_IS, NULL, &text);
    if (err == 0 && conf->json)
        err = import_print_json(&s, conf->output);
    else if (err == 0)
        import_print_text(&s, conf->output);
    tr_source_close(&s);
    return err < 0 ? im_command_fail(err == -ENOENT ? IM_EXIT_UNKNOWN_RUN : err, &text) : IM_EXIT_OK;
}
