#include "trainer/export/prove.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"
#include "ipc/base/output.h"
#include "trainer/checkpoint/safetensors.h"
#include "trainer/checkpoint/torch_open.h"
#include "trainer/export/pixels.h"
#include "trainer/export/runtime.h"
#include "trainer/export/state_dict.h"
#include "trainer/network/network.h"

/* The answers are the same: of normalised pixels within rounding, of bytes within what two resizes differ in. */
#define LOGITS_RELATIVE 1e-4
#define PROBABILITY 0.05
#define TOP1_SHARE 0.99

struct proof {
    const struct tr_source *s;
    const char *path;
    struct im_json *json;
    struct im_text *said;
    bool differs;
};

static void not_proven(struct proof *p, const char *why)
{
    im_json_set_bool(p->json, "proven", false);
    im_json_set_str(p->json, "why", why);
    im_fail(p->said, 0, "not proven: %.700s", why);
}

/* ---- ONNX ---- */

static int open_network(const struct tr_source *s, struct tr_network **ret, struct im_text *text)
{
#ifdef IMSUPER_ONEDNN
    const char *backend = "onednn";
#else
    const char *backend = "ref";
#endif
    struct tr_network_config config = {.model = s->model->name,
                                       .stem = s->model->stem,
                                       .head = s->model->head,
                                       .blurpool = s->model->blurpool,
                                       .classes = s->model->classes,
                                       .backend = backend,
                                       .threads = (int)s->conf.trainer_threads};
    int err;

    for (int c = 0; c < 3; c++) {
        config.mean[c] = (float)s->mean[c];
        config.std[c] = (float)s->std[c];
    }
    err = tr_network_new(&config, ret, text);
    if (err == 0)
        err = tr_network_write(*ret, TR_ARENA_PARAMS, s->params);
    if (err == 0)
        err = tr_network_write(*ret, TR_ARENA_STATS, s->stats);
    return err;
}

/* One image to onnxruntime, with our logits. */
static int send(struct proof *p, const struct tr_pixels *px, struct tr_network *net, float *logits, FILE *to,
                struct im_text *text)
{
    const bool whole = p->s->conf.export_input == IM_EXPORT_UINT8;
    const uint32_t sides[2] = {whole ? px->record.width : px->record.size,
                               whole ? px->record.height : px->record.size};
    const unsigned char valid = 1;
    const int32_t label = 0;
    const struct tr_batch batch = {
        .pixels = px->sample, .labels = &label, .valid = &valid, .n = 1, .size = (int)px->record.size};
    struct tr_tally tally;
    int err = tr_network_evaluate(net, &batch, false, logits, &tally, text);

    if (err < 0)
        return err;
    fwrite(sides, sizeof sides, 1, to);
    fwrite(whole ? px->whole : px->sample, 3, (size_t)sides[0] * sides[1], to);
    fwrite(logits, sizeof *logits, (size_t)p->s->model->classes, to);
    return ferror(to) ? im_fail(text, -EPIPE, "onnxruntime has ended") : 0;
}

static int send_images(struct proof *p, struct tr_pixels *px, FILE *to, size_t *skipped, struct im_text *text)
{
    struct tr_network *net = NULL;
    float *logits = calloc((size_t)p->s->model->classes, sizeof *logits);
    int err = logits ? open_network(p->s, &net, text) : -ENOMEM, more = 1;

    while (err == 0 && more > 0) {
        more = tr_pixels_next(px, skipped, text);
        err = more > 0 ? send(p, px, net, logits, to, text) : more;
    }
    tr_network_free(net);
    free(logits);
    return err;
}

