/* A 32-bit program without any library: connect to 127.0.0.1, port 8. */
#ifdef __arm__
static int call(int number, int first, void *second, int third)
{
	register int r7 __asm__("r7") = number;
	register int r0 __asm__("r0") = first;
	register void *r1 __asm__("r1") = second;
	register int r2 __asm__("r2") = third;

	__asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
	return r0;
}

void _start(void)
{
	static unsigned char address[16] = {2, 0, 0, 8, 127, 0, 0, 1};
	int fd = call(281, 2, (void *)1, 0); /* socket(2) */

	call(283, fd, address, sizeof(address)); /* connect(2) */
	call(1, 0, 0, 0);
}
#else
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
#endif
