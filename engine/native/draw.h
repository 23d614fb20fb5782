// One token of each row of logits: the stages from temperature to the draw of
// engine/sampling/sampler.py, whose order and arithmetic these are. And what log-probabilities are
// made of, for engine/sampling/logprob_table.py.
//
// Weights are integers (see engine/sampling/fixed_point.py), so their sums are exact. Nothing is
// sorted and a vocabulary is passed over twice at most: what is kept is chosen among the candidates
// near the largest logit. A row is one thread's, and its result does not depend on the others.

#pragma once

#include <omp.h>

#include <limits>
#include <vector>

#include "vectors.h"

namespace {

constexpr float NONE = -std::numeric_limits<float>::infinity();
constexpr float ANYWHERE = -NONE;
constexpr int64_t STRETCH = 16 * LANES;  // logits whose largest one and whose weight are kept

// What rows are drawn by; arrays of one entry a row.
struct Draws {
  const float* logits;       // [rows, size]
  int64_t rows, size;
  const float* temperature;  // what logits are divided by
  const int64_t* top_k;      // how many tokens are kept; `size`: all
  const double* top_p;       // the mass of what is left that is kept; 1: all
  const float* log_min_p;    // how far below the largest logit is kept; -inf: all
  const double* uniform;     // in [0, 1); below that: the likeliest is taken
  int64_t* token_ids;        // written
};

// What log-probabilities of a token and of the `width` best are made of.
struct Scores {
  const float* logits;  // [rows, size]
  int64_t rows, size;
  const int64_t* token_ids;  // [rows]
  int64_t width;
  // [rows, 4 + 2 * width], written: the largest logit, the sum of weights, the token and its logit,
  // the best ids, and their logits; of equal ones lower ids are better
  double* table;
};

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
  return __builtin_convertvector(weights * std::ldexp(1.0f, bits), Weights);
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

// What the draws of one thread need room for.
struct DrawSpace {
  std::vector<float> scaled, tops;  // tops: the largest of each stretch
  std::vector<int64_t> weights;     // of each stretch
  Candidates candidates;
  Selection selection;
};

// The logits of one row, divided by its temperature.
class LogitRow {
 public:
  LogitRow(const float* logits, int64_t size, float temperature, DrawSpace& space)
      : size_(size), z_(logits), space_(space) {
    while ((size_ - 1) >> (62 - bits_)) --bits_;  // sums of all stay below 2^62
    scale(temperature);
  }

  // The first of the largest logits; the first of all where there is no number.
  int64_t likeliest() const {
    for (int64_t s = 0; s < stretches(); ++s)
      if (space_.tops[s] == most_)
        for (int64_t id = s * STRETCH; id < std::min(size_, (s + 1) * STRETCH); ++id)
          if (z_[id] == most_) return id;
    return 0;
  }

  // Draws one; see `Draws`.
  int64_t token(int64_t top_k, double top_p, float log_min_p, double uniform) {
    const bool by_mass = top_p < 1, by_count = top_k < size_;
    if (uniform < 0 || !(std::abs(most_) < -NONE)) return likeliest();
    if (!by_mass && !by_count && log_min_p == NONE) return draw_of_all(uniform);
    Candidates& kept = space_.candidates;
    const float floor = most_ + log_min_p;
    if (by_count) {
      gather(ANYWHERE, [&] { return kept.count >= top_k; });
      keep_count(top_k);
    } else if (by_mass) {
      const int64_t all = weigh_all(), wanted = share(all, top_p);
      // Tokens that are further below weigh less, all of them, than what may be left out.
      const float deepest = std::log(size_ / ((1 - top_p) * std::ldexp(all, -bits_)));
      gather(deepest, [&] { return kept.total() >= wanted; });
      keep_mass(wanted);
    } else {
      collect(floor);
    }
    if (by_count && by_mass) keep_mass(share(kept.total(), top_p));
    kept.keep([&](int64_t i) { return kept.logits[i] >= floor; });
    int64_t before = point(kept.total(), uniform);
    for (int64_t i = 0; i < kept.count; ++i)
      if ((before -= kept.weights[i]) < 0) return kept.ids[i];
    return likeliest();
  }

  // Writes a row of `Scores`.
  void score(int64_t token_id, int64_t width, double* to) {
    Candidates& best = space_.candidates;
    gather(ANYWHERE, [&] { return best.count >= width; });
    keep_count(width);
    std::vector<int64_t> order(best.count);
    for (int64_t i = 0; i < best.count; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return key_of(best.logits[a]) > key_of(best.logits[b]);
    });
    *to++ = most_;
    *to++ = weigh_all();
    *to++ = token_id;
    *to++ = z_[token_id];
    for (int64_t n = 0; n < width; ++n) {
      const int64_t id = n < best.count ? best.ids[order[n]] : 0;  // in a row of no numbers
      to[n] = id;
      to[width + n] = z_[id];
    }
  }

 private:
  int64_t stretches() const { return (size_ + STRETCH - 1) / STRETCH; }

