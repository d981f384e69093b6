/* What `imsuper export` writes: ONNX files compute what the network does, .pt files hold the same tensors, and a file of
 * weights says which network it is of. tests/golden/check_export.py compares with torch, timm and onnxruntime. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"
#include "tests/unit/trainer/export/onnx_run.h"
#include "trainer/checkpoint/torch_file.h"
#include "trainer/export/average.h"
#include "trainer/export/ending.h"
#include "trainer/export/identify.h"
#include "trainer/export/onnx.h"
#include "trainer/export/prove.h"
#include "trainer/export/state_dict.h"
#include "trainer/export/timm.h"
#include "trainer/export/torch_write.h"
#include "trainer/network/network.h"

static char folder[] = "/tmp/imsuper-export-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {
        "f.onnx",        "u.onnx",        "w.pt",          "w.safetensors",
        "a.safetensors", "b.safetensors", "p.safetensors", "p.safetensors.proof.json"};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(names); i++)
        unlink(in_folder(names[i]));
    return rmdir(folder);
}

static void describe(struct tr_source *s, const struct tr_model_config *config)
{
    struct im_text text = {""};

    *s = (struct tr_source){
        .size = 32, .resize = 37, .tracked = 5, .mean = {0.5, 0.4, 0.3}, .std = {0.2, 0.3, 0.4}};
    im_conf_defaults(&s->conf);
    snprintf(s->conf.mean, sizeof s->conf.mean, "0.5,0.4,0.3");
    snprintf(s->conf.std, sizeof s->conf.std, "0.2,0.3,0.4");
    if (tr_model_new(config, &s->model, &text) < 0)
        fail_msg("%s", text.s);
    s->params = calloc(s->model->param_floats, sizeof *s->params);
    s->stats = calloc(s->model->stat_floats, sizeof *s->stats);
}

/* From -1 to 1, and cheap: a network has millions. */
static float next(uint32_t *r)
{
    *r = *r * 1664525 + 1013904223;
    return (float)(*r >> 8) / (float)(1 << 23) - 1;
}

/* A network whose values keep their size from layer to layer, and whose batch norms have been at work. */
static void draw(struct tr_source *s, const struct tr_model_config *config)
{
    uint32_t r = 3;

    describe(s, config);
    for (int i = 0; i < s->model->tensor_count; i++) {
        const struct tr_param_tensor *t = &s->model->tensors[i];
        float *values = (tr_tensor_home(t) == TR_HOME_STATS ? s->stats : s->params) + t->offset;
        const float middle = t->kind == TR_TENSOR_BN_WEIGHT || t->kind == TR_TENSOR_BN_VAR ? 1 : 0;
        const float width = t->rank > 1 ? sqrtf(6 * (float)t->shape[0] / (float)t->count) : 0.3F;

        for (size_t k = 0; k < t->count && t->rank > 0; k++)
            values[k] = middle + width * next(&r);
    }
}

/* The network's own answer to one image, and the same image normalised. */
static void evaluate(const struct tr_source *s, float *planes, float *logits)
{
    struct tr_network_config config = {.model = s->model->name,
                                       .stem = s->model->stem,
                                       .head = s->model->head,
                                       .blurpool = s->model->blurpool,
                                       .classes = s->model->classes,
                                       .backend = "ref",
                                       .threads = 1};
    unsigned char *pixels = malloc((size_t)s->size * s->size * 3), valid = 1;
    struct tr_batch batch = {
        .pixels = pixels, .labels = &(int32_t){0}, .valid = &valid, .n = 1, .size = (int)s->size};
    struct im_text text = {""};
    struct tr_network *net = NULL;
    struct tr_tally tally;

    for (int c = 0; c < 3; c++) {
        config.mean[c] = (float)s->mean[c];
        config.std[c] = (float)s->std[c];
    }
    for (size_t i = 0; i < (size_t)s->size * s->size * 3; i++) {
        pixels[i] = (unsigned char)((uint32_t)i * UINT32_C(2654435761) >> 24);
        planes[i % 3 * s->size * s->size + i / 3] =
            (float)((pixels[i] / 255.0 - s->mean[i % 3]) / s->std[i % 3]);
    }
    if (tr_network_new(&config, &net, &text) < 0 || tr_network_write(net, TR_ARENA_PARAMS, s->params) < 0 ||
        tr_network_write(net, TR_ARENA_STATS, s->stats) < 0 ||
        tr_network_evaluate(net, &batch, false, logits, &tally, &text) < 0)
        fail_msg("%s", text.s);
    tr_network_free(net);
    free(pixels);
}

