// Sixteen numbers as a vector, in as many parts as the processor's own vectors make of them.
//
// By the vector types that GCC and clang share. GCC moves vectors wider than the processor's through
// memory, a few bytes at a time, so where there is no AVX-512 sixteen numbers are a structure of
// narrower vectors, which it keeps in registers.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_FMA)
#include <arm_neon.h>
#endif

namespace {

constexpr int LANES = 16;

#if defined(__AVX512F__)
constexpr int PART = 16;
#elif defined(__AVX__)
constexpr int PART = 8;
#else
constexpr int PART = 4;
#endif
constexpr int PARTS = LANES / PART;

typedef float FloatPart __attribute__((vector_size(PART * 4)));
typedef int32_t IntPart __attribute__((vector_size(PART * 4)));
typedef uint32_t WordPart __attribute__((vector_size(PART * 4)));
typedef uint16_t HalfPart __attribute__((vector_size(PART * 2)));
typedef int8_t BytePart __attribute__((vector_size(PART)));
typedef int8_t BytePairPart __attribute__((vector_size(PART * 2)));
typedef int16_t ShortPairPart __attribute__((vector_size(PART * 4)));

// `made(f)` is the vector whose parts are f(0), f(PART) ...: f knows by its argument which numbers
// are wanted. `by_parts(f, v ...)` is what `f` makes of the parts of vectors.

#ifdef __AVX512F__

typedef FloatPart Floats;
typedef WordPart Words;

inline const FloatPart& part_of(const Floats& v, int) { return v; }

template <class F>
inline auto made(const F& f) {
  return f(0);
}

template <class F, class... V>
inline auto by_parts(const F& f, const V&... v) {
  return f(v...);
}

#else

template <class Part>
struct Wide {
  Part parts[PARTS];

  auto operator[](int i) const { return parts[i / PART][i % PART]; }
};

typedef Wide<FloatPart> Floats;
typedef Wide<WordPart> Words;

inline const FloatPart& part_of(const Floats& v, int i) { return v.parts[i / PART]; }

template <class F>
inline auto made(const F& f) {
  Wide<decltype(f(0))> result;
  for (int i = 0; i < PARTS; ++i) result.parts[i] = f(i * PART);
  return result;
}

template <class F, class... V>
inline auto by_parts(const F& f, const V&... v) {
  Wide<decltype(f(v.parts[0]...))> result;
  for (int i = 0; i < PARTS; ++i) result.parts[i] = f(v.parts[i]...);
  return result;
}

inline Floats operator+(const Floats& a, const Floats& b) {
  return by_parts([](auto a, auto b) { return a + b; }, a, b);
}

inline Floats operator-(const Floats& a, const Floats& b) {
  return by_parts([](auto a, auto b) { return a - b; }, a, b);
}

inline Floats operator*(const Floats& a, const Floats& b) {
  return by_parts([](auto a, auto b) { return a * b; }, a, b);
}

inline Floats operator+(const Floats& a, float b) {
  return by_parts([b](auto a) { return a + b; }, a);
}

inline Floats operator-(const Floats& a, float b) {
  return by_parts([b](auto a) { return a - b; }, a);
}

inline Floats operator*(const Floats& a, float b) {
  return by_parts([b](auto a) { return a * b; }, a);
}

inline Floats operator/(const Floats& a, float b) {
  return by_parts([b](auto a) { return a / b; }, a);
}

inline Floats operator+(float a, const Floats& b) { return b + a; }

inline Floats operator*(float a, const Floats& b) { return b * a; }

inline Floats operator/(float a, const Floats& b) {
  return by_parts([a](auto b) { return a / b; }, b);
}

inline Floats operator-(const Floats& a) {
  return by_parts([](auto a) { return -a; }, a);
}

inline Floats& operator+=(Floats& a, const Floats& b) { return a = a + b; }

#endif

inline FloatPart every(float x) { return x - FloatPart{}; }

// a * b + c, rounded once where the processor can. The compiler is told to make no such operation by
// itself (-ffp-contract=off): whether it would hangs on the code around, and so a row's bits could
// tell how many rows share a kernel.
inline FloatPart fused(FloatPart a, FloatPart b, FloatPart c) {
#if defined(__AVX512F__)
  return (FloatPart)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (FloatPart)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_FEATURE_FMA)
  return (FloatPart)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

#ifndef __AVX512F__
inline Floats fused(const Floats& a, const Floats& b, const Floats& c) {
  return by_parts([](auto a, auto b, auto c) { return fused(a, b, c); }, a, b, c);
}
#endif

inline Floats fused(float a, const Floats& b, const Floats& c) {
  return by_parts([a](auto b, auto c) { return fused(every(a), b, c); }, b, c);
}

// One number of a part, by `f` of two at a time.
template <class F>
inline float reduced_part(const F& f, FloatPart v) {
#if defined(__AVX512F__)
  for (int i = 0; i < 4; ++i)
    v = f(__builtin_shufflevector(v, v, 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14),
          __builtin_shufflevector(v, v, 1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15));
#elif defined(__AVX__)
  v = f(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = f(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  v = f(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
#else
  v = f(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
  v = f(v, __builtin_shufflevector(v, v, 1, 0, 3, 2));
#endif
  return v[0];
}

template <class F>
inline float reduced(const F& f, const Floats& v) {
  FloatPart all = part_of(v, 0);
  for (int i = PART; i < LANES; i += PART) all = f(all, part_of(v, i));
  return reduced_part(f, all);
}

}  // namespace
