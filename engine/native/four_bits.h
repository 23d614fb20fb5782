// Weights of four bits, every 32 of them with a scale (MXFP4): see engine/models/mxfp4.py.
//
// A unit's weights lie in blocks, in the order of K: the scales of its sixteen columns, then sixteen
// pairs of weights of each column. They are expanded before they are multiplied by, to exactly what
// they stand for.

#pragma once

#include "vectors.h"

namespace {

struct FourBits {
  static constexpr int TERMS = 32;  // of each column in a block

  uint8_t exponents[LANES];            // of two, plus 127
  uint8_t pairs[TERMS / 2][LANES];     // the first weight in the lower bits
};

// Sixteen weights from the lower bits of as many numbers.
inline Floats numbers_of_four_bits(const Words& bits) {
#ifdef __AVX512F__
  const __m512 numbers = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2,
                                        -3, -4, -6);
  return (Floats)_mm512_permutexvar_ps((__m512i)bits, numbers);
#else
  static const float numbers[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                    -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  float found[LANES];
  for (int i = 0; i < LANES; ++i) found[i] = numbers[bits[i] & 15];
  return load(found);
#endif
}

inline Words words_of(const uint8_t* bytes) {
  return made([=](int i) {
    uint8_t some[PART];
    std::memcpy(some, bytes + i, PART);
    WordPart words;
    for (int n = 0; n < PART; ++n) words[n] = some[n];
    return words;
  });
}

inline void store_pair(float* to, const Floats& first, const Floats& second) {
  store(to, first);
  store(to + LANES, second);
}

inline void store_pair(Bfloat* to, const Floats& first, const Floats& second) {
  const Words pairs = by_parts(
      [](auto a, auto b) { return ((WordPart)a >> 16) | ((WordPart)b & 0xffff0000u); }, first,
      second);
  std::memcpy(to, &pairs, sizeof pairs);
}

template <class T>
void expand(const FourBits& block, T* to) {
  const Floats scale = by_parts([](auto words) { return (FloatPart)(words << 23); },
                                words_of(block.exponents));
  for (int n = 0; n < FourBits::TERMS / 2; ++n, to += 2 * LANES) {
    const Words pairs = words_of(block.pairs[n]);
    const Words seconds = by_parts([](auto words) { return words >> 4; }, pairs);
    store_pair(to, numbers_of_four_bits(pairs) * scale, numbers_of_four_bits(seconds) * scale);
  }
}

}  // namespace
