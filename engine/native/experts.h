// A mixture of experts: see engine/models/moe.py, its oracle.
//
// Experts come one after the other, each with the rows that go to it, so that a row's sum is in the
// order of the experts, whatever rows stand beside it.

#pragma once

#include <algorithm>
#include <numeric>

#include "linear.h"

namespace {

struct Expert {
  Linear gate_up;  // units of gates and of values in turn
  Linear down;
};

struct Routing {
  int64_t experts, per_token;
  int normalized;  // what a row takes of its experts adds up to one
};

// What a row takes of an expert.
struct Taken {
  int64_t row;
  float weight;
};

// The experts with the largest scores; of equal ones the first.
inline void choose(const Routing& routing, const float* scores, int64_t* order, float* weights,
                   int64_t* chosen) {
  const int64_t count = routing.per_token;
  std::iota(order, order + routing.experts, 0);
  std::partial_sort(order, order + count, order + routing.experts, [=](int64_t a, int64_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  const float most = scores[order[0]];
  float total = 0;
  for (int64_t n = 0; n < (routing.normalized ? count : routing.experts); ++n)
    total += exponential(scores[routing.normalized ? order[n] : n] - most);
  for (int64_t n = 0; n < count; ++n) {
    chosen[n] = order[n];
    weights[n] = exponential(scores[order[n]] - most) / total;
  }
}

// What the experts of a step need room for, kept for the next one.
template <class T>
struct ExpertSpace {
  Room<float> scores, weights, product;
  Room<int64_t> chosen;
  Room<T> gathered;
  std::vector<std::vector<Taken>> taken;  // by expert

  void make_room(const Routing& routing, int64_t rows, int64_t hidden) {
    grow(scores, rows * routing.experts);
    grow(weights, rows * routing.per_token);
    grow(chosen, rows * routing.per_token);
    grow(product, rows * hidden);
    taken.resize(routing.experts);
  }

  void sort_by_expert(const Routing& routing, int64_t rows) {
    for (auto& of_expert : taken) of_expert.clear();
    for (int64_t at = 0; at < rows * routing.per_token; ++at)
      taken[chosen[at]].push_back({at / routing.per_token, weights[at]});
  }
};

// By all threads of a team: which rows go to which expert.
template <class T>
void route(const Routing& routing, const Linear& router, Rows<T> y, int64_t rows,
           ExpertSpace<T>& space) {
  static thread_local std::vector<int64_t> order;
  order.resize(routing.experts);
  linear(router, y, rows, 1, write_to(space.scores.data(), routing.experts));
#pragma omp for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = row * routing.per_token;
    choose(routing, space.scores.data() + row * routing.experts, order.data(),
           space.weights.data() + at, space.chosen.data() + at);
  }
#pragma omp single
  space.sort_by_expert(routing, rows);
}

// By all threads of a team: adds what the experts make of the rows of `y` to `x`, [rows, hidden].
// gathered and gated: room for as many rows.
template <class T>
void add_experts(const Routing& routing, const Expert* experts, const Linear& router, Rows<T> y,
                 int64_t rows, Gates gates, Rows<T> gathered, Rows<T> gated, float* x,
                 ExpertSpace<T>& space) {
  const int64_t hidden = y.size;
  route(routing, router, y, rows, space);
  for (int64_t n = 0; n < routing.experts; ++n) {
    const std::vector<Taken>& taken = space.taken[n];
    const int64_t count = taken.size();
    if (!count) continue;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < hidden; i += LANES)
        std::memcpy(gathered.at(r, i), y.at(taken[r].row, i), LANES * sizeof(T));
    linear(experts[n].gate_up, gathered, count, 2, write_gated(gated, gates));
    linear(experts[n].down, gated, count, 1, write_to(space.product.data(), hidden));
#pragma omp for schedule(static)
    for (int64_t r = 0; r < count; ++r) {
      float* to = x + taken[r].row * hidden;
      const float* part = space.product.data() + r * hidden;
      for (int64_t i = 0; i < hidden; i += LANES)
        store(to + i, load(to + i) + load(part + i) * taken[r].weight);
    }
  }
}

}  // namespace
