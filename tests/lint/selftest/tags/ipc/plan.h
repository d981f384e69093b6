struct im_plan {
    int ticket;
};
enum im_good { IM_GOOD };
