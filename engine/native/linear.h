// Products of rows with weights that were packed once, for any number of rows.
//
// One kind of arithmetic serves decoding and prefill, so that a row's bits never depend on the rows
// beside it: the matrix units' where the processor has them and rows are bfloat16 of a size they
// take, else chains of multiply-adds. Sixteen columns are a unit; a unit's weights lie in the order
// of K, `STEP` of them a column at a time, so that a block of units is read from memory once and in
// order.

#pragma once

#include "chains.h"
#include "tiles.h"

namespace {

template <class T, class W, class Finish>
void linear_of(const Linear& w, const W* weights, Rows<T> x, int64_t rows, int64_t grain,
               const Finish& finish) {
#ifdef __AMX_BF16__
  if constexpr (std::is_same_v<T, Bfloat>)
    if (x.tiled) return tile_linear(w, weights, x.data, rows, finish);
#endif
  chain_linear(w, weights, x.data, rows, grain, finish);
}

// By all threads of a team, each with columns of its own. Calls `finish(row, unit, sums, units)`
// for every row and block of units; a block begins and ends at a multiple of `grain` units, which
// is 1 or 2.
template <class T, class Finish>
void linear(const Linear& w, Rows<T> x, int64_t rows, int64_t grain, const Finish& finish) {
  if (w.four_bits)
    linear_of(w, static_cast<const FourBits*>(w.weight), x, rows, grain, finish);
  else if (w.scale)
    linear_of(w, static_cast<const int8_t*>(w.weight), x, rows, grain, finish);
  else
    linear_of(w, static_cast<const T*>(w.weight), x, rows, grain, finish);
#pragma omp barrier
}

// What becomes of the sums: written, added, or gates (even units) applied to values (odd units).

template <class T>
auto write_to(T* y, int64_t out) {
  return [=](int64_t row, int64_t unit, const Floats* sums, int64_t units) {
    for (int64_t c = 0; c < units; ++c) {
      T* to = y + row * out + (unit + c) * LANES;
      if (out - (unit + c) * LANES >= LANES) {
        store(to, sums[c]);
      } else {
        T padded[LANES];
        store(padded, sums[c]);
        std::memcpy(to, padded, (out % LANES) * sizeof(T));
      }
    }
  };
}

inline auto add_to(float* y, int64_t out) {
  return [=](int64_t row, int64_t unit, const Floats* sums, int64_t units) {
    for (int64_t c = 0; c < units; ++c) {
      float* to = y + row * out + (unit + c) * LANES;
      store(to, load(to) + sums[c]);
    }
  };
}

template <class T>
auto write_gated(Rows<T> y, Gates gates) {
  return [=](int64_t row, int64_t unit, const Floats* sums, int64_t units) {
    for (int64_t c = 0; c < units; c += 2)
      store(y.at(row, (unit + c) / 2 * LANES), through_gate(gates, sums[c], sums[c + 1]));
  };
}

}  // namespace
