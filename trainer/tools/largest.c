/* Opens the GPU as a run with these options does, and asks the planner: what a trainer refuses with "the largest batch
 * that fits is N" is found before there is a plan of the run. Trainers of several GPUs also hold NCCL's memory, which
 * this process does not. */
#include "trainer/tools/largest.h"

#include <stdio.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/config/conf.h"
#include "trainer/network_config.h"
#include "trainer/training_step.h"

#define NCCL_BYTES ((size_t)3 << 29) /* kept for its buffers: 1.5 GiB, more than is known of eight GPUs */

enum { MOST = 1 << 16 };

static int largest_find(struct im_conf *conf, struct im_text *text)
{
    static const struct tr_bn_sync synced; /* only that there is one counts */
    struct tr_network_config config;
    struct tr_network *net = NULL;
    const size_t kept = conf->ranks > 1 ? NCCL_BYTES : 0;
    int largest, err = tr_network_configure(conf, (int)conf->classes, &config, text);

    if (err < 0)
        return err;
    tr_training_step_network(conf, &config);
    if (im_conf_gpu(conf, 0) >= 0)
        config.device.index = im_conf_gpu(conf, 0);
    if (conf->sync_bn && conf->ranks > 1)
        config.bn_sync = &synced;
    err = tr_network_new(&config, &net, text);
    largest = err < 0 ? err : tr_network_largest(net, (int)conf->image_size, MOST, kept, text);
    tr_network_free(net);
    return largest;
}

int tr_cmd_largest(struct im_conf *conf)
{
    struct im_json *j = im_json_object();
    struct im_text text = {""};
    const int largest = largest_find(conf, &text);
    int err;

    im_json_set_str(j, "schema", "imsuper.largest/1");
    if (largest < 0)
        im_json_set_str(j, "why", text.s);
    else
        im_json_set_int(j, "batch", largest);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err < 0 || largest < 0 ? IM_EXIT_FAILED : IM_EXIT_OK;
}
