/* imsuper-model: `imsuper model` starts it. */
#include "trainer/tools/model.h"

int main(int argc, char **argv)
{
    return tr_cmd_model(argc, argv);
}
