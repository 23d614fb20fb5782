// Attention of up to four rows, which share the loads of keys and values.

#pragma once

#include "partials.h"

namespace {

constexpr int ROWS = 4;

inline Floats value_of(const float* values, int) { return load(values); }

inline Floats value_of(const Bfloat* values, int key) {  // of a pair of keys
  const Words pairs = pairs_of(values);
  return key ? second_of_pairs(pairs) : first_of_pairs(pairs);
}

// 0 for what is not seen.
inline Floats weights_of(Floats scores, float most) {
  const auto of_some = [most](auto scores) {
    return scores == LOWEST ? decltype(scores){} : exponential_of(scores - most);
  };
  return by_parts(of_some, scores);
}

// Vectors of sums that each of `rows` rows has at a time: as many as there are registers for.
constexpr int together([[maybe_unused]] int rows) {
#ifdef __AVX512F__
  return MAX_DIM / LANES;
#else
  return rows > 3 ? 1 : rows > 1 ? 2 : 4;
#endif
}

// Calls `f(first, count)` for stretches of `N` things, at most `MOST` at a time; `count` is a type's.
template <int MOST, int N, class F>
inline void in_stretches(const F& f) {
  constexpr int COUNT = N < MOST ? N : MOST;
  for (int first = 0; first < N / COUNT * COUNT; first += COUNT)
    f(first, std::integral_constant<int, COUNT>());
  if constexpr (N % COUNT > 0) f(N / COUNT * COUNT, std::integral_constant<int, N % COUNT>());
}

// Products of rows [R, DIM] with a tile's keys.
template <class T, int R, int DIM>
void score_tile(const Factor<T>* q, const T* const (&keys)[UNITS], Floats (&dot)[R][UNITS]) {
  in_stretches<together(R), UNITS>([&](int first, auto count) {
    constexpr int C = decltype(count)::value;
    Floats sum[R][C] = {};
    for (int d = 0; d < DIM; d += STEP<T>)
      for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c)
          sum[r][c] =
              multiply_add(sum[r][c], q + r * DIM + d, terms(keys[first + c] + d * LANES, T()));
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) dot[r][first + c] = sum[r][c];
  });
}

// Adds up to sixteen keys' values, by their weights from `at` on, to `out`.
template <class T, int R, int DIM>
void add_values(const T* values, int64_t count, const float (&weights)[R][KEYS], int64_t at,
                Floats (&out)[R][DIM / LANES]) {
  in_stretches<together(R), DIM / LANES>([&](int first, auto vectors) {
    constexpr int C = decltype(vectors)::value;
    Floats sum[R][C];
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) sum[r][c] = out[r][first + c];
    for (int64_t i = 0; i < count; ++i)
      for (int c = 0; c < C; ++c) {
        const int64_t place = i / STEP<T> * DIM + (first + c) * LANES;
        const Floats value = value_of(values + place * STEP<T>, i % STEP<T>);
        for (int r = 0; r < R; ++r) sum[r][c] = fused(weights[r][at + i], value, sum[r][c]);
      }
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) out[r][first + c] = sum[r][c];
  });
}

// `R` rows [R, DIM]; `positions` are those of the rows.
template <class T, int R, int DIM>
void attend_rows(const Stretch& on, const T* keys, const T* values, const T* queries,
                 const int64_t* positions, Partial* result) {
  constexpr int STEPS = DIM / LANES;
  alignas(64) Factor<T> room[WIDENS<T> ? R * DIM : 1];
  const Factor<T>* q = factors(queries, R * DIM, room);
  Floats out[R][STEPS] = {}, weights[R] = {};
  float most[R];
  for (int r = 0; r < R; ++r) most[r] = LOWEST;
  const int64_t last_unit = (on.last - 1) / LANES * LANES;
  for (int64_t tile = on.first; tile < on.last; tile += KEYS) {
    alignas(64) float score[R][KEYS];
    const T* k[UNITS];  // those behind the last key are never seen: any other stands in
    for (int u = 0; u < UNITS; ++u)
      k[u] = keys + on.places(std::min(tile + u * LANES, last_unit));
    Floats dot[R][UNITS];
    score_tile<T, R, DIM>(q, k, dot);
    for (int r = 0; r < R; ++r) {
      Floats top = all(LOWEST);
      for (int u = 0; u < UNITS; ++u) {
        Floats scores = dot[r][u] * on.scale;
        if (on.cap > 0) scores = capped(scores, on.cap);
        const Floats seen =
            seen_scores(scores, u * LANES, float(positions[r] - tile), on.window);
        store(score[r] + u * LANES, seen);
        top = larger(top, seen);
      }
      const float next = std::max(most[r], largest(top));
      const float fade = exponential(most[r] - next);
      most[r] = next;
      weights[r] = weights[r] * fade;
      for (int c = 0; c < STEPS; ++c) out[r][c] = out[r][c] * fade;
      for (int i = 0; i < KEYS; i += LANES) {
        const Floats w = weights_of(load(score[r] + i), next);
        store(score[r] + i, w);
        weights[r] += w;
      }
    }
    const int64_t seen = std::min<int64_t>(KEYS, on.last - tile);
    for (int64_t part = 0; part < seen; part += LANES)
      add_values<T, R, DIM>(values + on.places(tile + part), std::min<int64_t>(LANES, seen - part),
                            score, part, out);
  }
  for (int r = 0; r < R; ++r) {
    result[r].most = most[r];
    result[r].weight = sum(weights[r]);
    for (int c = 0; c < STEPS; ++c) store(result[r].out + c * LANES, out[r][c]);
  }
}

// Any number of rows, four at a time.
template <class T, int DIM>
void attend_by_chains(const Stretch& on, const T* keys, const T* values, const T* q,
                      const int64_t* positions, int64_t rows, Partial* results) {
  for (int64_t row = 0; row < rows; row += ROWS) {
    const auto run = [&](auto count) {
      attend_rows<T, decltype(count)::value, DIM>(on, keys, values, q + row * DIM,
                                                  positions + row, results + row);
    };
    switch (rows - row) {
      case 1: run(std::integral_constant<int, 1>()); break;
      case 2: run(std::integral_constant<int, 2>()); break;
      case 3: run(std::integral_constant<int, 3>()); break;
      default: run(std::integral_constant<int, ROWS>());
    }
  }
}

}  // namespace
