/*
 * forks N: make N children that end at once, as fast as the kernel can. A few at a time are
 * left unreaped: with all of them, nobody else on the machine could start a process.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1;

	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid < 0)
			return 1;
		for (int n = 0; i % 64 == 63 && n < 64; n++)
			if (wait(NULL) < 0)
				return 1;
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
