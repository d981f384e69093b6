#include "trainer/export/ending.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "ipc/base/count.h"

/* The first format of an ending is the one that it chooses. */
static const struct row {
    const char *ending;
    enum im_conf_export_format format;
} rows[] = {
    {".onnx", IM_EXPORT_ONNX},      {".pt", IM_EXPORT_PT},           {".pth", IM_EXPORT_PT},
    {".pt", IM_EXPORT_TORCHVISION}, {".pth", IM_EXPORT_TORCHVISION}, {".safetensors", IM_EXPORT_SAFETENSORS},
};

static const struct row *ending_find(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');

    for (size_t i = 0; dot && i < IM_COUNT(rows); i++)
        if (strcasecmp(dot, rows[i].ending) == 0)
            return &rows[i];
    return NULL;
}

int tr_ending_choose(struct im_conf *conf, struct im_text *text)
{
    const struct row *chosen = ending_find(conf->output);
    const char *own = "";

    if (!chosen)
        return 0;
    if (conf->origin[IM_KEY_export_format].source == IM_CONF_DEFAULT)
        conf->export_format = (int32_t)chosen->format;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        if ((int)rows[i].format != conf->export_format)
            continue;
        if (strcmp(rows[i].ending, chosen->ending) == 0)
            return 0;
        own = *own ? own : rows[i].ending;
    }
    return im_fail(text, -EINVAL,
                   "-o %.300s: the name says %s, and --format says %s; leave out --format, or give %s%s",
                   conf->output, im_conf_choice(IM_KEY_export_format, (int32_t)chosen->format),
                   im_conf_choice(IM_KEY_export_format, conf->export_format),
                   *own ? "a name that ends in " : "the name of a folder", own);
}

int tr_ending_is_ours(const struct im_conf *conf, const char *verb, struct im_text *text)
{
    const struct row *chosen = ending_find(conf->output);

    if (!chosen || chosen->format == IM_EXPORT_SAFETENSORS)
        return 0;
    return im_fail(text, -EINVAL,
                   "-o %.300s: `imsuper %s` writes safetensors: give a name that ends in .safetensors; "
                   "`imsuper export` writes %s",
                   conf->output, verb, im_conf_choice(IM_KEY_export_format, (int32_t)chosen->format));
}
