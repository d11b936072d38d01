// Chance that can be repeated: a seeded generator and smooth noise built on it.

// Returns a function giving numbers in 0..1; equal seeds give equal sequences (the mulberry32 mixing steps).
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Smooth noise over the plane, 0..1, with one lattice point per unit.
export function noise(seed) {
  const SIZE = 64;
  const random = chance(seed);
  const lattice = Float32Array.from({ length: SIZE * SIZE }, random);
  const at = (i, j) => lattice[(j & (SIZE - 1)) * SIZE + (i & (SIZE - 1))];
  const ease = (t) => t * t * (3 - 2 * t);
  return (x, y) => {
    const i = Math.floor(x);
    const j = Math.floor(y);
    const u = ease(x - i);
    const v = ease(y - j);
    const top = at(i, j) + (at(i + 1, j) - at(i, j)) * u;
    const below = at(i, j + 1) + (at(i + 1, j + 1) - at(i, j + 1)) * u;
    return top + (below - top) * v;
  };
}
