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

enum { TENSORS_MAX = 200 };

/* A file of resnet20's tensors that a test may bend before it is written. */
struct file {
    char path[64];
    struct tr_model *model;
    struct tr_tensor tensors[TENSORS_MAX];
    void *data[TENSORS_MAX];
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
    err = tr_import(f->path, net, skip_head, &loaded, text);
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
                assert_int_equal(import(&f, nets[narrow], false, &text), -EDOM);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
