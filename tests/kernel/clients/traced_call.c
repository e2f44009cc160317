/* traced_call: have a tracer make a packet socket of what its child asks for as one of
 * IPv4. Ends with 77 where the socket cannot be made. */
#define _GNU_SOURCE
#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __aarch64__
#define NUMBER(registers) ((registers).regs[8])
#define FIRST(registers) ((registers).regs[0])
#else
#define NUMBER(registers) ((registers).orig_rax)
#define FIRST(registers) ((registers).rdi)
#endif

static void change_if_socket(pid_t child)
{
	struct user_regs_struct registers;
	struct iovec room = {&registers, sizeof(registers)};

	ptrace(PTRACE_GETREGSET, child, (void *)NT_PRSTATUS, &room);
	if (NUMBER(registers) != SYS_socket || FIRST(registers) != AF_INET)
		return;
	FIRST(registers) = AF_PACKET;
	ptrace(PTRACE_SETREGSET, child, (void *)NT_PRSTATUS, &room);
}

int main(void)
{
	pid_t child = fork();
	int status = 0;

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(socket(AF_INET, SOCK_RAW, 0x300) < 0 ? 77 : 0);
	}
	waitpid(child, &status, 0);
	while (WIFSTOPPED(status)) {
		change_if_socket(child);
		if (ptrace(PTRACE_SYSCALL, child, NULL, NULL))
			break;
		waitpid(child, &status, 0);
	}
	return WEXITSTATUS(status);
}
