struct im_plan {
    char *op;
};
struct im_opaque {
    int a;
};
struct im_backend {
    int a;
};
struct local {
    int a;
};