  // Divides by the temperature and looks for the largest of each stretch and of all.
  void scale(float temperature) {
    const bool divides = temperature != 1;
    if (divides && int64_t(space_.scaled.size()) < size_ + LANES)
      space_.scaled.resize(size_ + LANES);  // the last sixteen are written whole
    space_.tops.resize(stretches());
    most_ = NONE;
    for (int64_t s = 0; s < stretches(); ++s) {
      Floats top = all(NONE);
      for (int64_t i = s * STRETCH; i < std::min(size_, (s + 1) * STRETCH); i += LANES) {
        Floats some = load_some(z_ + i, size_ - i);
        if (divides) {
          some = some / temperature;
          store(&space_.scaled[i], some);
        }
        top = larger(some, top);  // what is no number is never larger
      }
      space_.tops[s] = largest(top);
      most_ = std::max(most_, space_.tops[s]);
    }
    if (divides) z_ = space_.scaled.data();
  }

  // Weights of all stretches; returns their sum.
  int64_t weigh_all() {
    space_.weights.resize(stretches());
    int64_t total = 0;
    for (int64_t s = 0; s < stretches(); ++s) {
      Weights sums{};
      for (int64_t i = s * STRETCH; i < std::min(size_, (s + 1) * STRETCH); i += LANES)
        sums += weights_of(load_some(z_ + i, size_ - i), most_, bits_);
      int64_t sum = 0;
      for (int lane = 0; lane < LANES; ++lane) sum += sums[lane];
      total += space_.weights[s] = sum;
    }
    return total;
  }

  // Candidates are all tokens of at least `floor`.
  void collect(float floor) {
    Candidates& kept = space_.candidates;
    kept.clear(size_);
    for (int64_t s = 0; s < stretches(); ++s) {
      if (space_.tops[s] < floor) continue;
      for (int64_t id = s * STRETCH; id < std::min(size_, (s + 1) * STRETCH); id += LANES)
        kept.add(load_some(z_ + id, size_ - id), id, size_ - id, floor);
    }
    kept.weigh(most_, bits_);
  }

  // Collects further and further down until there are enough, as there should be at `deepest`.
  template <class Enough>
  void gather(float deepest, const Enough& enough) {
    for (float depth = 4; depth < std::min(deepest, 60.0f); depth *= 1.35f) {
      collect(most_ - depth);
      if (enough()) return;
    }
    collect(most_ - deepest);
    if (!enough()) collect(NONE);
  }

  void keep_count(int64_t count) {
    Candidates& kept = space_.candidates;
    if (count >= kept.count) return;
    space_.selection.entries.clear();
    for (int64_t i = 0; i < kept.count; ++i) space_.selection.add(kept.logits[i], 1);
    keep_best(count);
  }

  void keep_mass(int64_t wanted) {
    Candidates& kept = space_.candidates;
    space_.selection.entries.clear();
    for (int64_t i = 0; i < kept.count; ++i)
      if (kept.weights[i]) space_.selection.add(kept.logits[i], kept.weights[i]);
    keep_best(wanted);
  }

  // Of what is selected; of equal ones at the border, those with lower ids.
  void keep_best(int64_t wanted) {
    Candidates& kept = space_.candidates;
    Border border = space_.selection.best(wanted);
    kept.keep([&](int64_t i) {
      const uint32_t key = key_of(kept.logits[i]);
      return key > border.key || (key == border.key && border.ties-- > 0);
    });
  }

  // The part `mass` of a sum of weights, rounded up, which is part of it and not nothing.
  static int64_t share(int64_t total, double mass) {
    return std::min(total, std::max<int64_t>(1, std::ceil(double(total) * mass)));
  }

  // Where in a sum of weights the uniform points.
  static int64_t point(int64_t total, double uniform) {
    return std::min<int64_t>(total - 1, double(total) * uniform);
  }

  int64_t draw_of_all(double uniform) {
    int64_t before = point(weigh_all(), uniform), s = 0;
    while (before >= space_.weights[s]) before -= space_.weights[s++];
    for (int64_t i = s * STRETCH;; i += LANES) {
      const Weights weights = weights_of(load_some(z_ + i, size_ - i), most_, bits_);
      for (int lane = 0; lane < LANES; ++lane)
        if ((before -= weights[lane]) < 0) return i + lane;
    }
  }

  const int64_t size_;
  const float* z_;
  DrawSpace& space_;
  float most_;
  int bits_ = 62;  // the largest weighs 2^bits
};

// One for each thread of the caller's team, kept for its next call.
inline DrawSpace* draw_spaces(int threads) {
  static thread_local std::vector<DrawSpace> kept;
  if (int(kept.size()) < threads) kept.resize(threads);
  return kept.data();
}

inline void draw_rows(const Draws& d, int threads) {
  DrawSpace* spaces = draw_spaces(threads);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t row = 0; row < d.rows; ++row) {
    LogitRow logits(d.logits + row * d.size, d.size, d.temperature[row],
                    spaces[omp_get_thread_num()]);
    d.token_ids[row] = logits.token(d.top_k[row], d.top_p[row], d.log_min_p[row], d.uniform[row]);
  }
}

inline void score_rows(const Scores& s, int threads) {
  DrawSpace* spaces = draw_spaces(threads);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t row = 0; row < s.rows; ++row) {
    LogitRow logits(s.logits + row * s.size, s.size, 1, spaces[omp_get_thread_num()]);
    logits.score(s.token_ids[row], s.width, s.table + row * (4 + 2 * s.width));
  }
}

}  // namespace
