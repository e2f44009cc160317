/* A 32-bit program without any library: make a packet socket, by way WAY. */
static int call(int number, int first, void *second)
{
	int result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(768)
			 : "memory");
	return result;
}

void _start(void)
{
	static unsigned long packet[3] = {17, 3, 768};

	if (WAY)
		call(102, 1, packet); /* socketcall(2): SYS_SOCKET */
	else
		call(359, 17, (void *)3); /* socket(2) */
	call(1, 0, 0);
}
