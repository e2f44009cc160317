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
#   LIMIT_S             seconds after which COMMAND is ended, whatever it does (300)
#   EGRESSMON           the program (egressmon)
#
# exit status: 0 the canary ran, and nothing drifted (or drift is only told); 1 drift, with
# FAIL_ON_DRIFT=1; 2 it is not known whether anything drifted: the call failed, the evidence
# is incomplete, there is no baseline; 120 a violation, where the policy has `enforce = "fail"`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
egressmon=${EGRESSMON:-egressmon}
policy=${POLICY:-egress.toml}
baseline=${BASELINE:-baseline.toml}
key_file=${KEY_FILE:-${CREDENTIALS_DIRECTORY:+$CREDENTIALS_DIRECTORY/vendor-key}}
out=${OUT:-${STATE_DIRECTORY:+$STATE_DIRECTORY/$(date -u +%Y%m%dT%H%M%SZ)}}
out=${out:-nightly-out}
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
        [ -r "$key_file" ] || die "the key's file cannot be read: $key_file"
        exec 3<"$key_file"
        ;;
    esac
}

# Run COMMAND under the monitor; its status is the command's, or a graver one.
watch() {
    if [ $# = 0 ]; then set -- python3 "$here/call.py"; fi
    set -- timeout --kill-after=10 "${LIMIT_S:-300}" "$@"
    if [ -n "${RUN_AS-}" ]; then
        set -- setpriv --reuid="$RUN_AS" --regid="$(id -g "$RUN_AS")" --clear-groups \
            --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
    fi
    "$egressmon" watch --policy "$policy" --evidence "$evidence" -- "$@"
}

# Print how the evidence differs, in the form that is asked for.
drift() {
    "$egressmon" drift "$baseline" "$evidence" --policy "$policy" --format "$1"
}

propose() {
    "$egressmon" baseline write "$evidence" -o "$out/baseline.toml" ||
        die "there is no baseline, and of this run none can be made"
    die "there is no baseline: review $out/baseline.toml, and commit it as $baseline"
}

for name in ANTHROPIC_API_KEY OPENAI_API_KEY; do
    if eval "[ -n \"\${$name-}\" ]"; then
        die "$name is in the environment, where the monitor has it, too: give it by KEY_FILE"
    fi
done
[ -r "$policy" ] || die "the policy cannot be read: $policy"
mkdir "$out" || die "the folder is there already, or cannot be made: $out"
open_key

called=0
watch "$@" || called=$?
exec 3<&- # nobody else gets the key
[ -s "$evidence" ] || die "there is no evidence (status $called)"
if ! "$egressmon" scan "$evidence" >&2; then
    mv "$evidence" "$out.secret.jsonl" # what is published is the folder
    die "the evidence may hold a secret, and is not published: $out.secret.jsonl"
fi
[ -r "$baseline" ] || propose

drifted=0
drift markdown >"$out/drift.md" || drifted=$?
if [ "${GITHUB_ACTIONS-}" = true ]; then
    drift github || true
else
    drift table >&2 || true
fi
if [ -n "${GITHUB_STEP_SUMMARY-}" ]; then
    cat "$out/drift.md" >>"$GITHUB_STEP_SUMMARY"
fi
if [ -n "${NOTE-}" ]; then
    "$here/note.sh" "$NOTE" <"$out/drift.md" || die "the note was not updated: $NOTE"
fi

case $called in
0) ;;
120) exit 120 ;;
*) die "the call did not go well (status $called): what it would have reached is not known" ;;
esac
case $drifted in
0) ;;
1) [ "${FAIL_ON_DRIFT-}" != 1 ] || exit 1 ;;
*) die "not comparable (status $drifted): see above" ;;
esac
