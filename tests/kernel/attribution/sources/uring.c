/* Connect by io_uring: inline to PORT, and by a worker to the next: uring PORT. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "dial.h"

static void dial(int ring, char *queue, struct io_uring_params *params,
		 struct io_uring_sqe *entries, int port, int flags)
{
	struct sockaddr_in address = peer(port);
	unsigned *tail = (unsigned *)(queue + params->sq_off.tail);
	unsigned *mask = (unsigned *)(queue + params->sq_off.ring_mask);
	unsigned *array = (unsigned *)(queue + params->sq_off.array);
	unsigned place = *tail & *mask;
	struct io_uring_sqe *entry = &entries[place];

	memset(entry, 0, sizeof(*entry));
	entry->opcode = IORING_OP_CONNECT;
	entry->flags = flags;
	entry->fd = socket(AF_INET, SOCK_STREAM, 0);
	entry->addr = (unsigned long)&address;
	entry->off = sizeof(address);
	array[place] = place;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	/* What completed before is still in its queue, and counts. */
	syscall(SYS_io_uring_enter, ring, 1, *tail, IORING_ENTER_GETEVENTS, 0, 0);
}

int main(int count, char **words)
{
	struct io_uring_params params = {0};
	int port = atoi(words[1]);
	int ring = syscall(SYS_io_uring_setup, 8, &params);
	char *queue;
	struct io_uring_sqe *entries;

	if (ring < 0) {
		perror("io_uring_setup");
		return 77;
	}
	queue = mmap(0, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	entries = mmap(0, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	dial(ring, queue, &params, entries, port, 0);
	dial(ring, queue, &params, entries, port + 1, IOSQE_ASYNC);
	return 0;
}
