// Products whose every number is one chain of multiply-adds in the order of K.
//
// A chain is the same whatever the number of rows and however they and the columns are dealt to
// blocks and threads.

#pragma once

#include "columns.h"

namespace {

constexpr int COLUMNS = 4;  // units of a block, at most
#ifdef __AVX512F__
constexpr int MAX_ROWS = 6;   // with all units as many sums as registers hold
constexpr int FEW_ROWS = 6;
#else
constexpr int MAX_ROWS = 3;   // with two units
constexpr int FEW_ROWS = 4;   // for which widening weights on their way is less work than once for all
#endif
constexpr int64_t PASS_ROWS = 480;  // rows that stay in the cache while all columns pass by
constexpr int64_t WIDENED = 1 << 20;  // numbers of rows that a thread has widened at a time

// Units of a block. One row's sums would wait for each other if they were few.
constexpr int64_t block_units([[maybe_unused]] int64_t rows) {
#ifdef __AVX512F__
  return COLUMNS;
#else
  return rows > 1 ? 2 : COLUMNS;
#endif
}

// `R` rows times `C` units; `sums` is [R, COLUMNS]. T: what weights are laid out for; W: their type;
// X: what rows of T are multiplied as.
template <class T, int R, int C, class X, class W>
void multiply(const X* x, const W* weights, int64_t in, Ahead ahead, Floats* sums) {
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
template <class T, int R, int C, class X>
void multiply(const X* x, const FourBits* weights, int64_t in, Ahead, Floats* sums) {
  const int64_t blocks = in / FourBits::TERMS;
  Floats sum[R][C] = {};
  for (int64_t b = 0; b < blocks; ++b) {
    decltype(scales_of(weights->exponents, T())) scales[C];
    for (int c = 0; c < C; ++c) scales[c] = scales_of(weights[c * blocks + b].exponents, T());
    for (int n = 0; n < FourBits::TERMS / 2; ++n) {
      const X* from = x + b * FourBits::TERMS + 2 * n;
      for (int c = 0; c < C; ++c) {
        const auto terms = terms_of_pairs(weights[c * blocks + b].pairs[n], scales[c], T());
        for (int r = 0; r < R; ++r) sum[r][c] = multiply_add(sum[r][c], from + r * in, terms);
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) sums[r * COLUMNS + c] = sum[r][c];
}

template <class T, int C, class W>
void multiply_rows(const Factor<T>* x, int64_t rows, const W* weights, int64_t in, Ahead ahead,
                   Floats* sums) {
  const auto run = [&](auto count) {
    constexpr int R = decltype(count)::value;
    // No block has more.
    if constexpr (C <= block_units(R)) multiply<T, R, C>(x, weights, in, ahead, sums);
  };
  switch (rows) {
    case 1: return run(std::integral_constant<int, 1>());
    case 2: return run(std::integral_constant<int, 2>());
#ifdef __AVX512F__
    case 3: return run(std::integral_constant<int, 3>());
    case 4: return run(std::integral_constant<int, 4>());
    case 5: return run(std::integral_constant<int, 5>());
#endif
    default: return run(std::integral_constant<int, MAX_ROWS>());
  }
}

template <class T, class W>
void multiply_block(const Factor<T>* x, int64_t rows, const W* weights, int64_t units, int64_t in,
                    Ahead ahead, Floats* sums) {
  switch (units) {
    case 1: return multiply_rows<T, 1>(x, rows, weights, in, ahead, sums);
    case 2: return multiply_rows<T, 2>(x, rows, weights, in, ahead, sums);
    default: return multiply_rows<T, COLUMNS>(x, rows, weights, in, ahead, sums);
  }
}

template <class T>
constexpr int64_t pass_rows(int64_t in) {
  if (!WIDENS<T>) return PASS_ROWS;
  return std::clamp(WIDENED / in / MAX_ROWS * MAX_ROWS, PASS_ROWS / 5, PASS_ROWS);
}

// Rows of a pass as they are multiplied, in room of this thread's.
template <class T>
const Factor<T>* factors_of_rows(const T* x, int64_t count) {
  static thread_local Room<Factor<T>> room;
  if (WIDENS<T>) grow(room, count);
  return factors(x, count, room.data());
}

// Calls `finish(row, unit, sums, units)` for every row and block of this thread's units.
template <class T, class W, class Finish>
void chain_linear(const Linear& w, const W* weights, const T* x, int64_t rows, int64_t grain,
                  const Finish& finish) {
  const Share mine = share(w.out, grain);
  const int64_t rows_of_pass = pass_rows<T>(w.in);
  for (int64_t pass = 0; pass < rows; pass += rows_of_pass) {
    const int64_t count = std::min(rows_of_pass, rows - pass);
    const int64_t blocks = (count + MAX_ROWS - 1) / MAX_ROWS, most = block_units(count);
    const Factor<T>* factors = factors_of_rows(x + pass * w.in, count * w.in);
    for (int64_t unit = mine.first, units; unit < mine.last; unit += units) {
      units = mine.last - unit >= most ? most : mine.last - unit >= 2 ? 2 : 1;
      const W* panel = weights + stored<W>(unit, w.in);
      const Factor<T>* ready = count > FEW_ROWS ? expanded<T>(panel, units * w.in * LANES) : nullptr;
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row = count * block / blocks, end = count * (block + 1) / blocks;
        const Factor<T>* from = factors + row * w.in;
        const int64_t bytes = stored<W>(units, w.in) * sizeof(W);
        Ahead next = next_part(panel, bytes, block, blocks, w.in / STEP<T>);
        if (blocks == 1) next.bytes = 0;
        Floats sums[MAX_ROWS * COLUMNS];
        if (ready)
          multiply_block<Factor<T>>(from, end - row, ready, units, w.in, next, sums);
        else
          multiply_block<T>(from, end - row, panel, units, w.in, next, sums);
        for (int64_t r = 0; r < end - row; ++r) {
          scale_and_bias(w, unit, sums + r * COLUMNS, units);
          finish(pass + row + r, unit, sums + r * COLUMNS, units);
        }
      }
    }
  }
}

}  // namespace
