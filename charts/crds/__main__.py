import argparse
import sys

from charts.crds.files import files

options = argparse.ArgumentParser(prog="python -m charts.crds")
options.add_argument("--write", action="store_true", help="write the files that are out of date")
write = options.parse_args().write
stale = {
    file: text for file, text in files().items() if not file.exists() or file.read_text() != text
}
for file, text in stale.items():
    print(file)  # noqa: T201 - what the command is there for
    if write:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
sys.exit(bool(stale) and not write)
