/* Begin a connect and end at once: leave PORT. */
#include "dial.h"

int main(int count, char **words)
{
	struct sockaddr_in address = peer(atoi(words[1]));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	_exit(0);
}
