/* connect ADDRESS PORT [burst N]: a static program's TCP connects, non-blocking,
 * then exit at once without waiting for any of them. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int count = argc > 4 ? atoi(argv[4]) : 1;
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};

	inet_pton(AF_INET, argv[1], &peer.sin_addr);
	for (int i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

		if (fd < 0)
			return 1;
		connect(fd, (struct sockaddr *)&peer, sizeof(peer));
		if (count > 1)
			close(fd);
	}
	_exit(0);
}
