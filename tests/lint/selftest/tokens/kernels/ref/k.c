void *k(void) { return malloc(3); }
