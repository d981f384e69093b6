int always(int a);
double half(int a, int unused);

int always(int a)
{
    return a == a;
}

double half(int a, int unused)
{
    return a / 2;
}
