/* imsuper-gpus: started by `imsuper`. */
#include "trainer/tools/gpus.h"

int main(void)
{
    return tr_gpus_print(stdout);
}
