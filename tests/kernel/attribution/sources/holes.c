/*
 * Call from below a large buffer that is never written, so that pages of the stack are not
 * there: holes PORT BYTES. In a thread (PORT), on a stack whose end nobody knows (PORT + 1)
 * and in a child (PORT + 2).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "dial.h"

static int port;
static char other[1 << 16] __attribute__((aligned(4096)));
static ucontext_t here, there;

static __attribute__((noinline)) void dial(volatile char *buffer)
{
	struct sockaddr_in address = peer(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
}

static __attribute__((noinline)) void *below(void *size)
{
	volatile char buffer[(long)size];

	dial(buffer);
	__asm__ volatile("" : : "r"(buffer) : "memory");
	return 0;
}

static __attribute__((noinline)) void begin(int low, int high)
{
	below((void *)(long)low);
	__asm__ volatile("" : : : "memory");
}

int main(int count, char **words)
{
	long size = atoi(words[2]);
	pthread_t thread;

	port = atoi(words[1]);
	pthread_create(&thread, 0, below, (void *)size);
	pthread_join(thread, 0);
	port++;
	getcontext(&there);
	there.uc_stack.ss_sp = other;
	there.uc_stack.ss_size = sizeof(other);
	there.uc_link = &here;
	makecontext(&there, (void (*)(void))begin, 2, (int)size, 0);
	swapcontext(&here, &there);
	port++;
	if (!fork()) {
		below((void *)size);
		_exit(0);
	}
	wait(0);
	return 0;
}
