// Sixteen numbers at a time, by vector types that GCC and clang share: what the processor makes of
// them is the compiler's affair.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef int8_t Bytes __attribute__((vector_size(LANES)));
typedef int8_t BytePairs __attribute__((vector_size(LANES * 2)));
typedef int16_t ShortPairs __attribute__((vector_size(LANES * 4)));

struct Bfloat {
  uint16_t bits;
};

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline Floats load(const Bfloat* from) {
  Halves h;
  std::memcpy(&h, from, sizeof h);
  return (Floats)(__builtin_convertvector(h, Words) << 16);
}

inline float number(Bfloat x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }

inline void store(Bfloat* to, Floats v) {  // rounds to nearest, ties to even
  const Words u = (Words)v;
  const Halves h = __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, Halves);
  std::memcpy(to, &h, sizeof h);
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
  Bytes bytes;
  std::memcpy(&bytes, weights, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes, Ints), Floats);
#endif
}

inline Words terms(const Bfloat* weights, Bfloat) {
  Words pairs;
  std::memcpy(&pairs, weights, sizeof pairs);
  return pairs;
}

inline Words terms(const int8_t* weights, Bfloat) {
#ifdef __AVX512BF16__
  return (Words)_mm512_cvtne2ps_pbh((__m512)terms(weights + LANES, 0.0f),
                                    (__m512)terms(weights, 0.0f));
#else
  BytePairs bytes;
  std::memcpy(&bytes, weights, sizeof bytes);
  const Ints pairs = (Ints)__builtin_convertvector(bytes, ShortPairs);
  const Words first = (Words)__builtin_convertvector(pairs << 16 >> 16, Floats);
  const Words second = (Words)__builtin_convertvector(pairs >> 16, Floats);
  return first >> 16 | (second & 0xffff0000u);
#endif
}

inline Floats multiply_add(Floats sums, const float* x, Floats weights) {
  return sums + *x * weights;
}

inline Floats multiply_add(Floats sums, const Bfloat* x, Words weights) {
#ifdef __AVX512BF16__
  int32_t pair;
  std::memcpy(&pair, x, sizeof pair);
  return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)_mm512_set1_epi32(pair),
                                  (__m512bh)weights);
#else
  sums = sums + number(x[0]) * (Floats)(weights << 16);
  return sums + number(x[1]) * (Floats)(weights & 0xffff0000u);
#endif
}

inline Floats all(float x) { return Floats{} + x; }

inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// Sums of neighbouring pairs: those of a, then those of b.
inline Floats pairs(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

inline float sum(Floats v) {
  v = pairs(v, v);
  v = pairs(v, v);
  v = pairs(v, v);
  return pairs(v, v)[0];
}

// The larger of neighbouring pairs: those of a, then those of b.
inline Floats larger_of_pairs(Floats a, Floats b) {
  return larger(
      __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
      __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
}

inline float largest(Floats v) {
  v = larger_of_pairs(v, v);
  v = larger_of_pairs(v, v);
  v = larger_of_pairs(v, v);
  return larger_of_pairs(v, v)[0];
}

// exp by range reduction and a polynomial (Cephes); 0 far below, as exp of LOWEST is.
inline Floats exponential(Floats x) {
  const Floats low = all(-87.3f);
  const Floats bounded = larger(x, low);
  const Floats rounder = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats n = (bounded * 1.44269504f + rounder) - rounder;
  Floats r = bounded - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const Floats y = p * (r * r) + r + 1.0f;
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  return x < low ? Floats{} : y * (Floats)power;
}

// 1 / x to within two units of the last place, for numbers of usual size.
inline Floats reciprocal(Floats x) {
#ifdef __AVX512F__  // a division takes as long as twenty additions
  const Floats guess = (Floats)_mm512_rcp14_ps((__m512)x);
  return guess * (2.0f - x * guess);
#else
  return 1.0f / x;
#endif
}

// 1 / (1 + exp(-x)); bounded, as the reciprocal knows no infinity.
inline Floats sigmoid(Floats x) { return reciprocal(exponential(-larger(x, all(-80.0f))) + 1.0f); }

inline Floats silu(Floats x) { return larger(x, all(-80.0f)) * sigmoid(x); }

// By its approximation: see engine/models/activation.py.
inline Floats gelu_tanh(Floats x) {
  return x * sigmoid(x * (1.59576912f + 0.0713548128f * x * x));
}

// cap * tanh(x / cap), a soft cap.
inline Floats capped(Floats x, float cap) {
  return cap * (2.0f * sigmoid(x * (2.0f / cap)) - 1.0f);
}

inline float exponential(float x) { return exponential(all(x))[0]; }

}  // namespace
