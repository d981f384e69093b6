/* print_logits FILE MODEL STEM CLASSES SIZE COUNT [BLURPOOL]: the answers of a saved network to fixed images,
 * for comparison with another implementation (tests/golden/check_torchvision.py, check_import.py). FILE is a
 * checkpoint's state, or else weights as --init-from takes them. Byte i of the images is the top
 * byte of i * 2654435761 mod 2^32; the mean and deviation are ImageNet's. One line an image. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/config/conf.h"
#include "trainer/checkpoint/import.h"
#include "trainer/checkpoint/state.h"
#include "trainer/network/network.h"

static int print(struct tr_network *net, int classes, int size, int count, struct im_text *text)
{
    size_t bytes = (size_t)count * (size_t)size * (size_t)size * 3;
    unsigned char *pixels = malloc(bytes), *valid = malloc((size_t)count);
    int32_t *labels = calloc((size_t)count, sizeof *labels);
    float *logits = calloc((size_t)count * (size_t)classes, sizeof *logits);
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .valid = valid, .n = count, .size = size};
    struct tr_tally tally = {0};
    int err = pixels && valid && labels && logits ? 0 : -1;

    for (size_t i = 0; err == 0 && i < bytes; i++)
        pixels[i] = (unsigned char)((uint32_t)i * UINT32_C(2654435761) >> 24);
    for (int i = 0; err == 0 && i < count; i++)
        valid[i] = 1;
    if (err == 0)
        err = tr_network_evaluate(net, &batch, false, logits, &tally, text);
    for (int i = 0; err == 0 && i < count * classes; i++)
        printf("%.9g%c", (double)logits[i], (i + 1) % classes ? ' ' : '\n');
    free(pixels);
    free(valid);
    free(labels);
    free(logits);
    return err;
}

static int load(const char *path, struct tr_network *net, struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    struct im_text note = {""};
    struct tr_state state;
    size_t loaded;
    int err;

    if (!strstr(path, ".state."))
        return tr_import(path, net, false, &loaded, &note, text);
    err = tr_checkpoint_open_file(path, &file, text);
    if (err < 0)
        return err;
    err = tr_state_init(&state, net);
    if (err == 0)
        err = tr_state_restore(&state, file, false, text);
    tr_state_fini(&state);
    tr_safetensors_close(&file);
    return err;
}

int main(int argc, char **argv)
{
    struct tr_network_config config = {
        .backend = "onednn", .threads = 1, .mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}};
    struct tr_network *net = NULL;
    struct im_text text = {0};
    struct im_conf conf;
    int err;

    if (argc != 7 && argc != 8) {
        fprintf(stderr, "usage: print_logits FILE MODEL STEM CLASSES SIZE COUNT [BLURPOOL]\n");
        return 2;
    }
    config.model = argv[2];
    config.classes = (int)strtol(argv[4], NULL, 10);
    im_conf_defaults(&conf);
    err = im_conf_set(&conf, "stem", argv[3], &text);
    if (err == 0 && argc == 8)
        err = im_conf_set(&conf, "blurpool", argv[7], &text);
    config.stem = (enum tr_stem)conf.stem;
    config.blurpool = (enum tr_blurpool)conf.blurpool;
    if (err == 0)
        err = tr_network_new(&config, &net, &text);
    if (err == 0)
        err = load(argv[1], net, &text);
    if (err == 0)
        err =
            print(net, config.classes, (int)strtol(argv[5], NULL, 10), (int)strtol(argv[6], NULL, 10), &text);
    if (err < 0)
        fprintf(stderr, "print_logits: %s\n", text.s);
    tr_network_free(net);
    return err < 0;
}
