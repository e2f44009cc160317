/*
 * Runs Python that it loads by itself: embed LIBPYTHON CODE [PORT].
 *
 * With PORT it connects there before it loads anything, and afterwards gives the agent
 * a second to hear of the library.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dial.h"

static void dial(int port)
{
	struct sockaddr_in address = peer(port);

	connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof(address));
}

int main(int count, char **words)
{
	void (*initialize)(int);
	int (*run)(const char *, void *);
	void *library;

	if (count > 3)
		dial(atoi(words[3]));
	library = dlopen(words[1], RTLD_NOW | RTLD_GLOBAL);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	*(void **)&initialize = dlsym(library, "Py_InitializeEx");
	*(void **)&run = dlsym(library, "PyRun_SimpleStringFlags");
	initialize(0);
	if (count > 3)
		sleep(1);
	return run(words[2], NULL);
}
