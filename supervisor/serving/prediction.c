#include "supervisor/serving/prediction.h"

#define SCHEMA "imsuper.predict/1"

struct im_json *sv_prediction_json(const char *image, const char *const *class_name, uint32_t tops,
                                   const struct im_outcome *outcome, const char *error)
{
    struct im_json *j = im_json_object(), *top = im_json_array();

    im_json_set_str(j, "schema", SCHEMA);
    im_json_set_str(j, "image", image);
    for (uint32_t i = 0; outcome && i < tops; i++) {
        struct im_json *class = im_json_object();

        im_json_set_str(class, "class", class_name[outcome->top[i].class]);
        im_json_set_int(class, "index", outcome->top[i].class);
        im_json_set_real(class, "probability", (double)outcome->top[i].probability);
        im_json_append(top, class);
    }
    if (error)
        im_json_set_str(j, "error", error);
    im_json_set(j, "top", top);
    return j;
}
