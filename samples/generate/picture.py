"""What the generators share: seeded noise, colour ramps, and writing pictures. Standard library only; WebP goes through ffmpeg."""
import math
import random
import struct
import subprocess
import zlib
from pathlib import Path

GALLERY = Path(__file__).resolve().parent.parent / "gallery"

# One set of colours for every plate, dark to light.
NIGHT, DEEP, PETROL = (13, 20, 33), (18, 48, 79), (24, 106, 116)
SAND, CORAL, BONE = (232, 196, 132), (228, 87, 46), (245, 238, 224)


def ramp(stops, steps=256):
    """`steps` colours along `stops`, a list of (position 0..1, (r, g, b))."""
    colours = []
    for i in range(steps):
        t = i / (steps - 1)
        for (p0, c0), (p1, c1) in zip(stops, stops[1:]):
            if t <= p1:
                f = 0 if p1 == p0 else (t - p0) / (p1 - p0)
                f = min(1, max(0, f))
                colours.append(tuple(round(a + (b - a) * f) for a, b in zip(c0, c1)))
                break
    return colours


def noise_field(width, height, cell, octaves, seed):
    """Tiling value noise in -1..1 as a flat list, row by row; `cell` is the first octave's lattice size in pixels."""
    rng = random.Random(seed)
    field = [0.0] * (width * height)
    total, gain = 0.0, 1.0
    for _ in range(octaves):
        columns, rows = max(1, round(width / cell)), max(1, round(height / cell))
        lattice = [[rng.uniform(-1, 1) for _ in range(columns)] for _ in range(rows)]
        xs = []
        for x in range(width):
            u = x * columns / width
            i = int(u)
            f = u - i
            xs.append((i % columns, (i + 1) % columns, f * f * (3 - 2 * f)))
        for y in range(height):
            v = y * rows / height
            j = int(v)
            f = v - j
            f = f * f * (3 - 2 * f)
            top, below = lattice[j % rows], lattice[(j + 1) % rows]
            line = [a + (b - a) * f for a, b in zip(top, below)]
            base = y * width
            field[base:base + width] = [
                old + gain * (line[a] + (line[b] - line[a]) * t)
                for old, (a, b, t) in zip(field[base:base + width], xs)
            ]
        total += gain
        gain /= 2
        cell /= 2
    return [value / total for value in field]


def write_png(path, width, height, rows, depth=8, palette=None):
    """Writes an indexed (with `palette`) or RGB PNG. `rows` yields one bytes object per row, already packed."""
    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    kind = 3 if palette else 2
    raw = b"".join(b"\0" + bytes(row) for row in rows)
    out = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    if palette:
        out += part(b"PLTE", b"".join(bytes(c) for c in palette))
    Path(path).write_bytes(out + part(b"IDAT", zlib.compress(raw, 9)) + part(b"IEND", b""))


def write_webp(path, width, height, rgb, quality=80):
    """Encodes `width`×`height` RGB bytes as WebP."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-i", "-",
         "-c:v", "libwebp", "-quality", str(quality), "-compression_level", "6", "-bitexact", str(path)],
        input=bytes(rgb), check=True)


def lerp(a, b, t):
    return a + (b - a) * t


def smooth(a, b, x):
    t = min(1.0, max(0.0, (x - a) / (b - a)))
    return t * t * (3 - 2 * t)


TAU = math.tau
