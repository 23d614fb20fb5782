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

inline float number(Bfloat x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
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

// Terms of a sum that one multiply_add takes of each of sixteen columns, which lie side by side.
template <class T>
constexpr int STEP = 1;
template <>
constexpr int STEP<Bfloat> = 2;

// What a product takes of its weights at a time, as the arithmetic wants it: floats, or the pairs
// of bfloat16 of sixteen columns. Weights may be integers; those of eight bits are exact in either.

inline Floats terms(const float* weights, float) { return load(weights); }

inline Floats terms(const int8_t* weights, float) {
#ifdef __AVX512F__  // GCC 12 makes sixteen conversions of what stands below
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights));
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
#else
  return made([=](int i) {
    const IntPart integers = __builtin_convertvector(part_at<BytePart>(weights + i), IntPart);
    return __builtin_convertvector(integers, FloatPart);
  });
#endif
}

inline Words terms(const Bfloat* weights, Bfloat) {
  return made([=](int i) { return part_at<WordPart>(weights + 2 * i); });
}

inline Words terms(const int8_t* weights, Bfloat) {
#ifdef __AVX512BF16__
  return (Words)_mm512_cvtne2ps_pbh((__m512)terms(weights + LANES, 0.0f),
                                    (__m512)terms(weights, 0.0f));
#else
  return made([=](int i) {
    const BytePairPart bytes = part_at<BytePairPart>(weights + 2 * i);
    const IntPart pairs = (IntPart)__builtin_convertvector(bytes, ShortPairPart);
    const WordPart first = (WordPart)__builtin_convertvector(pairs << 16 >> 16, FloatPart);
    const WordPart second = (WordPart)__builtin_convertvector(pairs >> 16, FloatPart);
    return first >> 16 | (second & 0xffff0000u);
  });
#endif
}

inline Floats first_of_pairs(const Words& pairs) {
  return by_parts([](auto pairs) { return (FloatPart)(pairs << 16); }, pairs);
}

inline Floats second_of_pairs(const Words& pairs) {
  return by_parts([](auto pairs) { return (FloatPart)(pairs & 0xffff0000u); }, pairs);
}

inline Floats multiply_add(const Floats& sums, const float* x, const Floats& weights) {
  return fused(*x, weights, sums);
}

inline Floats multiply_add(const Floats& sums, const Bfloat* x, const Words& weights) {
#ifdef __AVX512BF16__
  int32_t pair;
  std::memcpy(&pair, x, sizeof pair);
  return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)_mm512_set1_epi32(pair),
                                  (__m512bh)weights);
#else
  const Floats first = fused(number(x[0]), first_of_pairs(weights), sums);
  return fused(number(x[1]), second_of_pairs(weights), first);
#endif
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
