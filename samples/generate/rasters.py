"""Draws the gallery's still pictures: strata.png, orchard.png, attractor.webp, labyrinth.webp, winding.webp."""
import cmath
import math
import random
import sys
from itertools import accumulate

from picture import (BONE, CORAL, DEEP, GALLERY, NIGHT, PETROL, SAND, TAU, noise_field, ramp, smooth, write_png, write_webp)


def strata():
    """Sediment: a height field bent by noise, cut into layers, each layer with its own colour and grain."""
    width, height, layers, shades = 1200, 800, 15, 16
    rng = random.Random(1859)
    bend = noise_field(width, height, 520, 5, 11)
    fold = noise_field(width, height, 300, 4, 12)
    grain = noise_field(width, height, 10, 3, 13)
    bases = [NIGHT, DEEP, DEEP, PETROL, (58, 132, 132), SAND, (214, 160, 96), CORAL, (176, 62, 40), BONE, (222, 208, 180)]
    order = []
    while len(order) < layers:
        pick = rng.choice(bases)
        if not order or pick != order[-1]:
            order.append(pick)
    palette = []
    for base in order:
        for s in range(shades):
            k = 0.66 + 0.42 * s / (shades - 1)
            palette.append(tuple(min(255, round(c * k)) for c in base))
    thickness = [rng.uniform(0.35, 1.6) for _ in range(layers)]
    edges = [0.0]
    for t in thickness:
        edges.append(edges[-1] + t / sum(thickness))
    # Where along 0..1 each of 4096 heights falls: (layer, how deep inside it).
    table = []
    layer = 0
    for i in range(4096):
        v = i / 4095
        while layer < layers - 1 and v > edges[layer + 1]:
            layer += 1
        table.append((layer, (v - edges[layer]) / (edges[layer + 1] - edges[layer])))
    rows = []
    for y in range(height):
        row = bytearray(width)
        base = y * width
        for x in range(width):
            # The fault: everything right of a slanted line has slipped down.
            slip = 0.085 if x * 0.93 + y * 0.36 > 905 else 0.0
            f = fold[base + x]
            v = y / height + bend[base + x] * 0.34 + f * 0.05 - slip
            v = 0.5 + (v - 0.5) * 0.78
            inside_layer, depth = table[min(4095, max(0, int(v * 4095)))]
            k = 0.5 + 0.55 * grain[base + x] + 0.34 * math.sin(depth * 19 + f * 6) * (0.4 + depth) - 0.55 * (1 - smooth(0, 0.12, depth))
            k += rng.random() * 0.16
            row[x] = inside_layer * shades + min(shades - 1, max(0, int(k * shades)))
        rows.append(row)
    write_png(GALLERY / "strata.png", width, height, rows, palette=palette)


def orchard():
    """A tree at every whole-number point, seen from the corner. Those you can see, gcd(x, y) = 1, are large; the hidden ones shrink with their gcd."""
    points, cell, fine = 60, 14, 4
    size, shades = points * cell, 16
    palette = ramp([(0, BONE), (1, DEEP)], shades)[:shades] + ramp([(0, BONE), (1, CORAL)], shades)

    def stamp(radius, first):
        """One cell's pixels for a disc, smoothed by counting fine × fine samples."""
        out = []
        for py in range(cell):
            row = bytearray()
            for px in range(cell):
                inside = sum(
                    math.hypot(px + (i + 0.5) / fine - cell / 2, py + (j + 0.5) / fine - cell / 2) <= radius
                    for i in range(fine) for j in range(fine))
                row.append(first + round(inside / fine ** 2 * (shades - 1)))
            out.append(bytes(row))
        return out

    stamps = {}
    rows = []
    for y in range(points, 0, -1):
        line = []
        for x in range(1, points + 1):
            g = math.gcd(x, y)
            if g not in stamps:
                stamps[g] = stamp(max(0.9, 5.9 / g ** 0.8), 0 if g == 1 else shades)
            line.append(stamps[g])
        rows += [b"".join(s[k] for s in line) for k in range(cell)]
    write_png(GALLERY / "orchard.png", size, size, rows, palette=palette)


