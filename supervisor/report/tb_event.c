/* The messages are those of tensorboard.proto; protobuf-c writes them. */
#include "supervisor/report/tb_event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorboard.pb-c.h>

#include "ipc/base/count.h"

static void append(struct sv_records *r, const ImTb__Event *e)
{
    const size_t n = im_tb__event__get_packed_size(e);
    unsigned char *to = sv_record_begin(r, n);

    if (!to)
        return;
    im_tb__event__pack(e, to);
    sv_record_end(r, n);
}

void sv_tb_begin(struct sv_records *r, double time)
{
    char version[] = "brain.Event:2";
    ImTb__SessionLog start = IM_TB__SESSION_LOG__INIT;
    ImTb__Event e = IM_TB__EVENT__INIT;

    e.wall_time = time;
    e.what_case = IM_TB__EVENT__WHAT_FILE_VERSION;
    e.file_version = version;
    append(r, &e);
    start.status = IM_TB__SESSION_LOG__STATUS__START;
    e.what_case = IM_TB__EVENT__WHAT_SESSION_LOG;
    e.session_log = &start;
    append(r, &e);
}

static void append_values(struct sv_records *r, double time, int64_t step, ImTb__Summary__Value **values,
                          size_t count)
{
    ImTb__Summary summary = IM_TB__SUMMARY__INIT;
    ImTb__Event e = IM_TB__EVENT__INIT;

    summary.value = values;
    summary.n_value = count;
    e.wall_time = time;
    e.step = step;
    e.what_case = IM_TB__EVENT__WHAT_SUMMARY;
    e.summary = &summary;
    append(r, &e);
}

void sv_tb_scalars(struct sv_records *r, double time, int64_t step, const struct sv_tb_scalar *scalar,
                   size_t count)
{
    ImTb__Summary__Value value[SV_TB_SCALARS], *values[SV_TB_SCALARS];

    for (size_t i = 0; i < count; i++) {
        im_tb__summary__value__init(&value[i]);
        value[i].tag = (char *)scalar[i].tag;
        value[i].value_case = IM_TB__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
        value[i].simple_value = (float)scalar[i].value;
        values[i] = &value[i];
    }
    if (count > 0)
        append_values(r, time, step, values, count);
}

static void set_plugin(ImTb__Summary__Value *value, ImTb__Metadata *metadata,
                       ImTb__Metadata__PluginData *plugin, char *name)
{
    im_tb__metadata__init(metadata);
    im_tb__metadata__plugin_data__init(plugin);
    plugin->plugin_name = name;
    metadata->plugin_data = plugin;
    value->metadata = metadata;
}

static void append_text(struct sv_records *r, double time, char *tag, char *text)
{
    char plugin_name[] = "text";
    ProtobufCBinaryData string = {strlen(text), (uint8_t *)text};
    ImTb__Tensor__Shape shape = IM_TB__TENSOR__SHAPE__INIT;
    ImTb__Tensor tensor = IM_TB__TENSOR__INIT;
    ImTb__Metadata metadata;
    ImTb__Metadata__PluginData plugin;
    ImTb__Summary__Value value = IM_TB__SUMMARY__VALUE__INIT, *values[] = {&value};

    tensor.dtype = IM_TB__TENSOR__TYPE__STRING;
    tensor.tensor_shape = &shape;
    tensor.n_string_val = 1;
    tensor.string_val = &string;
    value.tag = tag;
    value.value_case = IM_TB__SUMMARY__VALUE__VALUE_TENSOR;
    value.tensor = &tensor;
    set_plugin(&value, &metadata, &plugin, plugin_name);
    append_values(r, time, 0, values, 1);
}

static bool is_chosen(const struct sv_option *o)
{
    return strcmp(o->source, "default") != 0 && sv_option_matters(o->name);
}

/* As its type: a number, true or false, or a text. */
static void set_constant(ImTb__Constant *c, const char *value)
{
    char *end;
    double number = strtod(value, &end);

    im_tb__constant__init(c);
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
        c->kind_case = IM_TB__CONSTANT__KIND_BOOL_VALUE;
        c->bool_value = *value == 't';
    } else if (*value && !*end) {
        c->kind_case = IM_TB__CONSTANT__KIND_NUMBER_VALUE;
        c->number_value = number;
    } else {
        c->kind_case = IM_TB__CONSTANT__KIND_STRING_VALUE;
        c->string_value = (char *)value;
    }
}

