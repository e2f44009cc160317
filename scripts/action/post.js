// End the sidecar, give its verdict, and fail the job where it is not fine.
//
// egressmon writes the annotations and the job's summary itself. What it answers is
// checked for sense: only a concluded run, told of in full, is passed.
"use strict";

const { call, count, line, parse, patience } = require("./egressmon.js");
const { Failure, command, input, mask, printable, put, step } = require("./runner.js");

const VIOLATIONS = 120;
const INCOMPLETE = 121;
const HEAD = /^blake3:[0-9a-f]{64}$/;
// The exit statuses that each verdict can have: docs/usage.md.
const STATUSES = { clean: [0], violations: [0, VIOLATIONS], incomplete: [INCOMPLETE] };

async function main() {
  if (process.env.STATE_mode === "mark") return 0;
  const { STATE_token: token, STATE_program: program } = process.env;
  if (!token || !program) throw new Failure("there is no run to end: egressmon did not start");
  mask(token);
  const words = ["sidecar", "stop", "--token-stdin", "--report", "github", "--json"];
  // By a pipe: an argument would be in the list of processes.
  const { status, text } = await call(program, words, patience(input("timeout")), `${token}\n`);
  return conclude(status, answered(status, text));
}

// The status alone says why a run was not ended: 1 refused, 2 no sidecar there.
function answered(status, text) {
  if (status !== 0 && !text.trim()) {
    throw new Failure(`the run was not concluded: egressmon ended with ${status}`, status);
  }
  return parse(text);
}

function conclude(status, answer) {
  if (answer.ok !== true || answer.concluded !== true) {
    throw new Failure("the run was not concluded", status || 125);
  }
  const verdict = line(answer, "verdict", /^(clean|violations|incomplete)$/);
  if (line(answer, "run") !== process.env.STATE_run) {
    throw new Failure("another run than the one that was started was ended");
  }
  if (answer.exit_status !== status || !STATUSES[verdict].includes(status)) {
    throw new Failure(`egressmon says ${verdict}, and ended with ${status}`, status || 125);
  }
  const rest = `${count(answer, "records")} records, head ${line(answer, "head", HEAD)}`;
  tell(verdict, line(answer, "evidence"), rest);
  return failed(verdict, status);
}

function tell(verdict, evidence, rest) {
  const summary = printable(`${verdict}: ${rest}`);
  put("GITHUB_OUTPUT", "verdict", verdict);
  put("GITHUB_OUTPUT", "evidence", evidence);
  put("GITHUB_OUTPUT", "summary", summary);
  process.stdout.write(`egressmon: ${summary}\n`);
}

function failed(verdict, status) {
  if (status === VIOLATIONS) command("error", "the job reached what its policy does not allow");
  if (status === INCOMPLETE) command("error", "the evidence is incomplete: it proves nothing");
  return status;
}

step(main);
