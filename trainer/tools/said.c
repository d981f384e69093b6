#include "trainer/tools/said.h"

#include <stdio.h>

#include "ipc/base/printable.h"

void tr_say_input(const struct tr_source *s)
{
    im_say(stdout, "it takes images resized to %u px, cropped to %u px, with mean %s, std %s", s->resize,
           s->size, s->conf.mean, s->conf.std);
}

void tr_say_unsaid(const struct tr_source *s)
{
    if (s->unsaid_colors || s->unsaid_size)
        im_say(
            stdout,
            "nothing beside or in %s says %s: the defaults; see --image-size, --eval-resize, --mean, --std",
            s->path,
            !s->unsaid_size    ? "mean and std"
            : s->unsaid_colors ? "what its pixels go through"
                               : "the size of its images");
}
