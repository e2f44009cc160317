/* Leave return addresses all over the stack, then connect from there. */
#include <stdlib.h>
#include <string.h>

int by_name(int port);
int by_datagram(int port);
int by_message(int port);
int by_pointer(int port);

static int compare(const void *one, const void *other)
{
	return *(const int *)one - *(const int *)other;
}

/* In this program, into the C library and back. */
static __attribute__((noinline)) int noise(int depth)
{
	int numbers[16];

	for (int i = 0; i < 16; i++)
		numbers[i] = (i * 7 + depth) % 16;
	qsort(numbers, 16, sizeof(*numbers), compare);
	return depth ? noise(depth - 1) + numbers[3] : numbers[0];
}

int main(void)
{
	int (*ways[])(int) = {by_name, by_datagram, by_message, by_pointer};

	for (int i = 0; i < 4; i++) {
		noise(100);
		ways[i](7 + i);
	}
	return 0;
}
