/* ring_socket PATH: make a packet socket, and connect a UNIX socket to PATH, through
 * io_uring. Ends with 77 where the kernel has no such request. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_REQUEST 45 /* IORING_OP_SOCKET, Linux 5.19 */

struct ring {
	int fd;
	char *queue;
	struct io_uring_params params;
	struct io_uring_sqe *entries;
};

static int submit(struct ring *ring, struct io_uring_sqe entry)
{
	struct io_uring_params *params = &ring->params;
	unsigned *tail = (unsigned *)(ring->queue + params->sq_off.tail);
	unsigned *mask = (unsigned *)(ring->queue + params->sq_off.ring_mask);
	unsigned *array = (unsigned *)(ring->queue + params->sq_off.array);
	unsigned *head = (unsigned *)(ring->queue + params->cq_off.head);
	struct io_uring_cqe *done = (void *)(ring->queue + params->cq_off.cqes);
	unsigned place = *tail & *mask;
	int result;

	ring->entries[place] = entry;
	array[place] = place;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
	result = done[*head & (params->cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

int main(int count, char **words)
{
	struct ring ring = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct io_uring_sqe make = {.opcode = SOCKET_REQUEST, .fd = AF_PACKET};
	struct io_uring_sqe dial = {.opcode = IORING_OP_CONNECT};
	size_t size;

	ring.fd = syscall(SYS_io_uring_setup, 8, &ring.params);
	if (ring.fd < 0 || !(ring.params.features & IORING_FEAT_SINGLE_MMAP))
		return 77;
	size = ring.params.cq_off.cqes + ring.params.cq_entries * sizeof(struct io_uring_cqe);
	ring.queue = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd,
			  IORING_OFF_SQ_RING);
	ring.entries =
		mmap(0, ring.params.sq_entries * sizeof(*ring.entries), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQES);
	make.off = SOCK_RAW;
	if (submit(&ring, make) < 0)
		return 77;
	strncpy(address.sun_path, words[1], sizeof(address.sun_path) - 1);
	dial.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	dial.addr = (unsigned long)&address;
	dial.off = sizeof(address);
	return submit(&ring, dial) < 0;
}
