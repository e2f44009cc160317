/* daemon ADDRESS PORT: a daemonised grandchild (two forks, a session of its own)
 * connects after its parents are gone. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
	pid_t middle;
	int fd;

	inet_pton(AF_INET, argv[1], &peer.sin_addr);
	if (fork())
		_exit(0);
	setsid();
	middle = getpid();
	if (fork())
		_exit(0);
	while (getppid() == middle)
		usleep(1000);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	connect(fd, (struct sockaddr *)&peer, sizeof(peer));
	_exit(0);
}
