/* Weights from other people's files: what is taken, what is refused, and what the sentence says. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/checkpoint/import.h"

enum { TENSORS_MAX = 400, NAME_MAX_BYTES = 100 };

/* A file of resnet20's tensors that a test may bend before it is written. */
struct file {
    char path[64];
    struct tr_model *model;
    struct tr_tensor tensors[TENSORS_MAX];
    void *data[TENSORS_MAX];
    char names[TENSORS_MAX][NAME_MAX_BYTES]; /* those that rename_all() has made */
    struct im_text note;                     /* of the last import */
    size_t count;
};

static struct tr_network *network_in(int classes, enum imk_dtype precision)
{
    struct tr_network_config config = {.model = "resnet20",
                                       .classes = classes,
                                       .backend = "ref",
                                       .precision = precision,
                                       .threads = 1,
                                       .seed = 1,
                                       .std = {1, 1, 1},
                                       .averages = true};
    struct tr_network *net = NULL;

    assert_int_equal(tr_network_new(&config, &net, NULL), 0);
    return net;
}

static struct tr_network *network(int classes)
{
    return network_in(classes, IMK_F32);
}

/* Element i of tensor k: exact in every type, and, as a variance has to be, not negative. */
static float value(size_t k, size_t i)
{
    return (float)((double)((k * 31 + i * 7) % 251) / 64);
}

static void describe(struct file *f, const char *model, int classes)
{
    const struct tr_model_config config = {.name = model, .classes = classes};

    memset(f, 0, sizeof *f);
    snprintf(f->path, sizeof f->path, "/tmp/imsuper-import-%ld.safetensors", (long)getpid());
    assert_int_equal(tr_model_new(&config, &f->model, NULL), 0);
    assert_true(f->model->tensor_count < TENSORS_MAX);
    for (int k = 0; k < f->model->tensor_count; k++) {
        const struct tr_param_tensor *t = &f->model->tensors[k];
        bool counter = tr_tensor_home(t) == TR_HOME_COUNTER;
        float *floats = calloc(t->count, sizeof(float));
        int64_t *count = malloc(sizeof *count);

        *count = 77;
        for (size_t i = 0; i < t->count; i++)
            floats[i] = value((size_t)k, i);
        f->data[k] = counter ? (void *)count : (void *)floats;
        free(counter ? (void *)floats : (void *)count);
        f->tensors[k] = (struct tr_tensor){
            .name = t->name, .dtype = counter ? TR_I64 : TR_F32, .rank = t->rank, .data = f->data[k]};
        for (int d = 0; d < t->rank; d++)
            f->tensors[k].shape[d] = (uint64_t)t->shape[d];
    }
    f->count = (size_t)f->model->tensor_count;
}

/* Writes the file and imports it; what the import says. */
static int import(struct file *f, struct tr_network *net, bool skip_head, struct im_text *text)
{
    size_t loaded = 0;
    int err;

    assert_int_equal(tr_safetensors_write(f->path, f->tensors, f->count, NULL, 0, text), 0);
    err = tr_import(f->path, net, skip_head, &loaded, &f->note, text);
    unlink(f->path);
    return err;
}

static void done(struct file *f, struct tr_network *net)
{
    for (int k = 0; k < f->model->tensor_count; k++)
        free(f->data[k]);
    tr_model_free(f->model);
    tr_network_free(net);
}

static float first_of(struct tr_network *net, enum tr_arena arena, int tensor)
{
    float *all = calloc(tr_network_floats(net, arena), sizeof *all), v;

    assert_int_equal(tr_network_read(net, arena, all), 0);
    v = all[tr_network_model(net)->tensors[tensor].offset];
    free(all);
    return v;
}

static void a_file_of_the_model_is_taken_whole(void **state)
{
    struct tr_network *net = network(10);
    struct im_text text = {{0}};
    struct file f;

    (void)state;
    describe(&f, "resnet20", 10);
    assert_int_equal(import(&f, net, false, &text), 0);
    for (int k = 0; k < f.model->tensor_count; k++) {
        enum tr_tensor_home home = tr_tensor_home(&f.model->tensors[k]);

        if (home == TR_HOME_COUNTER)
            continue;
        assert_true(first_of(net, home == TR_HOME_PARAMS ? TR_ARENA_PARAMS : TR_ARENA_STATS, k) ==
                    value((size_t)k, 0));
        assert_true(first_of(net, home == TR_HOME_PARAMS ? TR_ARENA_EMA : TR_ARENA_EMA_STATS, k) ==
                    value((size_t)k, 0));
    }
    assert_int_equal(tr_network_tracked(net), 77);
    done(&f, net);
}

