// Weights that were packed once, and what products of all kinds do with their columns: dealing them
// to threads, and scale and bias.

#pragma once

#include <omp.h>

#include "four_bits.h"
#include "rows.h"

namespace {

// weight: [units, in / STEP, 16, STEP], of the rows' type, or int8 where there is a scale for each
// column; or FourBits, [units, in / 32]. bias and scale: [units * 16] or null. `in` is a multiple of
// 16.
struct Linear {
  const void* weight;
  const float* bias;
  const float* scale;
  int64_t in, out;
  int four_bits;
};

// Weights of `units` units, in what they are stored in.
template <class W>
int64_t stored(int64_t units, int64_t in) {
  return units * in * LANES;
}
template <>
inline int64_t stored<FourBits>(int64_t units, int64_t in) {
  return units * in / FourBits::TERMS;
}

// Units of one thread of a team.
struct Share {
  int64_t first, last;
};

// Begins and ends at a multiple of `grain` units, if not at the last one.
inline Share share(int64_t out, int64_t grain) {
  const int64_t units = (out + LANES - 1) / LANES, grains = (units + grain - 1) / grain;
  const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
  return {grains * thread / threads * grain,
          std::min(units, grains * (thread + 1) / threads * grain)};
}

inline void scale_and_bias(const Linear& w, int64_t unit, Floats* sums, int64_t units) {
  for (int64_t c = 0; c < units; ++c) {
    if (w.scale) sums[c] = sums[c] * load(w.scale + (unit + c) * LANES);
    if (w.bias) sums[c] = sums[c] + load(w.bias + (unit + c) * LANES);
  }
}

// Weights as rows of T are multiplied with them: the same numbers as a product makes of them.
template <class W, class X, class T>
void expand(const W* weights, int64_t count, X* to, T) {
  for (int64_t k = 0; k < count; k += STEP<T> * LANES) write_terms(to + k, terms(weights + k, T()));
}

// The same once for all rows, in room that is kept for the next weights.
template <class T, class W>
const Factor<T>* expanded(const W* weights, int64_t count) {
  if constexpr (std::is_same_v<Factor<T>, W>) {
    return weights;
  } else {
    static thread_local Room<Factor<T>> room;
    grow(room, count);
    expand(weights, count, room.data(), T());
    return room.data();
  }
}

// What is fetched meanwhile: `bytes` from `at` on with every step of a sum.
struct Ahead {
  const char* at;
  int64_t bytes;
};

// Blocks of rows pass over a panel of weights one after the other, the first from memory: its wait
// is shared out by fetching a part of the next panel with each of them.
inline Ahead next_part(const void* panel, int64_t bytes, int64_t block, int64_t blocks,
                       int64_t steps) {
  return {static_cast<const char*>(panel) + bytes + block * bytes / blocks,
          bytes / blocks / steps};
}

}  // namespace
