"""Stamps the header, chapter list and footer that all guide pages share into them, and rebuilds the search index from their text.

The pages under guide/ are the source; only what stands between the stamp comments is rewritten. Run it after editing a page.
"""
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

GUIDE = Path(__file__).resolve().parent.parent / "guide"
PAGES = [
    ("index.html", "What MegaNet is"),
    ("reading.html", "Reading a site"),
    ("addresses.html", "Addresses and blinding"),
    ("chunks.html", "Chunks and sealing"),
    ("finding.html", "Joining and finding"),
    ("keeping.html", "Keeping, and who sees what"),
    ("publishing.html", "Publishing and running"),
    ("comparing.html", "How it compares"),
    ("glossary.html", "Glossary"),
]
HEAD = """<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="guide.css">
<script type="module" src="guide.js"></script>"""
TOP = """<a class="skip" href="#main">Skip to the text</a>
<header class="top">
  <a class="brand" href="index.html"><img src="icon.svg" alt="" width="28" height="28"> <span>MegaNet, a guide</span></a>
  <a class="to-chapters" href="#chapters">Chapters</a>
  <form class="search" role="search" hidden>
    <input type="search" name="words" aria-label="Search the guide" placeholder="Search the guide" autocomplete="off" spellcheck="false">
    <div class="results" hidden></div>
  </form>
</header>"""
FOOT = """<footer class="foot"><p>This guide is itself a MegaNet site: plain files, no outside references, about formats of version 1 as they stood in November 2026.</p></footer>"""


class Text(HTMLParser):
    """Collects a page's text by section: (id, title, text) from h1/h2 to the next."""

    SKIP = {"script", "style", "nav", "form"}

    def __init__(self):
        super().__init__()
        self.sections, self.depth, self.in_main, self.heading = [], 0, False, False

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "main":
            self.in_main = True
        if not self.in_main:
            return
        if tag in self.SKIP:
            self.depth += 1
        if tag in ("h1", "h2"):
            self.sections.append([values.get("id", ""), "", ""])
            self.heading = True
        elif self.sections and tag not in ("a", "b", "em", "code", "i", "sub", "sup", "span", "kbd", "strong", "abbr"):
            self.sections[-1][2] += " "

    def handle_endtag(self, tag):
        if tag == "main":
            self.in_main = False
        if tag in self.SKIP and self.depth:
            self.depth -= 1
        if tag in ("h1", "h2"):
            self.heading = False

    def handle_data(self, data):
        if self.in_main and not self.depth and self.sections:
            self.sections[-1][1 if self.heading else 2] += data


def squeeze(text):
    return re.sub(r"\s+", " ", text).strip()


def stamp(page, name, block):
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise SystemExit(f"the page needs exactly one {start} … {end}")
    before, rest = page.split(start)
    return before + start + "\n" + block + "\n" + end + rest.split(end)[1]


def chapters(current, sections):
    lines = ['<nav class="chapters" id="chapters" aria-label="Chapters">', "  <h2>Chapters</h2>", "  <ol>"]
    for file, title in PAGES:
        here = file == current
        mark = ' aria-current="page"' if here else ""
        lines.append(f'    <li><a href="{file}"{mark}>{html.escape(title)}</a>')
        inside = [(i, t) for i, t, _ in sections if i] if here else []
        if inside:
            lines.append("      <ol>")
            lines += [f'        <li><a href="#{i}">{html.escape(t)}</a></li>' for i, t in inside]
            lines.append("      </ol>")
        lines.append("    </li>")
    return "\n".join([*lines, "  </ol>", "</nav>"])


def turn(number):
    links = []
    if number > 0:
        links.append(f'<a rel="prev" href="{PAGES[number - 1][0]}">← {html.escape(PAGES[number - 1][1])}</a>')
    if number < len(PAGES) - 1:
        links.append(f'<a rel="next" href="{PAGES[number + 1][0]}">{html.escape(PAGES[number + 1][1])} →</a>')
    return '<nav class="turn" aria-label="Next and previous chapter">\n  ' + "\n  ".join(links) + "\n</nav>"


def main():
    index = []
    for number, (file, chapter) in enumerate(PAGES):
        path = GUIDE / file
        page = path.read_text()
        reader = Text()
        reader.feed(page)
        sections = [(i, squeeze(t), squeeze(x)) for i, t, x in reader.sections]
        for name, block in (("head", HEAD), ("top", TOP), ("turn", turn(number)), ("chapters", chapters(file, sections)), ("foot", FOOT)):
            page = stamp(page, name, block)
        path.write_text(page)
        for i, title, text in sections:
            index.append({"page": file, "id": i, "title": title, "chapter": chapter, "text": text})
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in index)
    (GUIDE / "search.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(PAGES)} pages, {len(index)} sections, search.json {(GUIDE / 'search.json').stat().st_size} bytes")


if __name__ == "__main__":
    main()