static void other_float_types_are_converted(void **state)
{
    static const struct {
        enum tr_dtype dtype;
        union {
            double f64;
            uint16_t bits;
        } raw;
        double value;
    } rows[] = {
        {TR_F64, {.f64 = -0.1}, -0.1},          {TR_F16, {.bits = 0xc100}, -2.5},
        {TR_F16, {.bits = 0x0001}, 0x1p-24},    {TR_F16, {.bits = 0x7bff}, 65504},
        {TR_F16, {.bits = 0x3555}, 0x1.554p-2}, {TR_BF16, {.bits = 0xc020}, -2.5},
        {TR_BF16, {.bits = 0x0001}, 0x1p-133},
    };
    struct tr_network *net = network(1);
    struct file f;

    (void)state;
    describe(&f, "resnet20", 1);
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        int bias = f.model->tensor_count - 1;

        f.tensors[bias].dtype = rows[i].dtype;
        f.tensors[bias].data = &rows[i].raw;
        assert_int_equal(import(&f, net, false, NULL), 0);
        assert_true(first_of(net, TR_ARENA_PARAMS, bias) == (float)rows[i].value);
    }
    done(&f, net);
}

/* Into a network that computes in fp32, and one that computes in fp16. */
static void values_that_nothing_computes_with_are_refused(void **state)
{
    static const struct {
        const char *tensor, *says;
        double value; /* as F64 */
        bool in_fp16; /* alone */
    } rows[] = {
        {"layer2.0.conv2.weight", "layer2.0.conv2.weight has a value of nan, which is not finite",
         (double)NAN, false},
        {"bn1.weight", "bn1.weight has a value of -inf", -1e39, false},
        {"fc.bias", "fc.bias has a value of inf", (double)INFINITY, false},
        {"bn1.running_var", "bn1.running_var has a value of -0.5, and a variance is not negative", -0.5,
         false},
        {"layer1.0.conv1.weight",
         "layer1.0.conv1.weight has a value of -65520, which --amp rounds to infinity", -65520, true},
    };
    struct tr_network *nets[] = {network(10), network_in(10, IMK_F16)};
    struct file f;

    (void)state;
    describe(&f, "resnet20", 10);
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        for (int narrow = 0; narrow < 2; narrow++) {
            float before = first_of(nets[narrow], TR_ARENA_PARAMS, 0);
            struct tr_tensor kept;
            struct im_text text = {{0}};
            double *values;
            size_t k = 0;

            while (strcmp(f.tensors[k].name, rows[i].tensor) != 0)
                k++;
            kept = f.tensors[k];
            values = calloc(f.model->tensors[k].count, sizeof *values);
            values[f.model->tensors[k].count - 1] = rows[i].value;
            f.tensors[k].dtype = TR_F64;
            f.tensors[k].data = values;
            if (rows[i].in_fp16 && !narrow) {
                assert_int_equal(import(&f, nets[narrow], false, &text), 0);
            } else {
                assert_int_equal(import(&f, nets[narrow], false, &text), -EBADMSG);
                assert_non_null(strstr(text.s, rows[i].says));
                assert_true(first_of(nets[narrow], TR_ARENA_PARAMS, 0) == before);
            }
            f.tensors[k] = kept;
            free(values);
        }
    tr_network_free(nets[1]);
    done(&f, nets[0]);
}

static void a_missing_tensor_is_named_and_nothing_changes(void **state)
{
    struct tr_network *net = network(10);
    float before = first_of(net, TR_ARENA_PARAMS, 0);
    struct im_text text = {{0}};
    struct file f;

    (void)state;
    describe(&f, "resnet20", 10);
    f.count--;
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "1 tensor of "));
    assert_non_null(strstr(text.s, "fc.bias is missing"));
    assert_true(first_of(net, TR_ARENA_PARAMS, 0) == before);
    done(&f, net);
}

