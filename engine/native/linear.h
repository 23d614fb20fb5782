// Products of rows with weights that were packed once, for any number of rows.
//
// Every number of a result is one chain of multiply-adds in the order of K, whatever the number of
// rows and however they and the columns are dealt to blocks and threads: one kernel serves decoding
// and prefill, and a row's bits never depend on the rows beside it. Sixteen columns are a unit; a
// unit's weights lie in the order of K, `STEP` of them a column at a time, so that a block of units
// is read from memory once and in order.

#pragma once

#include <omp.h>

#include <vector>

#include "vectors.h"

namespace {

#ifdef __AVX512F__
constexpr int COLUMNS = 4;   // units of a block: with MAX_ROWS, as many sums as registers hold
constexpr int MAX_ROWS = 6;
#else
constexpr int COLUMNS = 2;
constexpr int MAX_ROWS = 3;
#endif
constexpr int64_t TILE_ROWS = 480;  // rows that stay in the cache while all columns pass by

// weight: [units, in / STEP, 16, STEP], of the rows' type, or int8 where there is a scale for each
// column; bias and scale: [units * 16] or null. `in` is a multiple of 16.
struct Linear {
  const void* weight;
  const float* bias;
  const float* scale;
  int64_t in, out;
};

// What is fetched meanwhile: `bytes` from `at` on with every step of a sum.
struct Ahead {
  const char* at;
  int64_t bytes;
};

// `R` rows times `C` units; `sums` is [R, COLUMNS]. W: the weights' type.
template <class T, int R, int C, class W>
void multiply(const T* x, const W* weights, int64_t in, Ahead ahead, Floats* sums) {
  Floats sum[R][C] = {};
  for (int64_t k = 0; k < in; k += STEP<T>) {
    if (R > 2) {
      __builtin_prefetch(ahead.at, 0, 2);
      __builtin_prefetch(ahead.at + 64, 0, 2);
      ahead.at += ahead.bytes;
    }
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c)
        sum[r][c] =
            multiply_add(sum[r][c], x + r * in + k, terms(weights + (c * in + k) * LANES, T()));
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) sums[r * COLUMNS + c] = sum[r][c];
}

template <class T, int C, class W>
void multiply_rows(const T* x, int64_t rows, const W* weights, int64_t in, Ahead ahead,
                   Floats* sums) {
  switch (rows) {
    case 1: return multiply<T, 1, C>(x, weights, in, ahead, sums);
    case 2: return multiply<T, 2, C>(x, weights, in, ahead, sums);
#ifdef __AVX512F__
    case 3: return multiply<T, 3, C>(x, weights, in, ahead, sums);
    case 4: return multiply<T, 4, C>(x, weights, in, ahead, sums);
    case 5: return multiply<T, 5, C>(x, weights, in, ahead, sums);
#endif
    default: return multiply<T, MAX_ROWS, C>(x, weights, in, ahead, sums);
  }
}

template <class T, class W>
void multiply_block(const T* x, int64_t rows, const W* weights, int64_t units, int64_t in,
                    Ahead ahead, Floats* sums) {
  switch (units) {
    case 1: return multiply_rows<T, 1>(x, rows, weights, in, ahead, sums);
    case 2: return multiply_rows<T, 2>(x, rows, weights, in, ahead, sums);
    default: return multiply_rows<T, COLUMNS>(x, rows, weights, in, ahead, sums);
  }
}

// Integers as the rows' type, once for all rows: the same numbers as `multiply` makes of them.
template <class T>
const T* expanded(const int8_t* weights, int64_t count) {
  static thread_local std::vector<T> room;
  if (int64_t(room.size()) < count) room.resize(count);
  for (int64_t k = 0; k < count; k += STEP<T> * LANES) {
    const auto some = terms(weights + k, T());
    std::memcpy(&room[k], &some, sizeof some);
  }
  return room.data();
}

template <class T>
const T* expanded(const T* weights, int64_t) {
  return weights;
}

// By all threads of a team, each with columns of its own. x: [rows, in]. Calls
// `finish(row, unit, sums, units)` for every row and block of units; a block begins and ends at a
// multiple of `grain` units, which is 1 or 2.
template <class T, class W, class Finish>
void linear_of(const Linear& w, const W* weights, const T* x, int64_t rows, int64_t grain,
               const Finish& finish) {
  const int64_t grains = ((w.out + LANES - 1) / LANES + grain - 1) / grain;
  const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
  const int64_t first = grains * thread / threads * grain;
  const int64_t last = grains * (thread + 1) / threads * grain;
  for (int64_t tile = 0; tile < rows; tile += TILE_ROWS) {
    const int64_t count = std::min(TILE_ROWS, rows - tile);
    const int64_t blocks = (count + MAX_ROWS - 1) / MAX_ROWS;
    for (int64_t unit = first, units; unit < last; unit += units) {
      units = last - unit >= COLUMNS ? COLUMNS : last - unit >= 2 ? 2 : 1;
      const W* panel = weights + unit * w.in * LANES;
      const T* ready = blocks > 1 ? expanded<T>(panel, units * w.in * LANES) : nullptr;
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row = count * block / blocks, end = count * (block + 1) / blocks;
        const T* from = x + (tile + row) * w.in;
        // Several blocks of rows pass over a panel, the first from memory: its wait is shared out
        // by fetching a part of the next panel with each of them.
        const int64_t bytes = units * w.in * LANES * sizeof(W);
        const Ahead next{reinterpret_cast<const char*>(panel) + bytes + block * bytes / blocks,
                         blocks > 1 ? bytes / blocks / (w.in / STEP<T>) : 0};
        Floats sums[MAX_ROWS * COLUMNS];
        if (ready)
          multiply_block(from, end - row, ready, units, w.in, next, sums);
        else
          multiply_block(from, end - row, panel, units, w.in, next, sums);
        for (int64_t r = 0; r < end - row; ++r) {
          Floats* of_row = sums + r * COLUMNS;
          for (int64_t c = 0; c < units; ++c) {
            if (w.scale) of_row[c] = of_row[c] * load(w.scale + (unit + c) * LANES);
            if (w.bias) of_row[c] = of_row[c] + load(w.bias + (unit + c) * LANES);
          }
          finish(tile + row + r, unit, of_row, units);
        }
      }
    }
  }
#pragma omp barrier
}

template <class T, class Finish>
void linear(const Linear& w, const T* x, int64_t rows, int64_t grain, const Finish& finish) {
  if (w.scale)
    linear_of(w, static_cast<const int8_t*>(w.weight), x, rows, grain, finish);
  else
    linear_of(w, static_cast<const T*>(w.weight), x, rows, grain, finish);
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
auto write_gated(T* y, int64_t out) {
  return [=](int64_t row, int64_t unit, const Floats* sums, int64_t units) {
    for (int64_t c = 0; c < units; c += 2) {
      const Floats silu = sums[c] / (exponential(-sums[c]) + 1.0f);
      store(y + row * out + (unit + c) / 2 * LANES, silu * sums[c + 1]);
    }
  };
}

}  // namespace
