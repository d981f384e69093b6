union im_plan { /* another kind of tag, but C has one space for all three */
    int a;
};
struct im_opaque {
    int b;
};
struct tr_backend {
    int b;
};
struct local {
    int b;
};
/* struct im_plan { in a comment */
enum im_good { IM_WORSE };
