#include "supervisor/cli/verbs.h"
