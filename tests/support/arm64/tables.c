/*
 * A program for arm64 that writes its registers and its stack, called once through code
 * with unwind tables, and once through code without (bare.c). Made of both files by make.sh.
 */

typedef unsigned long u64;

void bare_outer(void);
void begin(u64 *stack);
void keep(void);
void snapshot(u64 *registers);
void write_out(void);

u64 registers[34]; /* x0 to x30, sp, pc, pstate: struct user_pt_regs */
static u64 *top;

static u64 call(u64 number, u64 first, u64 second, u64 third)
{
	register u64 x8 __asm__("x8") = number;
	register u64 x0 __asm__("x0") = first;
	register u64 x1 __asm__("x1") = second;
	register u64 x2 __asm__("x2") = third;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}

void write_out(void)
{
	u64 size = (u64)top - registers[31];

	call(64, 1, (u64)registers, sizeof(registers));
	call(64, 1, (u64)&size, sizeof(size));
	call(64, 1, registers[31], size);
}

void keep(void)
{
	snapshot(registers);
	write_out();
}

__attribute__((noinline)) static void inner(void)
{
	keep();
	__asm__ volatile("");
}

__attribute__((noinline)) static void middle(u64 times)
{
	volatile u64 room[8];

	room[times & 7] = times;
	inner();
	__asm__ volatile("" ::"r"(room[0]));
}

void begin(u64 *stack)
{
	top = stack;
	middle(3);
	bare_outer();
	call(93, 0, 0, 0);
}

__asm__(".text\n.global _start\n.type _start, %function\n_start:\n"
	".cfi_startproc\n.cfi_undefined x30\n"
	"mov x29, 0\nmov x30, 0\nmov x0, sp\nbl begin\nbrk 1\n.cfi_endproc\n"
	".global snapshot\n.type snapshot, %function\nsnapshot:\n.cfi_startproc\n"
	"hint 34\n" /* bti c */
#include "snapshot.h"
	".cfi_endproc\n"
	".section .note.GNU-stack,\"\",%progbits\n");
