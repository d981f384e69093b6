int k(void);
