/* A library that connects to each port in another way. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in peer(int port)
{
	struct sockaddr_in found;

	memset(&found, 0, sizeof(found));
	found.sin_family = AF_INET;
	found.sin_port = htons(port);
	found.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return found;
}

int by_name(int port)
{
	struct sockaddr_in to = peer(port);
	int one = socket(AF_INET, SOCK_STREAM, 0);
	int result = connect(one, (struct sockaddr *)&to, sizeof(to));

	close(one);
	return result;
}

int by_datagram(int port)
{
	struct sockaddr_in to = peer(port);
	int one = socket(AF_INET, SOCK_DGRAM, 0);
	int result = sendto(one, "x", 1, 0, (struct sockaddr *)&to, sizeof(to));

	close(one);
	return result;
}

int by_message(int port)
{
	struct sockaddr_in to = peer(port);
	struct iovec content = {"x", 1};
	struct msghdr message = {.msg_name = &to,
				 .msg_namelen = sizeof(to),
				 .msg_iov = &content,
				 .msg_iovlen = 1};
	int one = socket(AF_INET, SOCK_DGRAM, 0);
	int result = sendmsg(one, &message, 0);

	close(one);
	return result;
}

int by_pointer(int port)
{
	int (*volatile dial)(int, const struct sockaddr *, socklen_t) = connect;
	struct sockaddr_in to = peer(port);
	int one = socket(AF_INET, SOCK_STREAM, 0);
	int result = dial(one, (struct sockaddr *)&to, sizeof(to));

	close(one);
	return result;
}