static void compare(const char *what, const float *got, const float *want, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-4F * fmaxf(1, fabsf(want[i]))))
            fail_msg("%s: logit %d is %g, the network's is %g", what, i, (double)got[i], (double)want[i]);
}

static void an_onnx_file_computes_what_the_network_does(void **state)
{
    static const struct tr_model_config configs[] = {
        {.name = "resnet20", .classes = 7},
        {.name = "resnet18", .classes = 5, .blurpool = TR_BLURPOOL_ZHANG, .drop_path_rate = 0.1},
        {.name = "resnet32", .classes = 1, .head = TR_HEAD_CONV, .blurpool = TR_BLURPOOL_FFCV},
        {.name = "resnet50", .classes = 3},
        {.name = "resnetv2_18", .classes = 4, .head = TR_HEAD_FC, .blurpool = TR_BLURPOOL_ZHANG},
        {.name = "airbench94", .classes = 6},
    };
    float planes[3 * 32 * 32], logits[8];

    (void)state;
    for (size_t i = 0; i < IM_COUNT(configs); i++) {
        struct im_text text = {""};
        struct tr_source s;
        size_t bn_count = 0;

        draw(&s, &configs[i]);
        s.size = s.model->stem == TR_STEM_SMALL && !s.model->whitens ? 8 : 32;
        evaluate(&s, planes, logits);
        for (int k = 0; k < s.model->layer_count; k++)
            bn_count += s.model->layers[k].kind == TR_OP_BN;
        for (int fold = 0; fold < 2; fold++) {
            struct onnx_run *r;
            const char *path = in_folder("f.onnx");

            if (tr_onnx_export(path, &s, TR_ONNX_NORMALISED, fold, &text) < 0)
                fail_msg("%s", text.s);
            r = onnx_run_open(path);
            assert_true(fold ? onnx_run_count(r, "BatchNormalization") < bn_count
                             : onnx_run_count(r, "BatchNormalization") == bn_count);
            compare(configs[i].name,
                    onnx_run(r, "input", planes, (int)s.size, "logits", (size_t)configs[i].classes), logits,
                    configs[i].classes);
            assert_string_equal(onnx_run_metadata(r, "model"), configs[i].name);
            assert_string_equal(onnx_run_metadata(r, "mean"), "0.5,0.4,0.3");
            onnx_run_close(r);
        }
        tr_source_close(&s);
    }
}

/* Each class is a question of its own: onnxruntime refuses a Sigmoid with Softmax's axis. */
static void several_labels_have_a_sigmoid(void **state)
{
    const struct tr_model_config config = {.name = "resnet20", .classes = 3};
    float planes[3 * 32 * 32], logits[8], wanted[8];
    struct im_text text = {""};
    struct onnx_run *r;
    struct tr_source s;

    (void)state;
    draw(&s, &config);
    s.size = 8;
    s.conf.multi_label = true;
    evaluate(&s, planes, logits);
    for (int i = 0; i < 3; i++)
        wanted[i] = 1 / (1 + expf(-logits[i]));
    if (tr_onnx_export(in_folder("s.onnx"), &s, TR_ONNX_NORMALISED, true, &text) < 0)
        fail_msg("%s", text.s);
    r = onnx_run_open(in_folder("s.onnx"));
    assert_int_equal(onnx_run_count(r, "Sigmoid"), 1);
    assert_int_equal(onnx_run_count(r, "Softmax"), 0);
    compare("probabilities", onnx_run(r, "input", planes, 8, "probabilities", 3), wanted, 3);
    assert_string_equal(onnx_run_metadata(r, "multi-label"), "true");
    onnx_run_close(r);
    tr_source_close(&s);
}

