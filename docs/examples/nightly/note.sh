#!/bin/sh
# Keep a part of a markdown file up to date: what stands between two markers is replaced by
# standard input, all else stays. A file without markers gets them at its end.
#
#   note.sh FILE <TEXT
#
# The same text twice changes nothing, so that a note in Git has no empty commits.
# exit status: 0 it holds the text; 2 it does not, and is as it was.
set -eu
begin='<!-- egressmon drift: begin -->'
end='<!-- egressmon drift: end -->'
file=$1

die() {
    echo "note: $1" >&2
    exit 2
}

count() { # of the lines of a file that are just this marker; editors on the web add CR
    tr -d '\r' <"$2" | grep -cxF -e "$1" || true
}

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cat >"$folder/text"
if grep -qF -e "$begin" -e "$end" "$folder/text"; then
    die "the text has a marker in it"
fi
if [ -e "$file" ]; then
    cat "$file" >"$folder/old"
    [ -z "$(tail -c 1 "$file")" ] || echo >>"$folder/old"
else
    printf '# What this project reaches\n\n' >"$folder/old"
fi
case "$(count "$begin" "$folder/old") $(count "$end" "$folder/old")" in
'0 0') printf '%s\n%s\n' "$begin" "$end" >>"$folder/old" ;;
'1 1') ;;
*) die "$file does not have each marker once: $begin, $end" ;;
esac
awk -v begin="$begin" -v end="$end" -v text="$folder/text" '
    { line = $0; sub(/\r$/, "", line) }
    line == end && !inside { exit 1 }
    line == end { inside = 0 }
    !inside { print }
    line == begin { inside = 1; while ((getline line < text) > 0) print line }
    END { if (inside) exit 1 }
' "$folder/old" >"$folder/new" || die "the markers of $file are in the wrong order"
# Written over, and not replaced: links, owner and rights stay.
cmp -s "$folder/new" "$file" || cat "$folder/new" >"$file"
