"""Synthesises hunt.ogg and writes changes.json: six bells ring plain hunt, every change one swap further, until they are home."""
import array
import json
import math
import subprocess

from picture import GALLERY, TAU

RATE = 48_000
BELLS, STRIKE_SECONDS, TAIL_SECONDS = 6, 0.29, 2.6
PITCHES = [1046.5, 932.33, 830.61, 783.99, 698.46, 622.25]  # bell 1 is the treble
# A bell's partials as (ratio to the nominal, loudness, seconds to fade): hum, prime, tierce, quint, nominal, two above.
PARTIALS = [(0.25, 0.42, 2.4), (0.5, 0.50, 1.5), (0.6, 0.42, 1.1), (0.75, 0.20, 0.8), (1.0, 0.62, 0.7), (1.335, 0.22, 0.35), (2.0, 0.22, 0.25)]
AUDIO_BITS_PER_SECOND = 32_000


def plain_hunt(bells):
    """Rows from rounds back to rounds: swap every pair, then every inner pair, and so on."""
    row, rows = list(range(1, bells + 1)), []
    for change in range(2 * bells + 1):
        rows.append(row[:])
        for place in range(change % 2, bells - 1, 2):
            row[place], row[place + 1] = row[place + 1], row[place]
    return rows


def strike(pitch):
    """One stroke of a bell, as floats."""
    length = int(RATE * TAIL_SECONDS)
    out = [0.0] * length
    for ratio, loud, fade in PARTIALS:
        # Two nearly equal tones per partial: the slow beating is what makes it a bell.
        for detune in (0.9991, 1.0009):
            step = TAU * pitch * ratio * detune / RATE
            decay = math.exp(-1 / (RATE * fade))
            # A damped oscillator by recurrence: no sine call per sample.
            k = 2 * decay * math.cos(step)
            k2 = decay * decay
            a, b = 0.0, decay * math.sin(step) * loud * 0.5
            for i in range(length):
                out[i] += a
                a, b = b, k * b - k2 * a
    rise = int(RATE * 0.003)
    for i in range(rise):
        out[i] *= i / rise
    fall = int(RATE * 0.25)
    for i in range(fall):
        out[length - 1 - i] *= i / fall
    return out


def main():
    rows = plain_hunt(BELLS)
    strokes, second = [], 0.15
    for number, row in enumerate(rows):
        for bell in row:
            strokes.append((round(second, 3), bell))
            second += STRIKE_SECONDS
        if number % 2:
            second += STRIKE_SECONDS  # ringers leave a gap of one bell after every second row
    total = int(RATE * (second + TAIL_SECONDS))
    left, right = [0.0] * total, [0.0] * total
    sounds = {bell: strike(pitch) for bell, pitch in enumerate(PITCHES, 1)}
    for at, bell in strokes:
        start = int(at * RATE)
        pan = 0.25 + 0.5 * (bell - 1) / (BELLS - 1)
        for channel, gain in ((left, 1 - pan), (right, pan)):
            channel[start:start + len(sounds[bell])] = [
                old + gain * new for old, new in zip(channel[start:start + len(sounds[bell])], sounds[bell])]
    peak = max(max(map(abs, left)), max(map(abs, right)))
    samples = array.array("h", (int(v / peak * 29000) for pair in zip(left, right) for v in pair))
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "s16le", "-ar", str(RATE), "-ac", "2", "-i", "-", "-c:a", "libopus", "-b:a", str(AUDIO_BITS_PER_SECOND),
         "-fflags", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1", str(GALLERY / "hunt.ogg")],
        input=samples.tobytes(), check=True)
    (GALLERY / "changes.json").write_text(json.dumps({"bells": BELLS, "rows": rows, "strokes": strokes}, separators=(",", ":")) + "\n")
    print(f"hunt.ogg ({total / RATE:.1f} s), changes.json")


if __name__ == "__main__":
    main()
