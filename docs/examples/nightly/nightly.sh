#!/bin/sh
# One real call of a vendor under egressmon, compared with a reviewed baseline.
#
#   KEY_FILE=FILE ./nightly.sh [COMMAND [ARGUMENT...]]
#
# COMMAND (without one: call.py beside this script) makes the call, and keeps to a cap on
# what it may spend. It reads the vendor's key from file descriptor 3, the only place where
# the key is: neither in arguments nor in the environment, of egressmon or of COMMAND.
#
#   KEY_FILE=-          the key comes on standard input: from a keyring, or a CI's secret;
#                       under systemd it is the credential vendor-key, where none is named
#   POLICY, BASELINE    egress.toml and baseline.toml, in the working directory
#   OUT                 a new folder for evidence and reports (nightly-out; under systemd
#                       one in the unit's StateDirectory, called after the time)
#   NOTE                a markdown file in which note.sh keeps what is known; none
#   FAIL_ON_DRIFT=1     drift is a failure; without, it is only told
#   RUN_AS=USER         where root runs this: who COMMAND runs as
#   LIMIT_S             seconds after which COMMAND is ended (300). What it has started and
#                       set free goes on if it can, is told, and the status is 2
#   EGRESSMON           the program (egressmon)
#
# exit status: 0 the canary ran, and nothing drifted (or drift is only told); 1 drift, with
# FAIL_ON_DRIFT=1; 2 it is not known whether anything drifted: the call failed, the evidence
# is incomplete, there is no baseline; 120 a violation, where the policy has `enforce = "fail"`.
#
# Evidence is in OUT, which is published, once no secret is found in it; before, it is beside.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
egressmon=${EGRESSMON:-egressmon}
policy=${POLICY:-egress.toml}
baseline=${BASELINE:-baseline.toml}
key_file=${KEY_FILE:-${CREDENTIALS_DIRECTORY:+$CREDENTIALS_DIRECTORY/vendor-key}}
out=${OUT:-${STATE_DIRECTORY:+$STATE_DIRECTORY/$(date -u +%Y%m%dT%H%M%SZ)}}
out=${out:-nightly-out}
limit=${LIMIT_S:-300}

# What is kept beside the folder is not to be in it.
while [ "$out" != "${out%/}" ]; do out=${out%/}; done
# A path that begins with a dash is no option.
for name in out policy baseline; do
    eval "case \$$name in -*) $name=./\$$name ;; esac"
done
unchecked=$out.unchecked.jsonl
evidence=$out/evidence.jsonl

die() {
    say "$1"
    exit 2
}

# A line for people, which is an annotation where GitHub runs this.
say() {
    if [ "${GITHUB_ACTIONS-}" = true ]; then
        echo "::warning title=nightly::$1"
    else
        echo "nightly: $1" >&2
    fi
}

open_key() {
    case $key_file in
    '') die "KEY_FILE is not set: a file with the key, or - for standard input" ;;
    -) exec 3<&0 </dev/null ;;
    *)
        # Not which file: who gives the key in its place would find it in a log.
        [ -r "$key_file" ] || die "the file that KEY_FILE names cannot be read"
        exec 3<"$key_file"
        ;;
    esac
}

# Become the monitor with COMMAND; its status is the command's, or a graver one. It is told to
# end, too, if it still waits for what COMMAND has left: the evidence is incomplete then.
watch() {
    if [ $# = 0 ]; then set -- python3 "$here/call.py"; fi
    set -- timeout --kill-after=10 "$limit" "$@"
    if [ -n "${RUN_AS-}" ]; then
        set -- setpriv --reuid="$RUN_AS" --regid="$(id -g "$RUN_AS")" --clear-groups \
            --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
    fi
    exec timeout --foreground --kill-after=60 "$((limit + 15))" \
        "$egressmon" watch --policy "$policy" --evidence "$unchecked" -- "$@"
}

# Print how the evidence differs, in the form that is asked for.
drift() {
    "$egressmon" drift "$baseline" "$evidence" --policy "$policy" --format "$1"
}

propose() {
    case $called in
    0 | 120) ;;
    *) die "there is no baseline, and of a call that did not go well (status $called) none is made" ;;
    esac
    "$egressmon" baseline write "$evidence" -o "$out/baseline.toml" ||
        die "there is no baseline, and of this run none can be made"
    say "there is no baseline: review $out/baseline.toml, and commit it as $baseline"
    [ "$called" = 0 ] || exit 120
    exit 2
}

# What the vendors' SDKs read a key from.
for name in ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_CUSTOM_HEADERS \
    OPENAI_API_KEY OPENAI_ADMIN_KEY OPENAI_CUSTOM_HEADERS AZURE_OPENAI_API_KEY; do
    if eval "[ -n \"\${$name-}\" ]"; then
        die "$name is in the environment, where the monitor has it, too: give it by KEY_FILE"
    fi
done
case $limit in
*[!0-9]* | 0* | ??????????*) die "LIMIT_S is no number of seconds above 0: $limit" ;;
esac
[ -r "$policy" ] || die "the policy cannot be read: $policy"
mkdir "$out" || die "the folder is there already, or cannot be made: $out"
open_key

# In the background, so that a signal to this script alone, as of a CI job that is cancelled,
# is passed on at once: nothing is left running.
stopped=
monitor=
stop() {
    stopped=1
    [ -z "$monitor" ] || kill -TERM "$monitor" 2>/dev/null || true
}
trap stop HUP INT TERM
watch "$@" &
monitor=$!
[ -z "$stopped" ] || stop # it came before it was known whom to tell
exec 3<&- # nobody else gets the key
called=0
wait "$monitor" || called=$?
while kill -0 "$monitor" 2>/dev/null; do # a signal ends a wait
    called=0
    wait "$monitor" || called=$?
done
trap - HUP INT TERM
[ -z "$stopped" ] || die "it was stopped; what there is of evidence is not checked: $unchecked"
[ -s "$unchecked" ] || die "there is no evidence (status $called)"
if ! "$egressmon" scan "$unchecked" >&2; then
    mv "$unchecked" "$out.secret.jsonl"
    die "the evidence may hold a secret, and is not published: $out.secret.jsonl"
fi
mv "$unchecked" "$evidence"
[ -r "$baseline" ] || propose

drifted=0
drift markdown >"$out/drift.md" || drifted=$?
[ -f "$out/drift.md" ] && [ -s "$out/drift.md" ] || drifted=2
if [ "${GITHUB_ACTIONS-}" = true ]; then
    drift github || true
else
    drift table >&2 || true
fi
# Nothing that is told elsewhere may hide what is found: it only keeps a night from being good.
told=1
if [ -n "${GITHUB_STEP_SUMMARY-}" ]; then
    tee -a -- "$GITHUB_STEP_SUMMARY" <"$out/drift.md" >/dev/null || told=
fi
[ -n "$told" ] || say "the step's summary was not written"
if [ -n "${NOTE-}" ] && ! "$here/note.sh" "$NOTE" <"$out/drift.md"; then
    told=
    say "the note was not updated: $NOTE"
fi

case $called in
0) ;;
120) exit 120 ;;
121) die "the evidence is incomplete (status 121): what is missing is not known" ;;
*) die "the call did not go well (status $called): what it would have reached is not known" ;;
esac
case $drifted in
0) ;;
1) [ "${FAIL_ON_DRIFT-}" != 1 ] || exit 1 ;;
*) die "not comparable (status $drifted): see above" ;;
esac
[ -n "$told" ] || exit 2
