int always(int a);
double half(int a, int unused);
int itself(int number);

int always(int a)
{
    return a == a;
}

double half(int a, int unused)
{
    return a / 2;
}

int itself(int number)
{
    number = number;
    return number;
}
