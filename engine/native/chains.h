// Products whose every number is one chain of multiply-adds in the order of K.
//
// A chain is the same whatever the number of rows and however they and the columns are dealt to
// blocks and threads.

#pragma once

#include "columns.h"

namespace {

#ifdef __AVX512F__
constexpr int COLUMNS = 4;   // units of a block: with MAX_ROWS, as many sums as registers hold
constexpr int MAX_ROWS = 6;
#else
constexpr int COLUMNS = 2;
constexpr int MAX_ROWS = 3;
#endif
constexpr int64_t PASS_ROWS = 480;  // rows that stay in the cache while all columns pass by

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

// The same by weights of four bits, expanded on their way.
template <class T, int R, int C>
void multiply(const T* x, const FourBits* weights, int64_t in, Ahead, Floats* sums) {
  const int64_t blocks = in / FourBits::TERMS;
  Floats sum[R][C] = {};
  for (int64_t b = 0; b < blocks; ++b) {
    decltype(scales_of(weights->exponents, T())) scales[C];
    for (int c = 0; c < C; ++c) scales[c] = scales_of(weights[c * blocks + b].exponents, T());
    for (int n = 0; n < FourBits::TERMS / 2; ++n) {
      const T* from = x + b * FourBits::TERMS + 2 * n;
      for (int c = 0; c < C; ++c) {
        const auto terms = terms_of_pairs(weights[c * blocks + b].pairs[n], scales[c], T());
        for (int r = 0; r < R; ++r)
          for (size_t t = 0; t < terms.size(); ++t)
            sum[r][c] = multiply_add(sum[r][c], from + r * in + t * STEP<T>, terms[t]);
      }
    }
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

// Calls `finish(row, unit, sums, units)` for every row and block of this thread's units.
template <class T, class W, class Finish>
void chain_linear(const Linear& w, const W* weights, const T* x, int64_t rows, int64_t grain,
                  const Finish& finish) {
  const Share mine = share(w.out, grain);
  for (int64_t pass = 0; pass < rows; pass += PASS_ROWS) {
    const int64_t count = std::min(PASS_ROWS, rows - pass);
    const int64_t blocks = (count + MAX_ROWS - 1) / MAX_ROWS;
    for (int64_t unit = mine.first, units; unit < mine.last; unit += units) {
      units = mine.last - unit >= COLUMNS ? COLUMNS : mine.last - unit >= 2 ? 2 : 1;
      const W* panel = weights + stored<W>(unit, w.in);
      const T* ready = blocks > 1 ? expanded<T>(panel, units * w.in * LANES) : nullptr;
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row = count * block / blocks, end = count * (block + 1) / blocks;
        const T* from = x + (pass + row) * w.in;
        const int64_t bytes = stored<W>(units, w.in) * sizeof(W);
        Ahead next = next_part(panel, bytes, block, blocks, w.in / STEP<T>);
        if (blocks == 1) next.bytes = 0;
        Floats sums[MAX_ROWS * COLUMNS];
        if (ready)
          multiply_block(from, end - row, ready, units, w.in, next, sums);
        else
          multiply_block(from, end - row, panel, units, w.in, next, sums);
        for (int64_t r = 0; r < end - row; ++r) {
          scale_and_bias(w, unit, sums + r * COLUMNS, units);
          finish(pass + row + r, unit, sums + r * COLUMNS, units);
        }
      }
    }
  }
}

}  // namespace
