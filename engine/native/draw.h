// One token of each row of logits: the stages from temperature to the draw of
// engine/sampling/sampler.py, whose order and arithmetic these are. And what log-probabilities are
// made of, for engine/sampling/logprob_table.py.
//
// Nothing is sorted: what is kept is chosen among the candidates near the largest logit, or, where
// these are many, by bins of all. A row is one thread's, and its result does not depend on the others.

#pragma once

#include <omp.h>

#include <functional>

#include "depth_bins.h"

namespace {

constexpr float FAR = 60;                // below the largest logit: nothing weighs anything there
constexpr int64_t FEW = 32;              // one token in so many: not more are looked at singly
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

// What the draws of one thread need room for.
struct DrawSpace {
  std::vector<float> scaled, tops, best_tops;  // tops: the largest of each stretch
  std::vector<int64_t> weights;                // of each stretch
  Candidates candidates;
  Selection selection;
  BinWeights bins;
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
      keep_count(top_k);
    } else if (by_mass) {
      const int64_t all = weigh_all(), wanted = share(all, top_p);
      // Tokens that are further below weigh less, all of them, than what may be left out.
      const float deepest = std::log(size_ / ((1 - top_p) * std::ldexp(all, -bits_)));
      if (!gather(deepest, size_ / FEW, [&] { return kept.total() >= wanted; })) {
        hide_beyond(wanted, deepest, floor);
        return draw_of_all(uniform);
      }
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

  // Calls f(id, logits) for sixteen tokens at a time of a stretch, `id` the first of them.
  template <class F>
  void over(int64_t s, const F& f) const {
    for (int64_t id = s * STRETCH; id < std::min(size_, (s + 1) * STRETCH); id += LANES)
      f(id, load_some(z_ + id, size_ - id));
  }

  // Room for a row of logits; the last sixteen are written whole.
  float* room() {
    if (int64_t(space_.scaled.size()) < size_ + LANES) space_.scaled.resize(size_ + LANES);
    return space_.scaled.data();
  }

  // Divides by the temperature and looks for the largest of each stretch and of all.
  void scale(float temperature) {
    const bool divides = temperature != 1;
    float* scaled = divides ? room() : nullptr;
    space_.tops.resize(stretches());
    most_ = NONE;
    for (int64_t s = 0; s < stretches(); ++s) {
      Floats top = all(NONE);
      over(s, [&](int64_t id, Floats z) {
        if (divides) {
          z = z / temperature;
          store(scaled + id, z);
        }
        top = larger(z, top);  // what is no number is never larger
      });
      space_.tops[s] = largest(top);
      most_ = std::max(most_, space_.tops[s]);
    }
    if (divides) z_ = scaled;
  }

  // Weights of all stretches; returns their sum.
  int64_t weigh_all() {
    space_.weights.resize(stretches());
    int64_t total = 0;
    for (int64_t s = 0; s < stretches(); ++s) {
      Weights sums{};
      over(s, [&](int64_t, const Floats& z) { sums += weights_of(z, most_, bits_); });
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
      over(s, [&](int64_t id, const Floats& z) { kept.add(z, id, size_ - id, floor); });
    }
    kept.weigh(most_, bits_);
  }

  // The largest of a stretch that `count` stretches reach: so many tokens at least do, too.
  float top_number(int64_t count) {
    std::vector<float>& tops = space_.best_tops;
    tops = space_.tops;
    std::nth_element(tops.begin(), tops.begin() + count - 1, tops.end(), std::greater<float>());
    return tops[count - 1];
  }

  // Collects further and further down until there are enough, as there should be at `deepest`. Gives
  // up, and says so, where there are more than a few.
  template <class Enough>
  bool gather(float deepest, int64_t few, const Enough& enough) {
    for (float depth = 4; depth < deepest; depth *= 1.35f) {
      collect(most_ - depth);
      if (space_.candidates.count > few) return false;
      if (enough()) return true;
    }
    collect(most_ - deepest);
    if (space_.candidates.count > few) return false;
    if (!enough()) collect(NONE);
    return true;
  }

  // The best of all.
  void keep_count(int64_t count) {
    Candidates& kept = space_.candidates;
    if (!count) return kept.clear(size_);
    if (count <= stretches())
      collect(top_number(count));
    else
      gather(FAR, size_, [&] { return kept.count >= count; });
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

  // Leaves the best tokens that reach `wanted`, of which none is deeper, and of them those of at
  // least `floor`; the others weigh nothing then.
  void hide_beyond(int64_t wanted, float deepest, float floor) {
    const DepthBins bins(most_, deepest);
    add_up(bins);
    select(bins, space_.bins.reach(wanted));
    const Border border = space_.selection.best(wanted);
    const float last = number_of(border.key), lowest = std::max(last, floor);
    float* shown = room();
    for (int64_t s = 0; s < stretches(); ++s)
      over(s, [&](int64_t id, const Floats& z) { store(shown + id, chosen(z, lowest)); });
    z_ = shown;
    // Of equal ones, those with lower ids stay.
    int64_t spare = space_.selection.entries.size() - border.ties;
    for (int64_t id = size_; spare > 0 && id-- > 0;)
      if (shown[id] == last) shown[id] = NONE, --spare;
  }

  // What all tokens weigh, by their bins.
  void add_up(const DepthBins& bins) {
    space_.bins.clear();
    for (int64_t s = 0; s < stretches(); ++s)
      if (bins.of(space_.tops[s]) == DepthBins::LAST)
        space_.bins.sums[DepthBins::LAST] += space_.weights[s];
      else
        over(s, [&](int64_t, const Floats& z) {
          space_.bins.add(bins, z, weights_of(z, most_, bits_));
        });
  }

  // Those of one bin that weigh anything.
  void select(const DepthBins& bins, int bin) {
    Selection& selection = space_.selection;
    selection.entries.clear();
    for (int64_t s = 0; s < stretches(); ++s) {
      if (bins.of(space_.tops[s]) > bin) continue;
      over(s, [&](int64_t, const Floats& z) {
        int32_t at[LANES];
        bins.of(z, at);
        bool there = false;
        for (int lane = 0; lane < LANES; ++lane) there |= at[lane] == bin;
        if (!there) return;
        const Weights weights = weights_of(z, most_, bits_);
        for (int lane = 0; lane < LANES; ++lane)
          if (at[lane] == bin && weights[lane]) selection.add(z[lane], weights[lane]);
      });
    }
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
