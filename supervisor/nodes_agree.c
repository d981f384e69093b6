/* All options but those of a list: an option that is new, and unknown here, must be the same. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/count.h"
#include "ipc/config/conf.h"
#include "supervisor/nodes.h"

/* What may differ: where things lie on a machine, how many processes it runs, what it shows. With virtual ranks not the
 * threads of a trainer, on which bits depend. */
static const enum im_conf_key_id own[] = {
    IM_KEY_nodes,
    IM_KEY_node,
    IM_KEY_node_index,
    IM_KEY_node_address,
    IM_KEY_cluster_key,
    IM_KEY_cluster_timeout,
    IM_KEY_cluster_wait,
    IM_KEY_cluster_min_nodes,
    IM_KEY_data_dir,
    IM_KEY_labels,
    IM_KEY_val_labels,
    IM_KEY_init_from,
    IM_KEY_index_file,
    IM_KEY_seek_file,
    IM_KEY_seek,
    IM_KEY_read_root,
    IM_KEY_rebuild_index,
    IM_KEY_has_avif,
    IM_KEY_io,
    IM_KEY_queue_depth,
    IM_KEY_connections,
    IM_KEY_gpus,
    IM_KEY_readers,
    IM_KEY_augmenters,
    IM_KEY_readers_auto,
    IM_KEY_augmenters_auto,
    IM_KEY_trainer_threads,
    IM_KEY_cell_bytes,
    IM_KEY_encoded_cells,
    IM_KEY_batches_ahead,
    IM_KEY_workspace,
    IM_KEY_run_name,
    IM_KEY_run_dir,
    IM_KEY_resume,
    IM_KEY_config,
    IM_KEY_recipe,
    IM_KEY_dry_run,
    IM_KEY_checkpoint_keep,
    IM_KEY_tensorboard,
    IM_KEY_metrics_listen,
    IM_KEY_on_event,
    IM_KEY_status_interval,
    IM_KEY_log_level,
    IM_KEY_color,
    IM_KEY_plain,
    IM_KEY_json,
    IM_KEY_cache_dir,
    IM_KEY_cache_size,
    IM_KEY_pixel_cache_size,
    IM_KEY_pixel_cache_limit,
    IM_KEY_quiet,
    IM_KEY_decode_memory_mib,
    IM_KEY_time_limit,
    IM_KEY_on_signal,
};

static bool may_differ(int key)
{
    for (size_t i = 0; i < IM_COUNT(own); i++)
        if ((int)own[i] == key)
            return true;
    return !im_conf_is_for((enum im_conf_key_id)key, IM_FOR_START | IM_FOR_CHILDREN);
}

char *sv_nodes_agree(const struct im_conf *conf, const uint64_t samples[IM_SPLITS], uint32_t classes,
                     const char *copies)
{
    char *bytes = NULL, value[IM_CONF_TEXT_BYTES];
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);

    if (!out)
        return NULL;
    /* The data first: where they differ, that is what matters. */
    fprintf(out, "train-images=%" PRIu64 "\nval-images=%" PRIu64 "\nclasses=%" PRIu32 "\n%sindex-hash=%s\n",
            samples[IM_TRAIN], samples[IM_VAL], classes, copies ? copies : "", conf->index_hash);
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        if ((may_differ(key) && !(key == IM_KEY_trainer_threads && conf->virtual_ranks > 0)) ||
            key == IM_KEY_index_hash)
            continue;
        im_conf_value(conf, (enum im_conf_key_id)key, value);
        fprintf(out, "%s=%s\n", im_conf_name((enum im_conf_key_id)key), value);
    }
    return fclose(out) == 0 ? bytes : NULL;
}
