/*
 * Load and unload two libraries in turns, which the loader puts at the same address,
 * and connect through each: turns PORT TIMES LIBRARY LIBRARY. The port grows by one
 * with each call, so that each can be told from the others.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words)
{
	int port = atoi(words[1]), times = atoi(words[2]);

	for (int i = 0; i < times; i++) {
		void *library = dlopen(words[3 + i % 2], RTLD_NOW);
		int (*dial)(int) = (int (*)(int))dlsym(library, "dial");

		printf("%d %p\n", port + i, (void *)dial);
		dial(port + i);
		dlclose(library);
	}
	return 0;
}
