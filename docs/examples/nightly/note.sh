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

die() {
    echo "note: $1" >&2
    exit 2
}

count() { # of the lines of a file that are just this marker; editors on the web add CR
    tr -d '\r' <"$2" | grep -cxF -e "$1" || true
}

[ $# = 1 ] || die "usage: note.sh FILE <TEXT"
file=$1
[ ! -L "$file" ] || file=$(readlink -f -- "$file")
case $file in -*) file=./$file ;; esac
if [ -e "$file" ]; then
    [ -f "$file" ] || die "it is no file: $file"
    [ -w "$file" ] || die "it cannot be written: $file"
fi
folder=$(mktemp -d) || die "there is no place for what is written"
next=$file.$$.new
trap 'rm -rf "$folder" "$next"' EXIT
trap 'exit 2' HUP INT TERM
cat >"$folder/text" || die "the text could not be kept"
if grep -qF -e "$begin" -e "$end" "$folder/text"; then
    die "the text has a marker in it"
fi
if [ -e "$file" ]; then
    cat "$file" >"$folder/old" || die "it could not be read: $file"
    [ -z "$(tail -c 1 "$file" | tr '\0' x)" ] || echo >>"$folder/old"
else
    printf '# What this project reaches\n\n' >"$folder/old"
fi
case "$(count "$begin" "$folder/old") $(count "$end" "$folder/old")" in
'0 0') printf '%s\n%s\n' "$begin" "$end" >>"$folder/old" ;;
'1 1') ;;
*) die "$file does not have each marker once: $begin, $end" ;;
esac
# The path by the environment, as awk reads escapes in what -v gives.
text=$folder/text awk -v begin="$begin" -v end="$end" '
    { line = $0; sub(/\r$/, "", line) }
    line == end && !inside { exit 1 }
    line == end { inside = 0 }
    !inside { print }
    line == begin {
        inside = 1
        while ((got = (getline line < ENVIRON["text"])) > 0) print line
        if (got < 0) exit 1
    }
    END { if (inside) exit 1 }
' "$folder/old" >"$folder/new" || die "the markers of $file are in the wrong order"
if cmp -s "$folder/new" "$file"; then exit 0; fi
# Another file takes its place, whole: a full disk, a signal, or a second night at the same
# time leave no half of a note. What a link leads to is replaced; owner and rights stay.
if [ -e "$file" ]; then
    cp -p "$file" "$next" || die "it is as it was: $file"
fi
cat "$folder/new" >"$next" || die "it is as it was: $file"
mv -f "$next" "$file" || die "it is as it was: $file"
