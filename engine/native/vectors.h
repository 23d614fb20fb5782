// Arithmetic on sixteen numbers at a time: what comes from memory and goes there, sums and maxima,
// and the functions that layers are made of.

#pragma once

#include <algorithm>
#include <cmath>

#include "parts.h"

namespace {

struct Bfloat {
  uint16_t bits;
};

template <class Part, class T>
inline Part part_at(const T* from) {
  Part v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline Floats load(const float* from) {
  return made([=](int i) { return part_at<FloatPart>(from + i); });
}

inline Floats load(const Bfloat* from) {
  return made([=](int i) {
    const HalfPart halves = part_at<HalfPart>(from + i);
    return (FloatPart)(__builtin_convertvector(halves, WordPart) << 16);
  });
}

inline void store(float* to, const Floats& v) {
  for (int i = 0; i < LANES; i += PART) std::memcpy(to + i, &part_of(v, i), sizeof(FloatPart));
}

inline void store(Bfloat* to, const Floats& v) {  // rounds to nearest, ties to even
  for (int i = 0; i < LANES; i += PART) {
    const WordPart u = (WordPart)part_of(v, i);
    const HalfPart h =
        __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, HalfPart);
    std::memcpy(to + i, &h, sizeof h);
  }
}

inline Floats all(float x) {
  return made([x](int) { return every(x); });
}

inline Floats larger(const Floats& a, const Floats& b) {
  return by_parts([](auto a, auto b) { return a > b ? a : b; }, a, b);
}

inline float sum(const Floats& v) {
  return reduced([](auto a, auto b) { return a + b; }, v);
}

inline float largest(const Floats& v) {
  return reduced([](auto a, auto b) { return a > b ? a : b; }, v);
}

// exp by range reduction and a polynomial (Cephes); 0 far below, as exp of LOWEST is.
inline FloatPart exponential_of(FloatPart x) {
  const FloatPart low = every(-87.3f);
  const FloatPart bounded = x > low ? x : low;
  const FloatPart rounder = every(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const FloatPart n = fused(bounded, every(1.44269504f), rounder) - rounder;
  FloatPart r = fused(n, every(-0.693359375f), bounded);
  r = fused(n, every(2.12194440e-4f), r);
  FloatPart p = every(1.9875691500e-4f);
  p = fused(p, r, every(1.3981999507e-3f));
  p = fused(p, r, every(8.3334519073e-3f));
  p = fused(p, r, every(4.1665795894e-2f));
  p = fused(p, r, every(1.6666665459e-1f));
  p = fused(p, r, every(5.0000001201e-1f));
  const FloatPart y = fused(p, r * r, r) + 1.0f;
  const IntPart power = (__builtin_convertvector(n, IntPart) + 127) << 23;
  return x < low ? FloatPart{} : y * (FloatPart)power;
}

inline Floats exponential(const Floats& x) {
  return by_parts([](auto x) { return exponential_of(x); }, x);
}

// 1 / x to within two units of the last place, for numbers of usual size.
inline Floats reciprocal(Floats x) {
#ifdef __AVX512F__  // a division takes as long as twenty additions
  const Floats guess = (Floats)_mm512_rcp14_ps((__m512)x);
  return guess * fused(-x, guess, all(2.0f));
#else
  return 1.0f / x;
#endif
}

// 1 / (1 + exp(-x)); bounded, as the reciprocal knows no infinity.
inline Floats sigmoid(Floats x) { return reciprocal(exponential(-larger(x, all(-80.0f))) + 1.0f); }

inline Floats silu(Floats x) { return larger(x, all(-80.0f)) * sigmoid(x); }

// By its approximation: see engine/models/activation.py.
inline Floats gelu_tanh(Floats x) {
  return x * sigmoid(x * fused(0.0713548128f * x, x, all(1.59576912f)));
}

// What becomes of gates and values: see engine/models/activation.py.
enum Gates : int { SILU = 0, GELU_TANH = 1, CLAMPED = 2 };

inline Floats smaller(const Floats& a, const Floats& b) { return -larger(-a, -b); }

inline Floats through_gate(Gates gates, Floats gate, Floats up) {
  if (gates == CLAMPED) {
    gate = smaller(gate, all(7.0f));
    up = smaller(larger(up, all(-7.0f)), all(7.0f));
    return gate * sigmoid(gate * 1.702f) * (up + 1.0f);
  }
  return (gates == GELU_TANH ? gelu_tanh(gate) : silu(gate)) * up;
}

// cap * tanh(x / cap), a soft cap.
inline Floats capped(Floats x, float cap) {
  return cap * (2.0f * sigmoid(x * (2.0f / cap)) - 1.0f);
}

inline float exponential(float x) { return exponential(all(x))[0]; }

}  // namespace
