/* Connect from a stack of its own, and from an alternate one: stack PORT. */
#define _GNU_SOURCE
#include <signal.h>
#include <ucontext.h>

#include "dial.h"

static int port;

static void dial(void)
{
	struct sockaddr_in address = peer(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
}

static void on_signal(int number)
{
	dial();
}

int main(int count, char **words)
{
	static char first[65536], second[65536];
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	stack_t alternate = {.ss_sp = second, .ss_size = sizeof(second)};
	ucontext_t here, there;

	port = atoi(words[1]);
	getcontext(&there);
	there.uc_stack.ss_sp = first;
	there.uc_stack.ss_size = sizeof(first);
	there.uc_link = &here;
	makecontext(&there, dial, 0);
	swapcontext(&here, &there);
	port++;
	sigaltstack(&alternate, 0);
	sigaction(SIGUSR1, &action, 0);
	raise(SIGUSR1);
	return 0;
}
