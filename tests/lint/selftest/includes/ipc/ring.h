int ring(void);
