/*
 * Call from one place in processes that share memory, and through code that is made at run
 * time: memory PORT LIBRARY. Each call has a port of its own, in this order: in turns, the
 * program and a child by vfork (20); a child by CLONE_VM in a library that was loaded after
 * it began (20); code in no file, between changes of its protection (20).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "dial.h"

static int port;
static int (*volatile late)(int);
static char stack[65536];

static void dial(void)
{
	struct sockaddr_in address = peer(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	port++;
}

/* The processes' own memory is one: the child has counted, too. */
static void in_turns(void)
{
	for (int i = 0; i < 20; i++) {
		volatile int is_child = 0;

		if (i % 2 && !vfork())
			is_child = 1;
		else if (i % 2)
			continue;
		dial();
		if (is_child)
			_exit(0);
	}
}

static int child(void *nothing)
{
	while (!late)
		sched_yield();
	for (int i = 0; i < 20; i++)
		late(port++);
	return 0;
}

static void in_a_later_library(const char *path)
{
	int pid = clone(child, stack + sizeof(stack), CLONE_VM | SIGCHLD, 0);

	late = (int (*)(int))dlsym(dlopen(path, RTLD_NOW), "dial");
	waitpid(pid, 0, 0);
}

#ifdef __aarch64__
/* mov x8, 203 (connect on arm64); svc 0; ret */
static const unsigned int code[] = {0xd2801968, 0xd4000001, 0xd65f03c0};
#else
/* mov eax, 42 (connect on x86-64); syscall; ret */
static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0x0f, 0x05, 0xc3};
#endif

static void in_no_file(void)
{
	char *pages = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 20; i++) {
		struct sockaddr_in address = peer(port++);
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		mprotect(pages, 4096 << (i % 2), PROT_READ | PROT_WRITE);
		memcpy(pages, code, sizeof(code));
		__builtin___clear_cache(pages, pages + sizeof(code));
		mprotect(pages, 4096 << (i % 2), PROT_READ | PROT_EXEC);
		((int (*)(int, void *, unsigned long))pages)(fd, &address, sizeof(address));
		close(fd);
	}
}

int main(int count, char **words)
{
	port = atoi(words[1]);
	in_turns();
	in_a_later_library(words[2]);
	in_no_file();
	return 0;
}