/* What onnxruntime answered. */
static void judge(struct proof *p, const struct im_json *answer, size_t skipped)
{
    static const char *const numbers[] = {"max_logit_difference", "max_probability_difference",
                                          "largest_logit"};
    const int64_t images = im_json_int_or(answer, "images", 0), same = im_json_int_or(answer, "same_top1", 0);
    const double logit = im_json_real_or(answer, numbers[0], NAN),
                 share = im_json_real_or(answer, numbers[1], NAN);
    const double most = im_json_real_or(answer, numbers[2], NAN);
    const bool pixels = p->s->conf.export_input == IM_EXPORT_UINT8;
    const bool good = pixels ? share <= PROBABILITY && (double)same >= TOP1_SHARE * (double)images
                             : logit <= LOGITS_RELATIVE * fmax(1, most) && same == images;

    if (im_json_get(answer, "why") || images == 0) {
        not_proven(p, im_json_str_or(answer, "why", "none of the images could be decoded"));
        return;
    }
    p->differs = !good;
    im_json_set_bool(p->json, "proven", good);
    im_json_set_str(p->json, "with", im_json_str_or(answer, "runtime", "onnxruntime"));
    im_json_set_str(
        p->json, "compared",
        pixels ? "answers to decoded images with the file's preprocessing, and imsuper's with validation's"
               : "answers to validation's pixels, normalised");
    im_json_set_str(p->json, "data", p->s->conf.data_dir);
    im_json_set_int(p->json, "images", images);
    im_json_set_int(p->json, "images_skipped", (int64_t)skipped);
    im_json_set_int(p->json, "same_top1", same);
    for (size_t i = 0; i < 3; i++)
        im_json_set_real(p->json, numbers[i], im_json_real_or(answer, numbers[i], NAN));
    im_json_set_str(p->json, "limits",
                    pixels ? "probabilities within 0.05, the same top-1 for 99 % of the images"
                           : "logits within 1e-4 of the largest, the same top-1 for all images");
    im_fail(p->said, 0,
            "%s by %s on %lld validation images: same top-1 on %lld, logits within %.2g, probabilities "
            "within %.2g",
            good ? "proven" : "NOT THE SAME", im_json_str_or(answer, "runtime", "onnxruntime"),
            (long long)images, (long long)same, logit, share);
}

/* Whether onnxruntime is there, before any image is made. */
static int ask_runtime(struct im_text *why)
{
    static const char *const check[] = {"--check", NULL};
    struct im_json *answer = NULL;
    struct tr_runtime r;
    int err = tr_runtime_start(&r, check, why);
    struct im_text ended = {""};
    int end = tr_runtime_end(&r, &answer, &ended);

    if (err == 0 && end < 0)
        err = im_fail(why, end, "%s", ended.s);
    if (err == 0 && im_json_get(answer, "why"))
        err = im_fail(why, -ENOENT, "%s", im_json_str_or(answer, "why", ""));
    im_json_free(&answer);
    return err;
}

static void prove_onnx(struct proof *p)
{
    const struct im_conf *c = &p->s->conf;
    char classes[16];
    const char *const arguments[] = {
        p->path, c->export_input == IM_EXPORT_UINT8 ? "uint8" : "float", classes, c->mean, c->std, NULL};
    struct im_text why = {""}, ignored = {""};
    struct im_json *answer = NULL;
    struct tr_pixels px = {.program = IM_PIPED_NONE};
    struct tr_runtime r = {.program = IM_PIPED_NONE};
    size_t skipped = 0;
    int err = !c->data_dir[0] ? im_fail(&why, -EINVAL, "there are no images: name them with --data-dir")
              : !im_data_is_there(c->data_dir)
                  ? im_fail(&why, -ENOENT, "the images are not in %.500s: name their folder with --data-dir",
                            c->data_dir)
                  : ask_runtime(&why);

    snprintf(classes, sizeof classes, "%d", p->s->model->classes);
    signal(SIGPIPE, SIG_IGN); /* either process may end before it has all */
    if (err == 0)
        err = tr_pixels_open(&px, c, IM_SPLIT_CHOICE_VAL, c->prove_images, c->export_input == IM_EXPORT_UINT8,
                             &why);
    if (err == 0)
        err = tr_runtime_start(&r, arguments, &why);
    if (err == 0)
        err = send_images(p, &px, r.to, &skipped, &why);
    if (px.program.pid > 0 && tr_pixels_close(&px, &ignored) < 0 && err == 0)
        err = im_fail(&why, -EBADMSG, "%s", ignored.s);
    if (r.program.pid > 0 && tr_runtime_end(&r, &answer, &ignored) < 0 && err == 0)
        err = im_fail(&why, -EIO, "%s", ignored.s);
    if (err < 0 && !(err == -EPIPE && answer))
        not_proven(p, why.s[0] ? why.s : strerror(-err));
    else
        judge(p, answer, skipped);
    im_json_free(&answer);
}

