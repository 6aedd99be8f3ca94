// The work of a challenge, in a thread of its own: the first number n for which SHA-256 (FIPS 180-4) of "<seed>.<n>"
// begins with so many zero bits. The text fits into one block. The browser's own SHA-256 answers one text at a time and
// later, which takes many times as long, and is there under https only.
"use strict";

const ROUNDS = 64;

/** The first 32 bits of the fractional parts of the square (2) or cube (3) roots of the first primes. */
function fractions(count, root) {
  const found = [];
  for (let n = 2; found.length < count; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) prime &&= n % d !== 0;
    if (prime) found.push(((n ** (1 / root)) % 1) * 2 ** 32 | 0);
  }
  return Int32Array.from(found);
}

const START = fractions(8, 2);
const K = fractions(ROUNDS, 3);
const W = new Int32Array(ROUNDS);

/** The first word of the SHA-256 of the block with its 16 words in W. */
function firstWord() {
  for (let t = 16; t < ROUNDS; t++) {
    const x = W[t - 15];
    const y = W[t - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    W[t] = (W[t - 16] + s0 + W[t - 7] + s1) | 0;
  }
  let [a, b, c, d, e, f, g, h] = START;
  for (let t = 0; t < ROUNDS; t++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const one = (h + s1 + ((e & f) ^ (~e & g)) + K[t] + W[t]) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g; // one by one: a list for each round would take most of the time
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  return (START[0] + a) >>> 0;
}

/** The number that solves it. `bits` is at most 32, so the first word decides. */
function solve(seed, bits) {
  const below = 2 ** (32 - bits);
  const bytes = new Uint8Array(64);
  const words = new DataView(bytes.buffer);
  const head = `${seed}.`;
  for (let i = 0; i < head.length; i++) bytes[i] = head.charCodeAt(i);
  for (let n = 0; ; n++) {
    const digits = String(n);
    const length = head.length + digits.length;
    for (let i = 0; i < digits.length; i++) bytes[head.length + i] = digits.charCodeAt(i);
    bytes[length] = 0x80;
    words.setUint32(60, length * 8);
    for (let t = 0; t < 16; t++) W[t] = words.getInt32(t * 4);
    if (firstWord() < below) return n;
  }
}

onmessage = ({ data: { seed, bits } }) => postMessage(solve(seed, bits));
