/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Reads PYTEST_CURRENT_TEST, which pytest sets for each phase, from a process's environment. */
#ifndef EGRESSMON_TEST_H
#define EGRESSMON_TEST_H

#include "interpreter.bpf.h"

#define MAX_VARIABLES 1024
#define TEST_NAME_SIZE 20		    /* "PYTEST_CURRENT_TEST=" */
#define TEST_NAME_FIRST 0x435f545345545950  /* "PYTEST_C" */
#define TEST_NAME_SECOND 0x545f544e45525255 /* "URRENT_T" */
#define TEST_NAME_THIRD 0x3d545345	    /* "EST=" */

static __always_inline bool is_test(u64 variable)
{
	u64 words[2] = {};

	if (!variable || bpf_probe_read_user(words, sizeof(words), (void *)variable))
		return false;
	return words[0] == TEST_NAME_FIRST && words[1] == TEST_NAME_SECOND &&
	       user_half(variable + sizeof(words)) == TEST_NAME_THIRD;
}

static long try_variable(u32 i, u32 *number)
{
	struct slot *slot = slot_of(number);
	u64 variable;

	if (!slot)
		return 1;
	variable = user_word(slot->walk.variable);
	if (!variable)
		return 1;
	if (is_test(variable)) {
		slot->walk.hit = variable;
		return 1;
	}
	slot->walk.variable += sizeof(variable);
	slot->walk.variables++;
	slot->walk.last = variable;
	return 0;
}

/* Whether the environment still has no test: setenv(3) would have appended it. */
static __always_inline bool is_still_without(const struct python *python, u64 environment)
{
	u64 end = environment + python->variables * sizeof(u64);

	if (!python->last || python->environment != environment)
		return false;
	return !user_word(end) && user_word(end - sizeof(u64)) == python->last;
}

/* Put the running test, if there is one, into the slot's event. */
static __always_inline void find_test(struct slot *slot, struct python *python)
{
	struct frames_event *event = &slot->record.event;
	u64 environment = user_word(python->environ);
	u32 number = slot->number;
	u64 variable;

	event->test[0] = 0;
	if (!environment || is_still_without(python, environment))
		return;
	variable = python->test_at ? user_word(python->test_at) : 0;
	if (python->environment != environment || !is_test(variable)) {
		slot->walk.variable = environment;
		slot->walk.variables = 0;
		slot->walk.last = 0;
		slot->walk.hit = 0;
		bpf_loop(MAX_VARIABLES, try_variable, &number, 0);
		variable = slot->walk.hit;
		python->environment = environment;
		python->variables = slot->walk.variables;
		python->test_at = variable ? slot->walk.variable : 0;
		python->last = variable ? 0 : slot->walk.last;
	}
	if (variable)
		bpf_probe_read_user_str(event->test, sizeof(event->test),
					(void *)(variable + TEST_NAME_SIZE));
}

#endif