/* The numbers of nodes are those of the crop's formula; onnxruntime runs it in tests/golden/check_export.py. */
static void preprocessing_is_in_front_of_the_same_graph(void **state)
{
    const struct tr_model_config config = {.name = "resnet20", .classes = 2};
    struct im_text text = {""};
    struct tr_source s;

    (void)state;
    describe(&s, &config);
    s.classes = im_json_array();
    im_json_append_str(s.classes, "cat");
    im_json_append_str(s.classes, "d\"og");
    for (s.resize = 30; s.resize <= 37; s.resize += 7) {
        struct onnx_run *r;

        assert_int_equal(tr_onnx_export(in_folder("u.onnx"), &s, TR_ONNX_PIXELS, true, &text), 0);
        r = onnx_run_open(in_folder("u.onnx"));
        assert_int_equal(onnx_run_count(r, "Resize"), 1);
        assert_int_equal(onnx_run_count(r, "Slice"), 1);
        assert_int_equal(onnx_run_count(r, "Pad"), s.resize < s.size);
        assert_int_equal(onnx_run_count(r, "Conv"), 21);
        assert_string_equal(onnx_run_metadata(r, "classes"), "[\"cat\",\"d\\\"og\"]");
        assert_string_equal(onnx_run_metadata(r, "eval-resize"), s.resize == 30 ? "30" : "37");
        onnx_run_close(r);
    }
    tr_source_close(&s);
}

/* A safetensors file in memory. */
struct memory {
    char *bytes;
    size_t n;
};

static int keep(void *context, const void *bytes, size_t n, struct im_text *text)
{
    struct memory *m = context;

    (void)text;
    m->bytes = realloc(m->bytes, m->n + n);
    memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
    return 0;
}

static void a_pt_file_holds_the_same_tensors_on_whole_lines(void **state)
{
    const struct tr_model_config config = {.name = "resnet20", .classes = 300};
    struct im_text text = {""};
    struct memory m = {NULL, 0};
    const struct tr_sink sink = {&m, keep};
    struct tr_safetensors *file = NULL;
    struct tr_source s;
    struct tr_tensor *list;
    char *bytes;
    size_t count, n, own;

    (void)state;
    draw(&s, &config);
    s.tracked = INT64_C(5000000000);
    list = tr_state_dict(&s, TR_HEAD_1X1, &count);
    if (tr_torch_write(in_folder("w.pt"), list, count, &text) == -ENOTSUP)
        skip();
    assert_int_equal(im_read_file(in_folder("w.pt"), 1 << 26, &bytes, &n, &text), 0);
    assert_true(tr_torch_is(bytes, n));
    if (tr_torch_convert(bytes, n, &sink, &text) < 0 ||
        tr_safetensors_take("w.pt", m.bytes, m.n, &file, &text) < 0)
        fail_msg("%s", text.s);
    assert_int_equal(tr_safetensors_count(file), count);
    for (size_t i = 0; i < count; i++) {
        const struct tr_tensor *t = tr_safetensors_find(file, list[i].name);

        assert_non_null(t);
        assert_int_equal(t->dtype, list[i].dtype);
        assert_int_equal(t->rank, list[i].rank);
        assert_int_equal(tr_tensor_bytes(t, &own), 0);
        assert_memory_equal(t->data, list[i].data, own);
        /* As torch.load(mmap=True) takes them: at a multiple of 64. */
        if (own > 64)
            assert_int_equal(((char *)memmem(bytes, n, list[i].data, own) - bytes) % 64, 0);
    }
    tr_safetensors_close(&file);
    free(bytes);
    free(list);
    tr_source_close(&s);
}

