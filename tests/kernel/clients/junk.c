/* junk ADDRESS SIZE MEGABYTES [PROGRAM...]: send so much of what is no DNS message to
 * port 53, as fast as it goes, then say how many bytes it was; and, in the midst of it,
 * run PROGRAM 200 times, and go on until the last one has ended. */
#include <arpa/inet.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNS 200

static struct sockaddr_in peer = {.sin_family = AF_INET};
static size_t size, wanted;
static atomic_bool enough;
static sem_t halfway;

static void *flood(void *sent)
{
	char message[1400];
	size_t *total = sent;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	memset(message, 0xff, sizeof(message));
	connect(fd, (struct sockaddr *)&peer, sizeof(peer));
	while (*total < wanted || !atomic_load(&enough)) {
		if (send(fd, message, size, 0) > 0)
			*total += size;
		if (*total >= wanted / 2)
			sem_post(&halfway);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	size_t sent = 0;

	inet_pton(AF_INET, argv[1], &peer.sin_addr);
	peer.sin_port = htons(53);
	size = atoi(argv[2]);
	wanted = (size_t)atoi(argv[3]) << 20;
	sem_init(&halfway, 0, 0);
	pthread_create(&thread, NULL, flood, &sent);
	sem_wait(&halfway);
	for (int i = 0; argc > 4 && i < RUNS; i++) {
		int child = fork();

		if (!child) {
			execv(argv[4], argv + 4);
			_exit(127);
		}
		waitpid(child, NULL, 0);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	printf("%zu\n", sent);
}
