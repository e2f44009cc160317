/*
 * The same connect from the same place, many times: hot PORT TIMES PAUSE [LAST], the pause
 * in microseconds after every tenth, and a last one in seconds.
 */
#include "dial.h"

int main(int count, char **words)
{
	struct sockaddr_in address = peer(atoi(words[1]));

	for (int i = atoi(words[2]); i; i--) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		connect(fd, (struct sockaddr *)&address, sizeof(address));
		close(fd);
		if (i % 10 == 0)
			usleep(atoi(words[3]));
	}
	if (count > 4)
		sleep(atoi(words[4]));
	return 0;
}
