/* A 32-bit program without any library: connect to 127.0.0.1, port 8. */
static int call(int number, int first, void *second)
{
	int result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second)
			 : "memory");
	return result;
}

void _start(void)
{
	static unsigned char address[16] = {2, 0, 0, 8, 127, 0, 0, 1};
	unsigned long socket[3] = {2, 1, 0};
	unsigned long connect[3] = {0, (unsigned long)address, sizeof(address)};

	connect[0] = call(102, 1, socket); /* socketcall(2): SYS_SOCKET */
	call(102, 3, connect);		   /* SYS_CONNECT */
	call(1, 0, 0);
}
