struct im_plan; /* a declaration in a header, the body in a .c file */
struct im_opaque;
struct tr_backend; /* a handle of tags.txt */
