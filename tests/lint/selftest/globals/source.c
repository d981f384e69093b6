int counter;
static int hidden = 3;
const int fine = 4;
static const char *const names[] = {"a", "b"};
extern const char *pick(int i);
const char *pick(int i)
{
    static int calls;
    return names[(i + calls++ + hidden++) & 1];
}