/* ---- other formats ---- */

/* The first tensor that is not in the file as it should be; NULL: all are. */
static const char *find_difference(const struct tr_tensor *list, size_t count,
                                   const struct tr_safetensors *file)
{
    for (size_t i = 0; i < count; i++) {
        const struct tr_tensor *t = tr_safetensors_find(file, list[i].name);
        size_t n, m;

        if (!t || t->dtype != list[i].dtype || tr_tensor_bytes(&list[i], &n) < 0 ||
            tr_tensor_bytes(t, &m) < 0 || n != m || memcmp(t->data, list[i].data, n) != 0)
            return list[i].name;
    }
    return NULL;
}

static void read_back(struct proof *p)
{
    char path[PATH_MAX];
    struct tr_safetensors *file = NULL;
    struct im_text why = {""};
    size_t count = 0;
    struct tr_tensor *list = tr_state_dict(p->s, TR_HEAD_AS_IT_IS, &count);
    const char *different;
    int err = list ? 0 : -ENOMEM;

    snprintf(path, sizeof path, "%s%s", p->path,
             p->s->conf.export_format == IM_EXPORT_TIMM ? "/model.safetensors" : "");
    if (err == 0)
        err = tr_weights_open(path, &file, &why);
    if (err < 0) {
        p->differs = true;
        not_proven(p, why.s[0] ? why.s : strerror(-err));
    } else {
        different = find_difference(list, count, file);
        p->differs = different || tr_safetensors_count(file) != count;
        im_json_set_bool(p->json, "proven", !p->differs);
        im_json_set_str(p->json, "with", "imsuper's own reader (PyTorch was not asked)");
        im_json_set_str(p->json, "compared", "the bytes of all tensors, read back");
        im_json_set_int(p->json, "tensors", (int64_t)count);
        if (different)
            im_json_set_str(p->json, "different", different);
        im_fail(p->said, 0, p->differs ? "NOT THE SAME when it was read back: %s" : "read back: the same %s",
                different ? different : "tensors");
    }
    tr_safetensors_close(&file);
    free(list);
}

int tr_prove(const struct tr_source *s, const char *path, struct im_text *said, struct im_text *text)
{
    struct proof p = {.s = s, .path = path, .json = im_json_object(), .said = said};
    char file[PATH_MAX], *dumped;
    size_t n = strlen(path);
    int err;

    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n + sizeof ".proof.json" > sizeof file)
        return im_fail(text, -ENAMETOOLONG, "%.200s: the name is too long", path);
    snprintf(file, sizeof file, "%.*s.proof.json", (int)n, path);
    im_json_set_str(p.json, "schema", "imsuper.proof/1");
    im_json_set_str(p.json, "file", path);
    im_json_set_str(p.json, "format", im_conf_choice(IM_KEY_export_format, s->conf.export_format));
    im_json_set_str(p.json, "weights", s->path);
    im_json_set_str(p.json, "imsuper", IMSUPER_VERSION);
    if (s->conf.export_format == IM_EXPORT_ONNX)
        prove_onnx(&p);
    else
        read_back(&p);
    dumped = im_json_dump_indented(p.json);
    err = dumped ? im_output_write(file, dumped, strlen(dumped), text)
                 : im_fail(text, -ENOMEM, "cannot write %.300s: out of memory", file);
    free(dumped);
    im_json_free(&p.json);
    return err < 0 ? err : p.differs;
}
