// Tokens that a row's draw may fall on, what they weigh, and which of them are the best.
//
// Weights are integers (see engine/sampling/fixed_point.py), so their sums are exact.

#pragma once

#include <limits>
#include <vector>

#include "vectors.h"

namespace {

constexpr float NONE = -std::numeric_limits<float>::infinity();

// As `load`, of what may be less than sixteen numbers.
inline Floats load_some(const float* from, int64_t count) {
  if (count >= LANES) return load(from);
  Floats v = all(NONE);
  std::memcpy(&v, from, count * sizeof(float));
  return v;
}

// Sixteen weights.
#ifdef __AVX512DQ__
typedef int64_t Weights __attribute__((vector_size(LANES * 8)));
#else
struct Weights {
  int64_t of[LANES];

  int64_t operator[](int lane) const { return of[lane]; }

  void operator+=(const Weights& other) {
    for (int lane = 0; lane < LANES; ++lane) of[lane] += other.of[lane];
  }
};
#endif

// exp(z - most) as integers, 2^bits for the largest; what is no number weighs nothing.
inline Weights weights_of(const Floats& z, float most, int bits) {
  const Floats weights = exponential(larger(z - most, all(-100.0f)));
#ifdef __AVX512DQ__
  return __builtin_convertvector(weights * float(int64_t(1) << bits), Weights);
#else  // no such instruction: the mantissa, shifted by what the exponent says
  Weights integers;
  int32_t parts[LANES];
  std::memcpy(parts, &weights, sizeof parts);
  for (int i = 0; i < LANES; ++i) {
    const int64_t shift = (parts[i] >> 23) - 150 + bits;
    const int64_t mantissa = (parts[i] & 0x7fffff) | 0x800000;
    const int64_t left = shift > 0 ? shift : 0, right = shift < 0 ? -shift : 0;
    integers.of[i] = mantissa << left >> (right < 63 ? right : 63);
  }
  return integers;
#endif
}

// Numbers in the order of unsigned integers; zeros of both signs are equal.
inline uint32_t key_of(float z) {
  z += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &z, sizeof bits);
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

inline float number_of(uint32_t key) {
  const uint32_t bits = key >> 31 ? key ^ 0x80000000u : ~key;
  float z;
  std::memcpy(&z, &bits, sizeof z);
  return z;
}

// Those of sixteen numbers that are at least `lowest`; in place of others -inf.
inline Floats chosen(const Floats& z, float lowest) {
  const auto choose = [](auto z, auto bound, auto none) { return z >= bound ? z : none; };
  return by_parts(choose, z, all(lowest), all(NONE));
}

// Tokens that may be kept, in the order of their ids: the first `count` of each array.
struct Candidates {
  std::vector<int32_t> ids;
  std::vector<float> logits;
  std::vector<int64_t> weights;
  int64_t count = 0;

  // Makes room for as many as there may be, and for what is written behind them.
  void clear(int64_t most) {
    count = 0;
    if (int64_t(ids.size()) >= most + LANES) return;
    ids.resize(most + LANES);
    logits.resize(most + LANES);
    weights.resize(most + LANES);
  }

  // Adds those of `some` logits of tokens from `id` on that are no less than `floor`.
  void add(const Floats& z, int64_t id, int64_t some, float floor) {
#ifdef __AVX512F__
    const __mmask16 there = some < LANES ? (1u << some) - 1 : 0xffffu;
    const __mmask16 wanted =
        _mm512_mask_cmp_ps_mask(there, (__m512)z, (__m512)all(floor), _CMP_GE_OQ);
    const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i found = _mm512_add_epi32(numbers, _mm512_set1_epi32(id));
    _mm512_storeu_ps(&logits[count], _mm512_maskz_compress_ps(wanted, (__m512)z));
    _mm512_storeu_si512(&ids[count], _mm512_maskz_compress_epi32(wanted, found));
    count += __builtin_popcount(wanted);
#else
    for (int64_t i = 0; i < std::min<int64_t>(LANES, some); ++i) {
      ids[count] = id + i;
      logits[count] = z[i];
      count += z[i] >= floor;
    }
#endif
  }

  void weigh(float most, int bits) {
    for (int64_t i = 0; i < count; i += LANES) {
      const Weights some = weights_of(load(&logits[i]), most, bits);
      std::memcpy(&weights[i], &some, sizeof some);
    }
  }

  int64_t total() const {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += weights[i];
    return sum;
  }

  // Keeps those for which `wanted(number)` says so, which is asked in their order.
  template <class Wanted>
  void keep(const Wanted& wanted) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      const bool is_kept = wanted(i);
      ids[kept] = ids[i];
      logits[kept] = logits[i];
      weights[kept] = weights[i];
      kept += is_kept;
    }
    count = kept;
  }
};

// Of which a certain amount is wanted, the best first.
struct Entry {
  uint32_t key;
  int64_t amount;
};

// Where what is wanted ends: above the border everything is, of what equals it `ties` are.
struct Border {
  uint32_t key;
  int64_t ties;
};

// Finds the border by some bits of the keys at a time: they part the entries that are still in
// question into bins, and the border is in one of them.
struct Selection {
  static constexpr int BITS = 10;

  std::vector<Entry> entries;
  std::vector<int64_t> bins = std::vector<int64_t>(1 << BITS);  // amounts

  void add(float logit, int64_t amount) { entries.push_back({key_of(logit), amount}); }

  // The best entries whose amounts together reach `wanted`, which is positive and not more than
  // there is.
  Border best(int64_t wanted) {
    while (const uint32_t differing = differing_bits()) {
      const int shift = std::max(0, 32 - __builtin_clz(differing) - BITS);
      const auto bin_of = [=](const Entry& e) { return e.key >> shift & ((1 << BITS) - 1); };
      std::fill(bins.begin(), bins.end(), 0);
      for (const Entry& entry : entries) bins[bin_of(entry)] += entry.amount;
      uint32_t bin = bins.size() - 1;
      while (bins[bin] < wanted) wanted -= bins[bin--];
      size_t left = 0;
      for (const Entry& entry : entries) {  // without a branch that nobody could predict
        entries[left] = entry;
        left += bin_of(entry) == bin;
      }
      entries.resize(left);
    }
    const int64_t amount = entries[0].amount;  // as of all that are left: they are equal
    return {entries[0].key, (wanted + amount - 1) / amount};
  }

  uint32_t differing_bits() const {
    uint32_t differing = 0;
    for (const Entry& entry : entries) differing |= entry.key ^ entries[0].key;
    return differing;
  }
};

}  // namespace
