int itself(int number);

int itself(int number)
{
    number = number;
    return number;
}
