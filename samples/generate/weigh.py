"""Writes gallery/plates.json: every file of the gallery with its size in bytes, heaviest first (the list leaves itself out)."""
import json

from picture import GALLERY


def main():
    files = [
        {"path": path.relative_to(GALLERY).as_posix(), "bytes": path.stat().st_size}
        for path in GALLERY.rglob("*") if path.is_file() and path.name != "plates.json"
    ]
    files.sort(key=lambda f: (-f["bytes"], f["path"]))
    lines = ",\n".join("    " + json.dumps(f) for f in files)
    (GALLERY / "plates.json").write_text(f'{{\n  "files": [\n{lines}\n  ]\n}}\n')
    print(f"plates.json: {len(files)} files, {sum(f['bytes'] for f in files)} bytes")


if __name__ == "__main__":
    main()
