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

// Scores of sixteen keys, number `from` and those behind it: the newest that the row sees is number
// `newest`, and its window (0: none) reaches that far back.
inline Floats seen_scores(Floats scores, int64_t from, float newest, int64_t window) {
  Floats number;
  for (int i = 0; i < LANES; ++i) number[i] = float(i);
  number = number + float(from);
  scores = number > newest ? all(LOWEST) : scores;
  if (window > 0) scores = number <= newest - float(window) ? all(LOWEST) : scores;
  return scores;
}

// The keys of a head that a task looks at.
struct Stretch {
  Places places;
  int64_t first, last, window;
  float scale, cap;
};

}  // namespace
