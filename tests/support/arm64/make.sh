#!/bin/sh
# Makes recorded.py: the program, and what it writes, with signed return addresses.
#   apt-get install gcc-aarch64-linux-gnu qemu-user
set -eu
cd "$(dirname "$0")"
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
compile="aarch64-linux-gnu-gcc -O1 -ffreestanding -fno-toplevel-reorder
	-mbranch-protection=standard -c"
$compile -fasynchronous-unwind-tables -o "$made/tables.o" tables.c
$compile -fno-asynchronous-unwind-tables -fno-unwind-tables -o "$made/bare.o" bare.c
aarch64-linux-gnu-gcc -nostdlib -static -s -Wl,--eh-frame-hdr -Wl,--build-id=none \
	-Wl,-z,max-page-size=4096 -Wl,-z,noseparate-code -o "$made/program" \
	"$made/tables.o" "$made/bare.o"
# One in 128 signatures is zero: made again then, as the tests ask for others.
qemu-aarch64 -cpu max "$made/program" >"$made/written"
python3 - "$made" >recorded.py <<'END'
import base64, sys, textwrap, zlib

print('"""A program of arm64 and what it wrote, by make.sh: compressed, in base64."""')
for name in ("program", "written"):
    with open(f"{sys.argv[1]}/{name}", "rb") as file:
        text = base64.b64encode(zlib.compress(file.read(), 9)).decode()
    lines = "\n".join(f'    "{line}"' for line in textwrap.wrap(text, 80))
    print(f"\n{name.upper()} = (\n{lines}\n)")
END
