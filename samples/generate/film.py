"""Renders stones.webm (VP9, with cues, so a player can seek) and its poster stones.webp: four stones fall into still water."""
import math
import subprocess
import tempfile
from pathlib import Path

from picture import BONE, DEEP, GALLERY, NIGHT, PETROL, SAND, TAU, ramp, write_webp

WIDTH, HEIGHT, RATE, SECONDS = 640, 360, 24, 12
SPEED, WAVELENGTH = 92.0, 27.0  # pixels a second, pixels
STONES = [(0.5, 205, 150, 1.0), (2.5, 468, 104, 0.8), (4.4, 352, 268, 1.15), (6.9, 96, 292, 0.7)]  # second, x, y, weight
FINE = 4  # distance steps a pixel
POSTER_SECOND = 5.9
VIDEO_BITS_PER_SECOND = 250_000

COLOURS = ramp([(0, NIGHT), (0.22, (14, 36, 60)), (0.46, DEEP), (0.6, PETROL), (0.74, (110, 170, 160)), (0.86, SAND), (0.95, BONE), (1, (255, 255, 255))])
PLANES = [bytes(c[k] for c in COLOURS) for k in range(3)]


def distances(x, y):
    """Distance from (x, y) for every pixel, in steps of 1/FINE pixel."""
    return [int(FINE * math.hypot(px - x, py - y)) for py in range(HEIGHT) for px in range(WIDTH)]


def ring(age, weight):
    """Water height by distance, `age` seconds after a stone fell: a wave train that spreads, thins and dies."""
    reach = FINE * (int(math.hypot(WIDTH, HEIGHT)) + 2)
    if age <= 0:
        return None
    out = []
    front = SPEED * age
    for step in range(reach):
        d = step / FINE
        behind = front - d
        if behind < 0:
            out.append(0.0)
            continue
        swell = min(1.0, behind / 14)
        out.append(weight * swell * math.exp(-behind / 135 - age / 5) * math.sin(behind * TAU / WAVELENGTH) / math.sqrt(1 + d / 80))
    return out


def frame(second, maps, base):
    """One frame as palette indices."""
    height = None
    for (start, _, _, weight), far in zip(STONES, maps):
        table = ring(second - start, weight)
        if table is None:
            continue
        height = [table[d] for d in far] if height is None else [h + table[d] for h, d in zip(height, far)]
    if height is None:
        return bytes(int(b) for b in base)
    # Light falls from the upper left: a pixel is bright where the water rises toward it.
    shift = 2 * WIDTH + 3
    lit = [b + 300 * (h - o) + 22 * h for b, h, o in zip(base, height, height[:shift] + height[:-shift])]
    for start in range(0, len(lit), WIDTH):  # the first columns have no neighbour to the left
        lit[start:start + 3] = [lit[start + 3]] * 3
    return bytes(0 if v < 0 else 255 if v > 255 else int(v) for v in lit)


def main():
    maps = [distances(x, y) for _, x, y, _ in STONES]
    base = [64 + 70 * (y / HEIGHT) + 10 * math.sin(x / WIDTH * math.pi) for y in range(HEIGHT) for x in range(WIDTH)]
    with tempfile.TemporaryDirectory() as folder:
        lossless = Path(folder) / "frames.mkv"
        encoder = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gbrp", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "-",
             "-c:v", "ffv1", str(lossless)], stdin=subprocess.PIPE)
        for number in range(RATE * SECONDS):
            index = frame(number / RATE, maps, base)
            red, green, blue = (index.translate(p) for p in PLANES)
            encoder.stdin.write(green + blue + red)
            if number == round(POSTER_SECOND * RATE):
                write_webp(GALLERY / "stones.webp", WIDTH, HEIGHT, bytes(v for rgb in zip(red, green, blue) for v in rgb), 78)
        encoder.stdin.close()
        if encoder.wait():
            raise SystemExit("ffmpeg could not store the frames")
        for number in (1, 2):
            subprocess.run(
                ["ffmpeg", "-v", "error", "-y", "-i", str(lossless), "-an", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-b:v", str(VIDEO_BITS_PER_SECOND),
                 "-g", str(2 * RATE), "-deadline", "good", "-cpu-used", "1", "-threads", "1", "-pass", str(number), "-passlogfile", str(Path(folder) / "pass"),
                 "-cues_to_front", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1",
                 str(GALLERY / "stones.webm")], check=True)
    print("stones.webm, stones.webp")


if __name__ == "__main__":
    main()
