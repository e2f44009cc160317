/*
 * The same without unwind tables, as musl is built. bare_middle() keeps no frame pointer,
 * and comes first: by where functions lie, the call of bare_outer() does not lead there.
 */

typedef unsigned long u64;

extern u64 registers[34];
void bare_snapshot(u64 *registers);
void bare_outer(void);
void write_out(void);

__asm__(".text\n.global bare_snapshot\n.type bare_snapshot, %function\nbare_snapshot:\n"
	"hint 34\n" /* bti c */
#include "snapshot.h"
	".section .note.GNU-stack,\"\",%progbits\n.text\n");

__attribute__((noinline, optimize("omit-frame-pointer"))) static void bare_middle(void)
{
	bare_snapshot(registers);
	write_out();
	__asm__ volatile("");
}

void bare_outer(void)
{
	bare_middle();
	__asm__ volatile("");
}
