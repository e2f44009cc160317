/*
 * lookups serve ADDRESS    answer questions for addresses at port 53; two for each, and
 *                          for a third of the names behind an alias
 * lookups ask ADDRESS R N  look N names up there, R a second and one after the other,
 *                          each from a socket of its own; there are 100 names. Prints ns
 *                          for each
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const unsigned char ALIAS[] = "\xc0\x0c\0\5\0\1\0\0\1\x2c\0\x16"
				     "\4edge\3cdn\7example\3net";
static const unsigned char HEAD[] = "\1\0\0\1\0\0\0\0\0\0";
static const unsigned char TAIL[] = "\3api\7example\4test\0\0\1\0\1";

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* The owner's name is at the offset `owner`. */
static unsigned char *with_address(unsigned char *to, int owner, unsigned char last)
{
	unsigned char record[] = {0xc0 | owner >> 8,
				  owner & 255,
				  0,
				  1,
				  0,
				  1,
				  0,
				  0,
				  0,
				  60,
				  0,
				  4,
				  203,
				  0,
				  113,
				  last};

	memcpy(to, record, sizeof(record));
	return to + sizeof(record);
}

static int answer(unsigned char *message, int size)
{
	unsigned char *to = message + size;
	unsigned char last = message[size - 23]; /* of the first label */
	int owner = 12, has_alias = last % 3 == 0;

	if (has_alias) {
		owner = size + 12;
		memcpy(to, ALIAS, sizeof(ALIAS));
		to[13] = message[17]; /* one alias for every ten names */
		to += sizeof(ALIAS);
	}
	to = with_address(with_address(to, owner, last), owner, last + 1);
	message[2] |= 0x80;
	message[7] = 2 + has_alias;
	return to - message;
}

static void serve(const struct sockaddr_in *address)
{
	unsigned char message[512];
	struct sockaddr_in from;
	socklen_t from_size;
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size;

	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)))
		exit(1);
	puts("ready");
	fflush(stdout);
	for (;;) {
		from_size = sizeof(from);
		size = recvfrom(fd, message, 256, 0, (struct sockaddr *)&from, &from_size);
		if (size > 40)
			sendto(fd, message, answer(message, size), 0, (struct sockaddr *)&from,
			       from_size);
	}
}

static void look_up(const struct sockaddr_in *address, int number)
{
	unsigned char message[512];
	int size = 2 + sizeof(HEAD) - 1, fd = socket(AF_INET, SOCK_DGRAM, 0);
	unsigned short identifier = number;

	memcpy(message, &identifier, 2);
	memcpy(message + 2, HEAD, sizeof(HEAD) - 1);
	size += sprintf((char *)message + size, "%chost%02d", 6, number % 100);
	memcpy(message + size, TAIL, sizeof(TAIL) - 1);
	size += sizeof(TAIL) - 1;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) ||
	    send(fd, message, size, 0) != size || recv(fd, message, sizeof(message), 0) <= size)
		exit(1);
	close(fd);
}

static void ask(const struct sockaddr_in *address, long long rate, int count)
{
	long long start = now();

	for (int i = 0; i < count; i++) {
		long long due = start + i * 1000000000LL / rate;

		look_up(address, i);
		if (i % 16 == 0 && due > now()) {
			struct timespec until = {due / 1000000000LL, due % 1000000000LL};

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		}
	}
	printf("%lld\n", (now() - start) / count);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};

	if (argc < 3 || !inet_aton(argv[2], &address.sin_addr))
		return 2;
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(&address);
	if (argc != 5 || strcmp(argv[1], "ask"))
		return 2;
	ask(&address, atoll(argv[3]), atoi(argv[4]));
	return 0;
}
