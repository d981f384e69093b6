int im_there(void);
