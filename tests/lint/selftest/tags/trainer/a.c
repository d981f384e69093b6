struct im_plan {
    char *op;
};
struct im_opaque {
    int a;
};
struct tr_backend {
    int a;
};
struct local {
    int a;
};