static void a_file_says_which_network_it_is_of(void **state)
{
    static const struct tr_model_config configs[] = {
        {.name = "resnet20", .classes = 16},   {.name = "resnet44", .classes = 64},
        {.name = "resnet18", .classes = 512},  {.name = "resnet18", .classes = 2, .stem = TR_STEM_SMALL},
        {.name = "resnet32", .classes = 1},    {.name = "resnetv2_18", .classes = 1000, .head = TR_HEAD_FC},
        {.name = "airbench94", .classes = 10},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(configs); i++) {
        struct tr_model_config found = {.name = NULL};
        struct im_text text = {""};
        struct tr_safetensors *file = NULL;
        struct tr_source s;

        describe(&s, &configs[i]);
        assert_int_equal(tr_state_dict_write(in_folder("w.safetensors"), &s, TR_HEAD_AS_IT_IS, NULL, &text),
                         0);
        assert_int_equal(tr_safetensors_open(in_folder("w.safetensors"), &file, &text), 0);
        if (tr_identify(file, &found, &text) < 0)
            fail_msg("%s: %s", configs[i].name, text.s);
        assert_string_equal(found.name, configs[i].name);
        assert_int_equal(found.classes, configs[i].classes);
        assert_int_equal(found.stem == TR_STEM_SMALL, configs[i].stem == TR_STEM_SMALL);
        found = (struct tr_model_config){.name = "resnet50"};
        assert_int_equal(tr_identify(file, &found, &text), -EBADMSG);
        assert_non_null(strstr(text.s, configs[i].name));
        tr_safetensors_close(&file);
        tr_source_close(&s);
    }
}

/* Written, opened as the user's file, and written again: the same bytes. */
static void a_file_of_ours_describes_itself(void **state)
{
    const struct tr_model_config config = {.name = "resnet18", .classes = 2, .blurpool = TR_BLURPOOL_ZHANG};
    struct im_text text = {""};
    struct tr_source s, again;
    struct im_conf conf;
    char *bytes[2], room[16];
    size_t n[2];

    (void)state;
    describe(&s, &config);
    s.classes = im_json_array();
    im_json_append_str(s.classes, "cat");
    im_json_append_str(s.classes, "dog");
    assert_int_equal(tr_state_dict_write(in_folder("a.safetensors"), &s, TR_HEAD_AS_IT_IS, NULL, &text), 0);
    im_conf_defaults(&conf);
    if (tr_source_open(&again, &conf, in_folder("a.safetensors"), &text) < 0)
        fail_msg("%s", text.s);
    assert_string_equal(again.model->name, "resnet18");
    assert_int_equal(again.model->blurpool, TR_BLURPOOL_ZHANG);
    assert_int_equal(again.size, 32);
    assert_int_equal(again.resize, 37);
    assert_string_equal(tr_source_class(&again, 1, room), "dog");
    assert_int_equal(im_read_file(in_folder("a.safetensors"), 1 << 28, &bytes[0], &n[0], &text), 0);
    assert_int_equal(tr_state_dict_write(in_folder("b.safetensors"), &again, TR_HEAD_AS_IT_IS, NULL, &text),
                     0);
    assert_int_equal(im_read_file(in_folder("b.safetensors"), 1 << 28, &bytes[1], &n[1], &text), 0);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
    tr_source_close(&again);
    tr_source_close(&s);
}

