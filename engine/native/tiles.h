// Products by the processor's matrix units (AMX): tiles of 16 rows times tiles of 16 columns.
//
// A unit of packed weights is a column of such tiles as it lies. Every number is the sum of its
// tiles' sums in the order of K, by one instruction whatever the number of rows: so here, too, a
// row's bits do not depend on the rows beside it.

#pragma once

#include "amx.h"
#include "columns.h"

namespace {

#ifdef __AMX_BF16__

constexpr int BLOCK_ROWS = 2 * TILE_ROWS;           // with two units, all eight tiles are in use
constexpr int BLOCK_UNITS = 2;
constexpr int BLOCK_COLUMNS = BLOCK_UNITS * LANES;
constexpr int64_t PASS_BYTES = 1 << 20;             // of rows that stay in the cache

template <int TILE>
inline void load_weights(const Bfloat* from) {
  load_tile<TILE>(from);
}

// Those that are not taken as they are stored, however few rows want them.
template <class W>
constexpr bool EXPANDS_ALWAYS = std::is_same_v<W, FourBits>;

template <int TILE>
inline void load_weights(const int8_t* from) {
  alignas(64) Bfloat wide[TILE_NUMBERS];
  expand(from, TILE_NUMBERS, wide, Bfloat());
  load_tile<TILE>(wide);
}

// Sums of some rows and units, [rows, BLOCK_COLUMNS].
struct Block {
  const float* sums;
  int64_t first_row, rows, unit, units;
};

// A block whose sums wait for what is to become of them. The vector units see to that a few rows at
// a time, while the matrix units are at the next block.
template <class Finish>
class Waiting {
 public:
  Waiting(const Linear& w, const Finish& finish) : w_(w), finish_(finish) {}

  int64_t rows() const { return block_.rows; }

  // The one before must be done.
  void take(const Block& block) {
    block_ = block;
    done_ = 0;
  }

  void finish_some(int64_t count) {
    for (const int64_t end = std::min(block_.rows, done_ + count); done_ < end; ++done_) {
      Floats sums[BLOCK_UNITS];
      for (int64_t c = 0; c < block_.units; ++c)
        sums[c] = load(block_.sums + done_ * BLOCK_COLUMNS + c * LANES);
      scale_and_bias(w_, block_.unit, sums, block_.units);
      finish_(block_.first_row + done_, block_.unit, sums, block_.units);
    }
  }

 private:
  const Linear& w_;
  const Finish& finish_;
  Block block_{};
  int64_t done_ = 0;
};

// `R` tiles of rows times `C` units; `sums` is [R * 16, BLOCK_COLUMNS]. W: the weights' type.
template <int R, int C, class W, class Finish>
void multiply_tiles(const Bfloat* x, const W* weights, int64_t in, Ahead ahead,
                    Waiting<Finish>& waiting, float* sums) {
  const int64_t steps = in / TILE_TERMS, share = (waiting.rows() + steps - 1) / steps;
  clear_tiles();
  for (int64_t k = 0; k < in; k += TILE_TERMS) {
    for (int64_t byte = 0; byte < ahead.bytes; byte += 64)
      __builtin_prefetch(ahead.at + byte, 0, 2);
    ahead.at += ahead.bytes;
    load_tile<4>(x + k * TILE_ROWS);
    load_weights<6>(weights + k * LANES);
    add_product<0, 4, 6>();
    if constexpr (C > 1) {
      load_weights<7>(weights + (in + k) * LANES);
      add_product<1, 4, 7>();
    }
    if constexpr (R > 1) {
      load_tile<5>(x + (in + k) * TILE_ROWS);
      add_product<2, 5, 6>();
      if constexpr (C > 1) add_product<3, 5, 7>();
    }
    waiting.finish_some(share);
  }
  constexpr int64_t row_bytes = BLOCK_COLUMNS * sizeof(float);
  store_tile<0>(sums, row_bytes);
  if constexpr (C > 1) store_tile<1>(sums + LANES, row_bytes);
  if constexpr (R > 1) store_tile<2>(sums + TILE_ROWS * BLOCK_COLUMNS, row_bytes);
  if constexpr (R > 1 && C > 1) store_tile<3>(sums + TILE_ROWS * BLOCK_COLUMNS + LANES, row_bytes);
}

template <class W, class Finish>
void multiply_block(const Bfloat* x, int64_t rows, const W* weights, int64_t units, int64_t in,
                    Ahead ahead, Waiting<Finish>& waiting, float* sums) {
  const bool both = rows > TILE_ROWS;
  if (units > 1)
    both ? multiply_tiles<2, 2>(x, weights, in, ahead, waiting, sums)
         : multiply_tiles<1, 2>(x, weights, in, ahead, waiting, sums);
  else
    both ? multiply_tiles<2, 1>(x, weights, in, ahead, waiting, sums)
         : multiply_tiles<1, 1>(x, weights, in, ahead, waiting, sums);
}

// As `chain_linear`; x: rows in tiles. Panels of units go to whoever is free, the first ones in
// long runs: a processor that others use, too, would keep its team waiting.
template <class W, class Finish>
void tile_linear(const Linear& w, const W* weights, const Bfloat* x, int64_t rows,
                 const Finish& finish) {
  const TileScope tiles{TileShapes()};
  alignas(64) float room[2][BLOCK_ROWS * BLOCK_COLUMNS];
  int turn = 0;
  Waiting<Finish> waiting(w, finish);
  const int64_t num_units = (w.out + LANES - 1) / LANES;
  const int64_t panels = (num_units + BLOCK_UNITS - 1) / BLOCK_UNITS;
  const int64_t fitting = PASS_BYTES / (w.in * sizeof(Bfloat)) / BLOCK_ROWS * BLOCK_ROWS;
  const int64_t pass_rows = std::max<int64_t>(BLOCK_ROWS, fitting);
  for (int64_t pass = 0; pass < rows; pass += pass_rows) {
    const int64_t count = std::min(pass_rows, rows - pass);
    const int64_t blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
#pragma omp for schedule(guided) nowait
    for (int64_t n = 0; n < panels; ++n) {
      const int64_t unit = n * BLOCK_UNITS;
      const int64_t units = std::min<int64_t>(BLOCK_UNITS, num_units - unit);
      const W* panel = weights + stored<W>(unit, w.in);
      const bool expands = blocks > 1 || EXPANDS_ALWAYS<W>;
      const Bfloat* ready = expands ? expanded<Bfloat>(panel, units * w.in * LANES) : nullptr;
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row = pass + block * BLOCK_ROWS;
        const int64_t here = std::min<int64_t>(BLOCK_ROWS, pass + count - row);
        const int64_t bytes = stored<W>(units, w.in) * sizeof(W);
        const Ahead next = next_part(panel, bytes, block, blocks, w.in / TILE_TERMS);
        float* sums = room[turn];
        if (ready)
          multiply_block(x + row * w.in, here, ready, units, w.in, next, waiting, sums);
        else if constexpr (!EXPANDS_ALWAYS<W>)
          multiply_block(x + row * w.in, here, panel, units, w.in, next, waiting, sums);
        waiting.take({sums, row, here, unit, units});
        turn = 1 - turn;
      }
    }
  }
  waiting.finish_some(BLOCK_ROWS);
}

#endif

}  // namespace