static void append_hparams(struct sv_records *r, double time, ImTb__SessionStart__Entry **entries,
                           size_t count)
{
    char plugin_name[] = "hparams", tag[] = "_hparams_/session_start_info";
    ImTb__SessionStart start = IM_TB__SESSION_START__INIT;
    ImTb__Hparams hparams = IM_TB__HPARAMS__INIT;
    ImTb__Metadata metadata;
    ImTb__Metadata__PluginData plugin;
    ImTb__Summary__Value value = IM_TB__SUMMARY__VALUE__INIT, *values[] = {&value};
    unsigned char *content;
    size_t n;

    start.hparams = entries;
    start.n_hparams = count;
    start.start_time_secs = time;
    hparams.data_case = IM_TB__HPARAMS__DATA_SESSION_START_INFO;
    hparams.session_start_info = &start;
    n = im_tb__hparams__get_packed_size(&hparams);
    content = malloc(n + 1);
    r->failed |= !content;
    if (!content)
        return;
    im_tb__hparams__pack(&hparams, content);
    value.tag = tag;
    set_plugin(&value, &metadata, &plugin, plugin_name);
    plugin.content = (ProtobufCBinaryData){n, content};
    append_values(r, time, 0, values, 1);
    free(content);
}

/* The options of a table in Markdown; `|` would end a cell. */
static char *make_table(const struct sv_options *options)
{
    char *s = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&s, &n);

    if (!f)
        return NULL;
    fputs("| option | value | from |\n|---|---|---|\n", f);
    for (size_t i = 0; i < options->count; i++) {
        const struct sv_option *o = &options->option[i];

        fprintf(f, "| %s | ", o->name);
        for (const char *c = o->value; *c; c++)
            fprintf(f, *c == '|' ? "\\%c" : "%c", *c);
        fprintf(f, " | %s |\n", o->source);
    }
    if (fclose(f) == 0)
        return s;
    free(s);
    return NULL;
}

void sv_tb_options(struct sv_records *r, double time, const struct sv_options *options)
{
    ImTb__SessionStart__Entry *entry = calloc(options->count + 1, sizeof *entry);
    ImTb__SessionStart__Entry **entries = calloc(options->count + 1, sizeof *entries);
    ImTb__Constant *constant = calloc(options->count + 1, sizeof *constant);
    char tag[] = "configuration", *table = make_table(options);
    size_t count = 0;

    r->failed |= !entry || !constant || !entries || !table;
    for (size_t i = 0; !r->failed && i < options->count; i++) {
        const struct sv_option *o = &options->option[i];

        if (!is_chosen(o))
            continue;
        im_tb__session_start__entry__init(&entry[count]);
        set_constant(&constant[count], o->value);
        entry[count].key = (char *)o->name;
        entry[count].value = &constant[count];
        entries[count] = &entry[count];
        count++;
    }
    if (!r->failed)
        append_hparams(r, time, entries, count);
    if (!r->failed)
        append_text(r, time, tag, table);
    free(entries);
    free(entry);
    free(constant);
    free(table);
}

void sv_tb_histogram(struct sv_records *r, double time, int64_t step, const char *tag,
                     const struct sv_tb_histogram *h)
{
    ImTb__Histogram histo = IM_TB__HISTOGRAM__INIT;
    ImTb__Summary__Value value = IM_TB__SUMMARY__VALUE__INIT, *values[] = {&value};

    histo.min = h->min;
    histo.max = h->max;
    histo.num = h->count;
    histo.sum = h->sum;
    histo.sum_squares = h->squares;
    histo.n_bucket = histo.n_bucket_limit = SV_TB_BUCKETS;
    histo.bucket_limit = (double *)h->limit;
    histo.bucket = (double *)h->bucket;
    value.tag = (char *)tag;
    value.value_case = IM_TB__SUMMARY__VALUE__VALUE_HISTO;
    value.histo = &histo;
    append_values(r, time, step, values, 1);
}

static int32_t big_endian(const unsigned char *at)
{
    return (int32_t)((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

void sv_tb_image(struct sv_records *r, double time, int64_t step, const char *tag, const void *png, size_t n)
{
    static const unsigned char begin[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const unsigned char *bytes = png;
    ImTb__Image image = IM_TB__IMAGE__INIT;
    ImTb__Summary__Value value = IM_TB__SUMMARY__VALUE__INIT, *values[] = {&value};

    if (n < sizeof begin + 16 || memcmp(bytes, begin, sizeof begin) != 0)
        return;
    image.width = big_endian(bytes + 16); /* of the first chunk */
    image.height = big_endian(bytes + 20);
    image.colorspace = 3;
    image.encoded_image_string = (ProtobufCBinaryData){n, (uint8_t *)png};
    value.tag = (char *)tag;
    value.value_case = IM_TB__SUMMARY__VALUE__VALUE_IMAGE;
    value.image = &image;
    append_values(r, time, step, values, 1);
}

bool sv_tb_is_kept(const unsigned char *record, size_t n, int64_t last)
{
    ImTb__Event *e = im_tb__event__unpack(NULL, n, record);
    bool kept = false;

    if (e && e->what_case == IM_TB__EVENT__WHAT_SUMMARY && e->step <= last)
        for (size_t i = 0; i < e->summary->n_value; i++)
            kept |= e->summary->value[i]->value_case == IM_TB__SUMMARY__VALUE__VALUE_HISTO;
    if (e)
        im_tb__event__free_unpacked(e, NULL);
    return kept;
}
