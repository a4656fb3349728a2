/* The payload of run and exec. */
int main(void)
{
	return 0;
}
