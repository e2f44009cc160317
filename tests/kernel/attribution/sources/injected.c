/* Connect by code that is in no file: injected PORT. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "dial.h"

#ifdef __aarch64__
/* mov x8, 203 (connect on arm64); svc 0; ret */
static const unsigned int code[] = {0xd2801968, 0xd4000001, 0xd65f03c0};
#else
/* mov eax, 42 (connect on x86-64); syscall; ret */
static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0x0f, 0x05, 0xc3};
#endif

int main(int count, char **words)
{
	struct sockaddr_in address = peer(atoi(words[1]));
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(page, code, sizeof(code));
	__builtin___clear_cache((char *)page, (char *)page + sizeof(code));
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	((int (*)(int, void *, unsigned long))page)(fd, &address, sizeof(address));
	return 0;
}