/* Defaults that were written would pass for what the weights were trained with. */
static void what_nobody_has_said_is_not_written(void **state)
{
    const struct tr_model_config config = {.name = "resnet20", .classes = 2};
    static const enum im_conf_key_id keys[] = {IM_KEY_mean, IM_KEY_std, IM_KEY_eval_image_size,
                                               IM_KEY_eval_resize};
    struct im_text text = {""};
    struct tr_safetensors *file;
    struct tr_source s, again;
    struct im_conf conf;

    (void)state;
    describe(&s, &config);
    s.unsaid_colors = s.unsaid_size = true;
    assert_int_equal(tr_state_dict_write(in_folder("a.safetensors"), &s, TR_HEAD_AS_IT_IS, NULL, &text), 0);
    tr_source_close(&s);
    assert_int_equal(tr_safetensors_open(in_folder("a.safetensors"), &file, &text), 0);
    for (size_t i = 0; i < IM_COUNT(keys); i++)
        assert_null(tr_safetensors_metadata(file, im_conf_name(keys[i])));
    tr_safetensors_close(&file);
    for (int said = 0; said < 2; said++) {
        im_conf_defaults(&conf);
        if (said) {
            assert_int_equal(im_conf_set(&conf, "mean", "0.5,0.5,0.5", &text), 0);
            assert_int_equal(im_conf_set(&conf, "std", "0.2,0.2,0.2", &text), 0);
            assert_int_equal(im_conf_set(&conf, "image-size", "24", &text), 0);
        }
        if (tr_source_open(&again, &conf, in_folder("a.safetensors"), &text) < 0)
            fail_msg("%s", text.s);
        assert_int_equal(again.unsaid_colors, !said);
        assert_int_equal(again.unsaid_size, !said);
        tr_source_close(&again);
    }
}

static void an_ending_chooses_the_format(void **state)
{
    static const struct {
        const char *name, *format; /* NULL: nobody has chosen one */
        int becomes;               /* -1: refused */
    } cases[] = {
        {"a.onnx", NULL, IM_EXPORT_ONNX},
        {"a.pt", NULL, IM_EXPORT_PT},
        {"a.PTH", NULL, IM_EXPORT_PT},
        {"a.b.safetensors", NULL, IM_EXPORT_SAFETENSORS},
        {"a.bin", NULL, IM_EXPORT_ONNX},
        {"x.pt/model", NULL, IM_EXPORT_ONNX},
        {"a.bin", "pt", IM_EXPORT_PT},
        {"a.pth", "torchvision", IM_EXPORT_TORCHVISION},
        {"a.pt", "torchvision", IM_EXPORT_TORCHVISION},
        {"folder", "timm", IM_EXPORT_TIMM},
        {"a.onnx", "pt", -1},
        {"a.pt", "onnx", -1},
        {"a.safetensors", "torchvision", -1},
        {"a.onnx", "timm", -1},
    };
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        im_conf_defaults(&conf);
        snprintf(conf.output, sizeof conf.output, "%s", cases[i].name);
        if (cases[i].format)
            assert_int_equal(im_conf_set(&conf, "format", cases[i].format, &text), 0);
        assert_int_equal(tr_ending_choose(&conf, &text), cases[i].becomes < 0 ? -EINVAL : 0);
        if (cases[i].becomes >= 0)
            assert_int_equal(conf.export_format, cases[i].becomes);
        assert_int_equal(tr_ending_is_ours(&conf, "import", &text),
                         strstr(cases[i].name, ".safetensors") || strstr(cases[i].name, "bin") ||
                                 !strchr(cases[i].name, '.') || strchr(cases[i].name, '/')
                             ? 0
                             : -EINVAL);
    }
}

