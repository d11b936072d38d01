"""Checks both sample sites: every reference resolves inside its own site, names obey the path rules, sizes stay in budget. Prints faults; exits 1 if there are any."""
import json
import re
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SAMPLES = Path(__file__).resolve().parent.parent
SITES = ["guide", "gallery"]
SITE_MAX_BYTES = 2_500_000
VIDEO_MAX_BYTES, AUDIO_MAX_BYTES, CHUNK_BYTES = 400_000, 150_000, 262_144
PATH_MAX_BYTES, PATH_MAX_DEPTH = 512, 32
TEXT = {".html", ".css", ".js", ".json", ".svg"}
NAMESPACE = "http://www.w3.org/2000/svg"


class References(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.ids, self.images = [], set(), []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        for name in ("href", "src", "poster", "action", "data"):
            if values.get(name) is not None:
                self.found.append(values[name])
        if values.get("srcset"):
            self.found += [part.split()[0] for part in values["srcset"].split(",")]
        if "id" in values:
            if values["id"] in self.ids:
                self.found.append(f"#doubled-id-{values['id']}")
            self.ids.add(values["id"])
        if tag == "img" and "alt" not in values:
            self.images.append(values.get("src"))
        if "style" in values:
            self.found.append("style attribute: forbidden where the policy has no unsafe-inline for styles")


def references(path, text):
    """What a text file refers to, as written."""
    if path.suffix in (".html", ".svg"):
        reader = References()
        reader.feed(text)
        return reader.found, reader
    if path.suffix == ".css":
        return re.findall(r"url\(\s*['\"]?([^'\")]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text), None
    if path.suffix == ".js":
        return re.findall(r"(?:from|import)\s*\(?\s*\"(\.[^\"]+)\"", text), None
    return [], None


def check_site(site):
    faults = []
    root = SAMPLES / site
    files = sorted(p for p in root.rglob("*") if p.is_file())
    pages, fragments = {}, []
    folded = set()
    for path in files:
        name = path.relative_to(root).as_posix()
        if len(name.encode()) > PATH_MAX_BYTES or name.count("/") >= PATH_MAX_DEPTH or unicodedata.normalize("NFC", name) != name:
            faults.append(f"{name}: breaks a path rule")
        if re.search(r"[\\\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]|%2e|%2f|%5c|%00|^[A-Za-z]:", name, re.I) or path.is_symlink():
            faults.append(f"{name}: forbidden in a path")
        if name.casefold() in folded:
            faults.append(f"{name}: differs from another name only in case")
        folded.add(name.casefold())
        if path.suffix not in TEXT:
            continue
        text = path.read_text()
        for url in re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'<)]*", text.replace(NAMESPACE, "")):
            faults.append(f"{name}: names {url}")
        found, reader = references(path, text)
        if reader:
            pages[name] = reader.ids
            faults += [f"{name}: image {src} has no alt" for src in reader.images]
        for reference in found:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc or reference.startswith("/") or "style attribute" in reference:
                faults.append(f"{name}: {reference} is not relative")
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if root not in target.parents or not target.is_file():
                faults.append(f"{name}: {reference} leads nowhere")
            elif parts.fragment:
                fragments.append((name, reference, target.relative_to(root).as_posix(), parts.fragment))
    if (root / "search.json").exists():
        for entry in json.loads((root / "search.json").read_text()):
            if entry["id"]:
                fragments.append(("search.json", entry["title"], entry["page"], entry["id"]))
    for name, reference, page, fragment in fragments:
        if fragment not in pages.get(page, ()):
            faults.append(f"{name}: {reference} points at an id that is not there")
    total = sum(p.stat().st_size for p in files)
    if total > SITE_MAX_BYTES:
        faults.append(f"{total} bytes, more than {SITE_MAX_BYTES}")
    for path in files:
        limit = {".webm": VIDEO_MAX_BYTES, ".ogg": AUDIO_MAX_BYTES}.get(path.suffix)
        if limit and path.stat().st_size > limit:
            faults.append(f"{path.name}: more than {limit} bytes")
    if site == "gallery":
        if not any(p.stat().st_size > CHUNK_BYTES for p in files):
            faults.append("no file is larger than one chunk")
        listed = {f["path"]: f["bytes"] for f in json.loads((root / "plates.json").read_text())["files"]}
        real = {p.relative_to(root).as_posix(): p.stat().st_size for p in files if p.name != "plates.json"}
        if listed != real:
            faults.append("plates.json is out of date: run weigh.py")
    print(f"{site}: {len(files)} files, {total} bytes, {len(faults)} faults")
    return [f"{site}/{fault}" for fault in faults]


def main():
    faults = [fault for site in SITES for fault in check_site(site)]
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
