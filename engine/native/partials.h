// What rows know of some of their keys, and how such knowledge is merged (online softmax,
// arXiv 1805.02867).

#pragma once

#include "heads.h"

namespace {

constexpr int KEYS = 64;  // between two looks at the largest score
constexpr int UNITS = KEYS / LANES;
constexpr float LOWEST = -1e30f;  // finite, so that differences of two of them are

// Of one row: its largest score, and sums weighted against that.
struct Partial {
  float most = LOWEST, weight = 0;
  float out[MAX_DIM];
};

inline void merge(Partial& into, const Partial& next, int dim) {
  const float most = std::max(into.most, next.most);
  const float a = exponential(into.most - most), b = exponential(next.most - most);
  for (int i = 0; i < dim; i += LANES)
    store(into.out + i, load(into.out + i) * a + load(next.out + i) * b);
  into.weight = into.weight * a + next.weight * b;
  into.most = most;
}

constexpr float NUMBERS[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Scores of sixteen keys, number `from` and those behind it: the newest that the row sees is number
// `newest`, and its window (0: none) reaches that far back.
inline Floats seen_scores(Floats scores, int64_t from, float newest, int64_t window) {
  const float oldest = window > 0 ? newest - float(window) : -1.0f;
  const auto of_some = [=](auto scores, auto number) {
    const auto lowest = decltype(scores){} + LOWEST;
    scores = number > newest ? lowest : scores;
    return number <= oldest ? lowest : scores;
  };
  return by_parts(of_some, scores, load(NUMBERS) + float(from));
}

// The keys of a head that a task looks at.
struct Stretch {
  Places places;
  int64_t first, last, window;
  float scale, cap;
};

}  // namespace