static void an_unknown_tensor_is_named(void **state)
{
    struct tr_network *net = network(10);
    struct im_text text = {{0}};
    struct file f;

    (void)state;
    describe(&f, "resnet20", 10);
    f.tensors[f.count] = f.tensors[0];
    f.tensors[f.count++].name = "layer9.weight";
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "layer9.weight [16, 3, 3, 3] is not in the model"));
    done(&f, net);
}

static void another_class_count_needs_the_flag(void **state)
{
    struct tr_network *net = network(10);
    int weight = tr_network_model(net)->tensor_count - 2;
    float before = first_of(net, TR_ARENA_PARAMS, weight);
    struct im_text text = {{0}};
    struct file f;

    (void)state;
    describe(&f, "resnet20", 100);
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "2 tensors"));
    assert_non_null(strstr(text.s, "fc.weight is [100, 64], the model has [10, 64]"));
    assert_non_null(strstr(text.s, "; --init-skip-head loads all but the classifier"));
    assert_int_equal(import(&f, net, true, &text), 0);
    assert_true(first_of(net, TR_ARENA_PARAMS, 0) == value(0, 0));
    assert_true(first_of(net, TR_ARENA_PARAMS, weight) == before);
    done(&f, net);
}

static void counts_of_batches_may_be_missing(void **state)
{
    struct tr_network *net = network(10);
    struct im_text text = {{0}};
    struct file f;
    size_t kept = 0;

    (void)state;
    describe(&f, "resnet20", 10);
    for (size_t i = 0; i < f.count; i++)
        if (f.tensors[i].dtype != TR_I64)
            f.tensors[kept++] = f.tensors[i];
    assert_true(kept < f.count);
    f.count = kept;
    assert_int_equal(import(&f, net, false, &text), 0);
    assert_int_equal(tr_network_tracked(net), 0);
    done(&f, net);
}

static void another_model_is_refused_with_a_count(void **state)
{
    struct tr_network *net = network(10);
    struct im_text text = {{0}};
    struct file f;

    (void)state;
    describe(&f, "resnetv2_18", 10);
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "tensors of "));
    assert_non_null(strstr(text.s, "conv1.weight is missing"));
    assert_non_null(strstr(text.s, "and more"));
    done(&f, net);
}

/* Puts `prefix` before all names that begin with `begin`, in place of it. */
static void rename_all(struct file *f, const char *begin, const char *prefix)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strncmp(f->tensors[i].name, begin, strlen(begin)) != 0)
            continue;
        char name[NAME_MAX_BYTES];

        snprintf(name, sizeof name, "%s%s", prefix, f->tensors[i].name + strlen(begin));
        memcpy(f->names[i], name, sizeof name);
        f->tensors[i].name = f->names[i];
    }
}

static void must_import(struct file *f, const char *note)
{
    struct tr_network *net = network(10);
    struct im_text text = {{0}};

    if (import(f, net, false, &text) < 0)
        fail_msg("%s", text.s);
    if (!strstr(f->note.s, note))
        fail_msg("said: %s; not: %s", f->note.s, note);
    assert_true(first_of(net, TR_ARENA_PARAMS, 0) == value(0, 0));
    assert_int_equal(tr_network_tracked(net), 77);
    tr_network_free(net);
}

/* DistributedDataParallel, torch.compile, both, and one block compiled alone. */
static void words_of_wrappers_are_dropped(void **state)
{
    static const char *const prefixes[] = {"module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."};
    struct file f;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(prefixes); i++) {
        describe(&f, "resnet20", 10);
        rename_all(&f, "", prefixes[i]);
        must_import(&f, "names without the words of a wrapper");
        done(&f, NULL);
    }
    describe(&f, "resnet20", 10);
    rename_all(&f, "layer1.0.", "layer1.0._orig_mod.");
    must_import(&f, "12 names without the words of a wrapper (layer1.0._orig_mod.");
    done(&f, NULL);
}