static void what_a_library_lacks_is_refused(void **state)
{
    static const struct {
        struct tr_model_config config;
        const char *timm, *torchvision;
    } cases[] = {
        {{.name = "resnet50", .classes = 2}, "resnet50", "resnet50"},
        {{.name = "resnet50", .classes = 2, .blurpool = TR_BLURPOOL_ZHANG}, "resnetblur50", NULL},
        {{.name = "resnet34", .classes = 2, .blurpool = TR_BLURPOOL_ZHANG}, NULL, NULL},
        {{.name = "resnet18", .classes = 2, .blurpool = TR_BLURPOOL_FFCV}, NULL, NULL},
        {{.name = "resnet18", .classes = 2, .stem = TR_STEM_SMALL}, NULL, NULL},
        {{.name = "resnetv2_101", .classes = 2}, "resnetv2_101", NULL},
        {{.name = "resnet20", .classes = 2}, NULL, NULL},
        {{.name = "airbench94", .classes = 2}, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct tr_model *m = NULL;
        enum tr_head_shape shape;
        const char *name;

        assert_int_equal(tr_model_new(&cases[i].config, &m, &text), 0);
        name = tr_timm_name(m, &shape, &text);
        assert_int_equal(name != NULL, cases[i].timm != NULL);
        if (name)
            assert_string_equal(name, cases[i].timm);
        else
            assert_non_null(strstr(text.s, "timm has no "));
        name = tr_torchvision_name(m, &shape, &text);
        assert_int_equal(name != NULL, cases[i].torchvision != NULL);
        tr_model_free(m);
    }
}

/* The proof of a file that holds other numbers than it should fails. */
static void a_proof_finds_a_difference(void **state)
{
    const struct tr_model_config config = {.name = "resnet20", .classes = 2};
    struct im_text text = {""}, said = {""};
    struct tr_source s;

    (void)state;
    draw(&s, &config);
    s.conf.export_format = IM_EXPORT_SAFETENSORS;
    assert_int_equal(tr_state_dict_write(in_folder("p.safetensors"), &s, TR_HEAD_AS_IT_IS, NULL, &text), 0);
    assert_int_equal(tr_prove(&s, in_folder("p.safetensors"), &said, &text), 0);
    s.stats[0] += 1;
    assert_int_equal(tr_prove(&s, in_folder("p.safetensors"), &said, &text), 1);
    assert_non_null(strstr(said.s, "NOT THE SAME when it was read back: bn1.running_mean"));
    tr_source_close(&s);
}

static void a_mean_has_shares_and_is_of_one_network(void **state)
{
    const struct tr_model_config config = {.name = "resnet20", .classes = 2},
                                 other = {.name = "resnet32", .classes = 2};
    struct im_text text = {""};
    struct tr_source a, b, c;
    struct tr_average sum;

    (void)state;
    draw(&a, &config);
    draw(&b, &config);
    describe(&c, &other);
    for (size_t i = 0; i < b.model->param_floats; i++)
        b.params[i] = 2;
    sum.params = calloc(a.model->param_floats, sizeof *sum.params);
    sum.stats = calloc(a.model->stat_floats, sizeof *sum.stats);
    assert_int_equal(tr_average_add(&sum, &a, &a, 0.25, &text), 0);
    assert_int_equal(tr_average_add(&sum, &a, &b, 0.75, &text), 0);
    assert_true(fabs(sum.params[5] - (0.25 * (double)a.params[5] + 1.5)) < 1e-12);
    assert_int_equal(tr_average_add(&sum, &a, &c, 0.5, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "only weights of one network"));
    a.classes = im_json_array();
    b.classes = im_json_array();
    im_json_append_str(a.classes, "cat");
    im_json_append_str(a.classes, "dog");
    im_json_append_str(b.classes, "dog");
    im_json_append_str(b.classes, "cat");
    assert_int_equal(tr_average_add(&sum, &a, &b, 0.5, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "in another order"));
    free(sum.params);
    free(sum.stats);
    tr_source_close(&a);
    tr_source_close(&b);
    tr_source_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_onnx_file_computes_what_the_network_does),
        cmocka_unit_test(several_labels_have_a_sigmoid),
        cmocka_unit_test(preprocessing_is_in_front_of_the_same_graph),
        cmocka_unit_test(a_pt_file_holds_the_same_tensors_on_whole_lines),
        cmocka_unit_test(a_file_says_which_network_it_is_of),
        cmocka_unit_test(a_file_of_ours_describes_itself),
        cmocka_unit_test(what_nobody_has_said_is_not_written),
        cmocka_unit_test(an_ending_chooses_the_format),
        cmocka_unit_test(what_a_library_lacks_is_refused),
        cmocka_unit_test(a_proof_finds_a_difference),
        cmocka_unit_test(a_mean_has_shares_and_is_of_one_network),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
