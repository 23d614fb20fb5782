// Weights of four bits, every 32 of them with a scale (MXFP4): see engine/models/mxfp4.py.
//
// A unit's weights lie in blocks, in the order of K: the scales of its sixteen columns, then sixteen
// pairs of weights of each column. Products are by exactly the numbers that they stand for, as if
// those had been stored.

#pragma once

#include "terms.h"

namespace {

struct FourBits {
  static constexpr int TERMS = 32;  // of each column in a block

  uint8_t exponents[LANES];         // of two, plus 127
  uint8_t pairs[TERMS / 2][LANES];  // the first weight in the lower bits
};

// Sixteen bytes as numbers of 32 bits.
inline Words words_of(const uint8_t* bytes) {
#ifdef __AVX512F__
  return (Words)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
#elif defined(__AVX2__)
  return made([=](int i) {
    const __m128i some = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + i));
    return (WordPart)_mm256_cvtepu8_epi32(some);
  });
#else
  return made([=](int i) {
    WordPart words;
    for (int n = 0; n < PART; ++n) words[n] = bytes[i + n];
    return words;
  });
#endif
}

// Of powers of two, by which a block's weights of each column are multiplied.
inline Floats scales_of(const uint8_t* exponents, float) {
  return by_parts([](auto words) { return (FloatPart)(words << 23); }, words_of(exponents));
}

// What the lower bits of numbers stand for.
inline Floats numbers_of(const Words& bits) {
#ifdef __AVX512F__
  const __m512 numbers = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2,
                                        -3, -4, -6);
  return (Floats)_mm512_permutexvar_ps((__m512i)bits, numbers);
#elif defined(__AVX2__)
  const __m256 sizes = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
  return by_parts(
      [=](auto bits) {  // of which the permutation takes three
        const WordPart size = (WordPart)_mm256_permutevar8x32_ps(sizes, (__m256i)bits);
        return (FloatPart)(size | (bits >> 3 << 31));
      },
      bits);
#else
  static const float numbers[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                    -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  float found[LANES];
  for (int i = 0; i < LANES; ++i) found[i] = numbers[bits[i] & 15];
  return load(found);
#endif
}

// Two weights of each column, as `terms` gives them that are stored.
struct FourBitPairs {
  Words both;
  Floats scales;
};

inline FourBitPairs terms_of_pairs(const uint8_t* pairs, const Floats& scales, float) {
  return {words_of(pairs), scales};
}

[[gnu::always_inline]] inline Floats first_of_pairs(const FourBitPairs& pairs) {
  return numbers_of(pairs.both) * pairs.scales;
}

[[gnu::always_inline]] inline Floats second_of_pairs(const FourBitPairs& pairs) {
  return numbers_of(by_parts([](auto words) { return words >> 4; }, pairs.both)) * pairs.scales;
}

#ifdef __AVX512BF16__

// What is added to the bits of numbers, two of each column, to multiply them by the scales. The
// smallest scales would lead out of the normal numbers; they are taken for 2^-125.
inline Words scales_of(const uint8_t* exponents, Bfloat) {
  const __m512i least = _mm512_max_epu32((__m512i)words_of(exponents), _mm512_set1_epi32(2));
  const __m512i steps = _mm512_sub_epi32(least, _mm512_set1_epi32(127));
  const __m512i low = _mm512_and_si512(_mm512_slli_epi32(steps, 7), _mm512_set1_epi32(0xffff));
  return (Words)_mm512_or_si512(low, _mm512_slli_epi32(steps, 23));
}

inline Words terms_of_pairs(const uint8_t* pairs, const Words& scales, Bfloat) {
  alignas(64) static const uint16_t numbers[32] = {  // twice, for a fifth bit that does not count
      0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0,
      0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0,
      0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0,
      0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0};
  const __m512i both = (__m512i)words_of(pairs);
  const __m512i places = _mm512_or_si512(both, _mm512_slli_epi32(both, 12));
  const __m512i found = _mm512_permutexvar_epi16(places, _mm512_load_si512(numbers));
  const __mmask32 some = _mm512_test_epi16_mask(found, _mm512_set1_epi16(0x7fff));
  return (Words)_mm512_mask_add_epi16(found, some, found, (__m512i)scales);
}

#else

inline Floats scales_of(const uint8_t* exponents, Bfloat) { return scales_of(exponents, 0.0f); }

inline FourBitPairs terms_of_pairs(const uint8_t* pairs, const Floats& scales, Bfloat) {
  return terms_of_pairs(pairs, scales, 0.0f);
}

#endif

template <class X, class T>
void expand(const FourBits* blocks, int64_t count, X* to, T) {
  for (const X* end = to + count; to < end; ++blocks) {
    const auto scales = scales_of(blocks->exponents, T());
    for (int n = 0; n < FourBits::TERMS / 2; ++n, to += 2 * LANES)
      write_terms(to, terms_of_pairs(blocks->pairs[n], scales, T()));
  }
}

}  // namespace