/* torch.optim.swa_utils.AveragedModel, and Lightning. */
static void the_prefix_of_a_holder_is_dropped(void **state)
{
    static const int64_t averaged = 5;
    struct tr_network *net = network(10);
    struct im_text text = {{0}};
    struct file f;

    (void)state;
    describe(&f, "resnet20", 10);
    rename_all(&f, "", "module.");
    f.tensors[f.count++] = (struct tr_tensor){"n_averaged", TR_I64, 0, {0}, &averaged};
    must_import(&f, "wrapper");
    f.count--;
    for (size_t i = 0; i < f.count; i++)
        f.tensors[i].name = f.model->tensors[i].name;
    rename_all(&f, "", "net.backbone.");
    must_import(&f, "names without \"net.backbone.\"");
    f.tensors[f.count] = f.tensors[0];
    f.tensors[f.count++].name = "criterion.weight";
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "1 tensor of "));
    assert_non_null(strstr(text.s, "criterion.weight [16, 3, 3, 3] is not in the model"));
    done(&f, net);
}

static void a_model_that_is_there_twice_is_refused(void **state)
{
    struct tr_network *net = network(10);
    struct im_text text = {{0}};
    struct file f;
    size_t n;

    (void)state;
    describe(&f, "resnet20", 10);
    n = f.count;
    rename_all(&f, "", "encoder_q.");
    for (size_t i = 0; i < n; i++) {
        f.tensors[n + i] = f.tensors[i];
        f.tensors[n + i].name = f.model->tensors[i].name;
    }
    f.count = 2 * n;
    for (size_t i = n; i < 2 * n; i++) {
        snprintf(f.names[i], sizeof f.names[i], "encoder_k.%s", f.tensors[i].name);
        f.tensors[i].name = f.names[i];
    }
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "holds the model twice, under \"encoder_"));
    f.count = n;
    f.tensors[f.count] = f.tensors[0]; /* both become conv1.weight */
    f.tensors[f.count++].name = "module.encoder_q.conv1.weight";
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "two tensors of the file are both conv1.weight"));
    done(&f, net);
}

/* pytorch_resnet_cifar10's classifier, a Sequential stem, and a classifier that is a 1x1 convolution. */
static void names_of_known_programs_are_read(void **state)
{
    struct file f;
    size_t weight;

    (void)state;
    describe(&f, "resnet20", 10);
    weight = f.count - 2;
    rename_all(&f, "fc.", "module.linear.");
    must_import(&f, "linear. is read as fc.");
    for (size_t i = 0; i < f.count; i++)
        f.tensors[i].name = f.model->tensors[i].name;
    rename_all(&f, "conv1.", "conv1.0.");
    rename_all(&f, "bn1.", "conv1.1.");
    f.tensors[weight].rank = 4;
    f.tensors[weight].shape[2] = f.tensors[weight].shape[3] = 1;
    must_import(&f, "conv1.0. is read as conv1.; conv1.1. is read as bn1.");
    done(&f, NULL);
}

static void a_misfit_names_what_is_there(void **state)
{
    struct tr_network *net = network(10);
    struct im_text text = {{0}};
    struct file f;

    (void)state;
    describe(&f, "resnet20", 10);
    rename_all(&f, "layer1.0.", "stage1.0.");
    assert_int_equal(import(&f, net, false, &text), -EBADMSG);
    assert_non_null(strstr(
        text.s, "layer1.0.conv1.weight is missing (the file has stage1.0.conv1.weight [16, 16, 3, 3])"));
    assert_non_null(strstr(text.s, "; stage1.0.bn1.num_batches_tracked [] is not in the model"));
    done(&f, net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_the_model_is_taken_whole),
        cmocka_unit_test(other_float_types_are_converted),
        cmocka_unit_test(values_that_nothing_computes_with_are_refused),
        cmocka_unit_test(a_missing_tensor_is_named_and_nothing_changes),
        cmocka_unit_test(an_unknown_tensor_is_named),
        cmocka_unit_test(another_class_count_needs_the_flag),
        cmocka_unit_test(counts_of_batches_may_be_missing),
        cmocka_unit_test(another_model_is_refused_with_a_count),
        cmocka_unit_test(words_of_wrappers_are_dropped),
        cmocka_unit_test(the_prefix_of_a_holder_is_dropped),
        cmocka_unit_test(a_model_that_is_there_twice_is_refused),
        cmocka_unit_test(names_of_known_programs_are_read),
        cmocka_unit_test(a_misfit_names_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
