/* `imsuper cluster key`: what machines of one run need to trust each other. */
#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"
#include "supervisor/cluster/keys.h"

int sv_cmd_cluster_key(int argc, char **argv)
{
    struct im_text text = {""};
    struct sv_keys keys;
    const bool json = sv_take_json(&argc, argv);
    struct im_json *j;

    if (argc != 2 || argv[1][0] == '-' || argv[1][0] == 0) {
        im_say(stderr, "imsuper: cluster key takes the name of the file to make: imsuper cluster key FILE");
        return IM_EXIT_USAGE;
    }
    if (sv_key_file_make(argv[1], &text) < 0 || sv_key_file_read(argv[1], true, &keys, &text) < 0)
        return sv_print_failure(&text, IM_EXIT_FAILED);
    if (json) {
        j = im_json_object();
        im_json_set_str(j, "schema", "imsuper.key/1");
        im_json_set_str(j, "file", argv[1]);
        im_json_set_str(j, "fingerprint", sv_key_fingerprint(keys.head).s);
        sv_keys_fini(&keys);
        return sv_print_answer(j);
    }
    im_say(stdout, "%s: a new key, with fingerprint %s; copy it to all machines of the run", argv[1],
           sv_key_fingerprint(keys.head).s);
    sv_keys_fini(&keys);
    return IM_EXIT_OK;
}
