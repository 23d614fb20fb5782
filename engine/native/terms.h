// What a product takes of its rows and of its weights at a time.
//
// A row's numbers are multiplied as they are where the processor has operations for them. Where it
// has none for pairs of bfloat16, both sides are widened to floats on the way, which is exact.

#pragma once

#include <type_traits>

#include "vectors.h"

namespace {

// Terms of a sum that one multiply_add takes of each of sixteen columns, which lie side by side.
template <class T>
constexpr int STEP = 1;
template <>
constexpr int STEP<Bfloat> = 2;

// What the numbers of rows of T are multiplied as.
#ifdef __AVX512BF16__
template <class T>
using Factor = T;
#else
template <class T>
using Factor = float;
#endif

template <class T>
constexpr bool WIDENS = !std::is_same_v<Factor<T>, T>;

// Of a row: `count` numbers, a multiple of 16, in `room` if they are not taken as they are.
template <class T>
const Factor<T>* factors(const T* x, int64_t count, Factor<T>* room) {
  if constexpr (WIDENS<T>) {
    for (int64_t i = 0; i < count; i += LANES) store(room + i, load(x + i));
    return room;
  } else {
    return x;
  }
}

// Two bfloat16 of each of sixteen columns, and what they are.

inline Words pairs_of(const Bfloat* weights) {
  return made([=](int i) { return part_at<WordPart>(weights + 2 * i); });
}

inline Floats first_of_pairs(const Words& pairs) {
  return by_parts([](auto pairs) { return (FloatPart)(pairs << 16); }, pairs);
}

inline Floats second_of_pairs(const Words& pairs) {
  return by_parts([](auto pairs) { return (FloatPart)(pairs & 0xffff0000u); }, pairs);
}

// Weights of a step as rows of T take them. They may be integers; those of eight bits are exact in
// either type. GCC 12 makes of its own conversions of bytes one for each.

inline Floats terms(const float* weights, float) { return load(weights); }

inline Floats terms(const int8_t* weights, float) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights));
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
#elif defined(__AVX2__)
  return made([=](int i) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(weights + i));
    return (FloatPart)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  });
#else
  return made([=](int i) {
    const IntPart integers = __builtin_convertvector(part_at<BytePart>(weights + i), IntPart);
    return __builtin_convertvector(integers, FloatPart);
  });
#endif
}

#ifdef __AVX512BF16__

inline Words terms(const Bfloat* weights, Bfloat) { return pairs_of(weights); }

inline Words terms(const int8_t* weights, Bfloat) {
  return (Words)_mm512_cvtne2ps_pbh((__m512)terms(weights + LANES, 0.0f),
                                    (__m512)terms(weights, 0.0f));
}

#else

inline Words terms(const Bfloat* weights, Bfloat) { return pairs_of(weights); }

// Two bytes of each of sixteen columns.
struct BytePairs {
  const int8_t* at;
};

inline BytePairs terms(const int8_t* weights, Bfloat) { return {weights}; }

template <bool SECOND>
[[gnu::always_inline]] inline Floats of_pairs(BytePairs pairs) {
#if defined(__AVX512F__)
  const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(pairs.at));
  const __m256i chosen = _mm256_srai_epi16(SECOND ? both : _mm256_slli_epi16(both, 8), 8);
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(chosen));
#elif defined(__AVX2__)
  return made([=](int i) {
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pairs.at + 2 * i));
    const __m128i chosen = _mm_srai_epi16(SECOND ? both : _mm_slli_epi16(both, 8), 8);
    return (FloatPart)_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(chosen));
  });
#else
  return made([=](int i) {
    const BytePairPart bytes = part_at<BytePairPart>(pairs.at + 2 * i);
    const IntPart both = (IntPart)__builtin_convertvector(bytes, ShortPairPart);
    return __builtin_convertvector((SECOND ? both : both << 16) >> 16, FloatPart);
  });
#endif
}

inline Floats first_of_pairs(BytePairs pairs) { return of_pairs<false>(pairs); }

inline Floats second_of_pairs(BytePairs pairs) { return of_pairs<true>(pairs); }

#endif

inline Floats multiply_add(const Floats& sums, const float* x, const Floats& weights) {
  return fused(*x, weights, sums);
}

template <class Pairs>
[[gnu::always_inline]] inline Floats multiply_add(const Floats& sums, const float* x, const Pairs& weights) {
  return fused(x[1], second_of_pairs(weights), fused(x[0], first_of_pairs(weights), sums));
}

#ifdef __AVX512BF16__
inline Floats multiply_add(const Floats& sums, const Bfloat* x, const Words& weights) {
  int32_t pair;
  std::memcpy(&pair, x, sizeof pair);
  return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)_mm512_set1_epi32(pair),
                                  (__m512bh)weights);
}
#endif

// Weights of a step as they are multiplied, one of each column after the other where pairs are
// widened.

template <class X, class Terms>
inline void write_terms(X* to, const Terms& terms) {
  if constexpr (std::is_same_v<X, float> && !std::is_same_v<Terms, Floats>) {
    store(to, first_of_pairs(terms));
    store(to + LANES, second_of_pairs(terms));
  } else {
    std::memcpy(to, &terms, sizeof terms);
  }
}

}  // namespace
