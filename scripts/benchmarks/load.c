/*
 * load tcp N        connect, accept and close on loopback N times; prints ns for each
 * load udp N        connect one datagram socket N times; prints ns for each
 * load rate R S     make R non-blocking TCP connects a second for S seconds; prints how
 *                   many a second were made
 * load spawn N      N times fork, exec (of this program, which ends at once) and exit
 * load spawns R S   that R times a second for S seconds; prints how many a second
 * load fork N       fork and exit N times; prints ns for each
 * load call N       make N system calls that do nothing; prints ns for each
 * load send N       send N datagrams on loopback; prints ns for each
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static void tcp(int count)
{
	struct sockaddr_in address = loopback(0);
	struct linger reset = {1, 0}; /* no TIME_WAIT: ports do not run out */
	socklen_t size = sizeof(address);
	int server = socket(AF_INET, SOCK_STREAM, 0);

	bind(server, (struct sockaddr *)&address, size);
	listen(server, 16);
	getsockname(server, (struct sockaddr *)&address, &size);
	for (int i = 0; i < count; i++) {
		int client = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(client, (struct sockaddr *)&address, size))
			exit(1);
		close(accept(server, NULL, NULL));
		setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(client);
	}
}

static void udp(int count)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (int i = 0; i < count; i++) {
		struct sockaddr_in address = loopback(1024 + i % 1000);

		connect(fd, (struct sockaddr *)&address, sizeof(address));
	}
}

static void send_datagrams(int count)
{
	struct sockaddr_in address = loopback(0);
	socklen_t size = sizeof(address);
	int server = socket(AF_INET, SOCK_DGRAM, 0);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char byte;

	bind(server, (struct sockaddr *)&address, size);
	getsockname(server, (struct sockaddr *)&address, &size);
	connect(fd, (struct sockaddr *)&address, size);
	for (int i = 0; i < count; i++) {
		send(fd, "x", 1, 0);
		recv(server, &byte, 1, 0);
	}
}

static void spawn_one(const char *program)
{
	if (!fork()) {
		execl(program, "load", "nothing", "--one", "two", "-x", "--four=5", NULL);
		_exit(1);
	}
	wait(NULL);
}

static void spawn(const char *program, int count)
{
	for (int i = 0; i < count; i++)
		spawn_one(program);
}

static void fork_only(int count)
{
	for (int i = 0; i < count; i++) {
		if (!fork())
			_exit(0);
		wait(NULL);
	}
}

static void call(int count)
{
	for (int i = 0; i < count; i++)
		syscall(SYS_getppid);
}

static void wait_until(long long due)
{
	struct timespec until = {due / 1000000000LL, due % 1000000000LL};

	if (due > now())
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void spawns(const char *program, int each_second, int seconds)
{
	long long start = now(), count = (long long)each_second * seconds;

	for (long long i = 0; i < count; i++) {
		wait_until(start + i * 1000000000LL / each_second);
		spawn_one(program);
	}
	printf("%lld\n", count * 1000000000LL / (now() - start));
}

static void rate(int each_second, int seconds)
{
	struct sockaddr_in address = loopback(9);
	long long start = now(), count = (long long)each_second * seconds;

	for (long long i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

		connect(fd, (struct sockaddr *)&address, sizeof(address));
		close(fd);
		if (i % 16 == 0)
			wait_until(start + i * 1000000000LL / each_second);
	}
	printf("%lld\n", count * 1000000000LL / (now() - start));
}

int main(int argc, char **argv)
{
	long long start = now();
	int count = argc > 2 ? atoi(argv[2]) : 0;

	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	if (argc == 4 && !strcmp(argv[1], "rate")) {
		rate(count, atoi(argv[3]));
		return 0;
	}
	if (argc == 4 && !strcmp(argv[1], "spawns")) {
		spawns(argv[0], count, atoi(argv[3]));
		return 0;
	}
	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "tcp"))
		tcp(count);
	else if (!strcmp(argv[1], "spawn"))
		spawn(argv[0], count);
	else if (!strcmp(argv[1], "fork"))
		fork_only(count);
	else if (!strcmp(argv[1], "call"))
		call(count);
	else if (!strcmp(argv[1], "send"))
		send_datagrams(count);
	else
		udp(count);
	printf("%lld\n", (now() - start) / count);
	return 0;
}
