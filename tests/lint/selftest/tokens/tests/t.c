void w(void) { exit(atomic_load_explicit(&x, memory_order_seq_cst)); }
void v(char *s) { gets(s); }