def attractor():
    """Eighteen million steps of Peter de Jong's map; brightness is the logarithm of how often a pixel was visited."""
    size, steps = 1000, 18_000_000
    a, b, c, d = -1.4, 1.78, -2.63, -2.26
    hits = [0] * (size * size)
    x = y = 0.1
    sin, cos, half, scale = math.sin, math.cos, size / 2, size / 4.2
    for _ in range(steps):
        x, y = sin(a * y) - cos(b * x), sin(c * x) - cos(d * y)
        hits[int(half + y * scale) * size + int(half + x * scale)] += 1
    top = math.log1p(sorted(hits)[-size])
    colours = ramp([(0, NIGHT), (0.28, DEEP), (0.52, PETROL), (0.74, SAND), (0.9, BONE), (1, (255, 255, 255))], 1024)
    rgb = bytearray()
    for h in hits:
        rgb += bytes(colours[min(1023, int(1023 * math.log1p(h) / top))])
    write_webp(GALLERY / "attractor.webp", size, size, rgb, 76)


def blur(field, width, height, radius):
    """One box blur with wrapped edges, by running sums."""
    def rows(source, w, h):
        n = 2 * radius + 1
        out = []
        for y in range(h):
            line = source[y * w:(y + 1) * w]
            sums = [0.0, *accumulate(line[-radius:] + line + line[:radius])]
            out.append([(b - a) / n for a, b in zip(sums, sums[n:])])
        return out

    turned = [v for column in zip(*rows(field, width, height)) for v in column]
    return [v for column in zip(*rows(turned, height, width)) for v in column]


def labyrinth():
    """Turing's idea in four lines: near neighbours encourage, far neighbours forbid; begin with static and repeat."""
    width, height, rounds = 720, 720, 24
    rng = random.Random(1952)
    field = [rng.uniform(-1, 1) for _ in range(width * height)]
    for _ in range(rounds):
        near = blur(blur(field, width, height, 2), width, height, 2)
        far = blur(blur(field, width, height, 6), width, height, 6)
        field = [max(-1.0, min(1.0, old * 0.25 + (n - f) * 6)) for old, n, f in zip(field, near, far)]
    soft = blur(blur(field, width, height, 1), width, height, 1)
    glow = blur(blur(field, width, height, 40), width, height, 40)
    hue = noise_field(width, height, 300, 2, 52)
    warm = ramp([(0, NIGHT), (0.3, (62, 22, 34)), (0.56, CORAL), (0.8, SAND), (1, BONE)])
    cool = ramp([(0, NIGHT), (0.3, DEEP), (0.56, PETROL), (0.8, (150, 196, 176)), (1, BONE)])
    rgb = bytearray()
    for y in range(height):
        for x in range(width):
            i = y * width + x
            # Light from the upper left: compare with the neighbour there.
            slope = soft[i] - soft[(y - 2) % height * width + (x - 2) % width]
            v = min(255, max(0, int(112 + 72 * soft[i] + 92 * slope + 40 * glow[i])))
            t = smooth(-0.28, 0.28, hue[i] + (x + y) / (width + height) - 0.5)
            rgb += bytes(int(a + (b - a) * t) for a, b in zip(cool[v], warm[v]))
    write_webp(GALLERY / "labyrinth.webp", width, height, rgb, 80)


def winding():
    """A complex function on the plane: colour is the direction of f(z), the rings are its size, doubling from ring to ring."""
    size = 900
    wheel = ramp([(0, DEEP), (0.16, PETROL), (0.36, (150, 196, 176)), (0.5, BONE), (0.62, SAND), (0.8, CORAL), (0.92, (96, 40, 60)), (1, DEEP)], 720)
    rgb = bytearray()
    for py in range(size):
        for px in range(size):
            z = complex((px + 0.5) / size * 5 - 2.5, 2.5 - (py + 0.5) / size * 5)
            z3 = z * z * z
            bottom = z3 * z * z + 1.6
            f = (z3 - 1) * (z - complex(0.3, 1.5)) / bottom if bottom else 1e9
            size_log = math.log2(abs(f)) if f else -99.0
            turn = cmath.phase(f) / TAU % 1.0 if f else 0.0
            ring = size_log - math.floor(size_log)
            ray = turn * 24 % 1.0
            light = 0.72 + 0.28 * ring ** 0.6 - 0.10 * (1 - smooth(0, 0.10, min(ray, 1 - ray)))
            rgb += bytes(min(255, int(c * light)) for c in wheel[int(turn * 719)])
    write_webp(GALLERY / "winding.webp", size, size, rgb, 80)


PLATES = {f.__name__: f for f in (strata, orchard, attractor, labyrinth, winding)}

if __name__ == "__main__":
    for name in sys.argv[1:] or PLATES:
        PLATES[name]()
        print(name)
