// Attention of sixteen rows at a time by the processor's matrix units (AMX).
//
// As in attend_chains.h, but in base 2, and weights are rounded to bfloat16 before they meet the
// values, as in FlashAttention (arXiv 2205.14135). A row's bits do not depend on those beside it.

#pragma once

#include "amx.h"
#include "partials.h"

namespace {

#ifdef __AMX_BF16__

// Tiles 0 to 3 hold sums, 4 queries, 5 keys; 6 the rows' weights of sixteen keys, 7 their values.
inline TileShapes attention_tiles() {
  TileShapes shapes;
  shapes.row_bytes[6] = LANES * sizeof(Bfloat);
  shapes.rows[7] = LANES / STEP<Bfloat>;
  return shapes;
}

// Sixteen rows of four units' sums, [16, KEYS].
inline void store_sums(float* to) {
  constexpr int64_t row_bytes = KEYS * sizeof(float);
  store_tile<0>(to, row_bytes);
  store_tile<1>(to + LANES, row_bytes);
  store_tile<2>(to + 2 * LANES, row_bytes);
  store_tile<3>(to + 3 * LANES, row_bytes);
}

template <int DIM>
void score_tiles(const Bfloat* q, const Bfloat* const* k, float* scores) {
  clear_tiles();
  for (int d = 0; d < DIM; d += TILE_TERMS) {
    load_tile<4>(q + d, DIM * sizeof(Bfloat));
    load_tile<5>(k[0] + d * LANES);
    add_product<0, 4, 5>();
    load_tile<5>(k[1] + d * LANES);
    add_product<1, 4, 5>();
    load_tile<5>(k[2] + d * LANES);
    add_product<2, 4, 5>();
    load_tile<5>(k[3] + d * LANES);
    add_product<3, 4, 5>();
  }
  store_sums(scores);
}

constexpr float LOG2_E = 1.44269504f;

// Scores times log2(e) below this are of no key that is seen.
constexpr float UNSEEN = -1e28f;

// 2^x with an error of 3e-7 at most; 0 far below.
inline Floats power_of_two(Floats x) {
  const Floats whole = (Floats)_mm512_roundscale_ps((__m512)x, 0);
  const Floats rest = x - whole;
  Floats p = all(0.00132647273f);
  p = fused(p, rest, every(0.00967151299f));
  p = fused(p, rest, every(0.0555073358f));
  p = fused(p, rest, every(0.240222424f));
  p = fused(p, rest, every(0.693147004f));
  p = fused(p, rest, every(1.0f));
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)whole);
}

// The larger of neighbouring pairs: those of a, then those of b.
inline Floats larger_of_pairs(Floats a, Floats b) {
  return larger(
      __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
      __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
}

// The largest number of each row, in place of the row's number.
inline Floats largest_of_rows(Floats* rows) {
  for (int count = TILE_ROWS / 2; count; count /= 2)
    for (int i = 0; i < count; ++i) rows[i] = larger_of_pairs(rows[2 * i], rows[2 * i + 1]);
  return rows[0];
}

// What rows know so far, sixteen at most.
template <int DIM>
struct TileState {
  Floats most = all(LOWEST), weights[TILE_ROWS] = {};
  alignas(64) float out[TILE_ROWS][DIM] = {};

  // Turns `scores` [16, KEYS] of a tile's keys into weights, against the largest score so far, and
  // lets what was summed before fade by as much as that rose.
  void weigh(const float* scores, int rows, float scale, Bfloat* rounded) {
    Floats tops[TILE_ROWS];
    for (int r = 0; r < TILE_ROWS; ++r) {
      const float* at = scores + r * KEYS;
      tops[r] = larger(larger(load(at), load(at + LANES)),
                       larger(load(at + 2 * LANES), load(at + 3 * LANES)));
    }
    const Floats next = larger(most, largest_of_rows(tops) * scale);
    const Floats fade = power_of_two(most - next);
    const Floats shift = next > UNSEEN ? next : Floats{};
    most = next;
    const bool fades = _mm512_cmpneq_ps_mask((__m512)fade, (__m512)all(1.0f));
    for (int r = 0; r < rows; ++r) {
      if (fades) {
        weights[r] = weights[r] * fade[r];
        for (int c = 0; c < DIM; c += LANES) store(out[r] + c, load(out[r] + c) * fade[r]);
      }
      for (int i = 0; i < KEYS; i += 2 * LANES) {
        const float* at = scores + r * KEYS + i;
        const Floats a = power_of_two(fused(scale, load(at), -every(shift[r])));
        const Floats b = power_of_two(fused(scale, load(at + LANES), -every(shift[r])));
        weights[r] += a;
        weights[r] += b;
        const auto both = _mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
        std::memcpy(rounded + r * KEYS + i, &both, sizeof both);
      }
    }
  }

  // Adds the values of some units of keys, by weights [16, KEYS], to sixteen columns of tile `TILE`
  // after column `C`.
  template <int C, int TILE>
  static void add_unit(const Bfloat* values) {
    if constexpr (C + TILE * LANES < DIM) {
      load_tile<7>(values + (C + TILE * LANES) * STEP<Bfloat>, DIM * STEP<Bfloat> * sizeof(Bfloat));
      add_product<TILE, 6, 7>();
    }
  }

  template <int C, int TILE>
  void load_out() {
    if constexpr (C + TILE * LANES < DIM)
      load_tile<TILE>(out[0] + C + TILE * LANES, DIM * sizeof(float));
  }

  template <int C, int TILE>
  void store_out() {
    if constexpr (C + TILE * LANES < DIM)
      store_tile<TILE>(out[0] + C + TILE * LANES, DIM * sizeof(float));
  }

  // v: the values of each unit of keys.
  template <int C = 0>
  void add_values(const Bfloat* rounded, const Bfloat* const* v, int64_t num_units) {
    load_out<C, 0>();
    load_out<C, 1>();
    load_out<C, 2>();
    load_out<C, 3>();
    for (int64_t u = 0; u < num_units; ++u) {
      load_tile<6>(rounded + u * LANES, KEYS * sizeof(Bfloat));
      add_unit<C, 0>(v[u]);
      add_unit<C, 1>(v[u]);
      add_unit<C, 2>(v[u]);
      add_unit<C, 3>(v[u]);
    }
    store_out<C, 0>();
    store_out<C, 1>();
    store_out<C, 2>();
    store_out<C, 3>();
    if constexpr (C + UNITS * LANES < DIM) add_values<C + UNITS * LANES>(rounded, v, num_units);
  }
};

// Puts scores [16, KEYS] out of the way that their rows do not see.
inline void mask_scores(float* scores, int rows, int64_t tile, const int64_t* positions,
                        int64_t window) {
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < KEYS; i += LANES) {
      float* at = scores + r * KEYS + i;
      store(at, seen_scores(load(at), i, float(positions[r] - tile), window));
    }
}

// Scales scores [16, KEYS] and caps them.
inline void cap_scores(float* scores, int rows, float scale, float cap) {
  for (int i = 0; i < rows * KEYS; i += LANES)
    store(scores + i, capped(load(scores + i) * scale, cap));
}

// A unit's values of which only the first `count` are there, with zeros for the others.
template <int DIM>
const Bfloat* padded(const Bfloat* values, int64_t count, Bfloat* room) {
  std::memset(room, 0, LANES * DIM * sizeof(Bfloat));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i / STEP<Bfloat> * STEP<Bfloat> * DIM + i % STEP<Bfloat>;
    for (int64_t d = 0; d < DIM; ++d) room[at + d * STEP<Bfloat>] = values[at + d * STEP<Bfloat>];
  }
  return room;
}

// `rows` rows, sixteen at most; behind `q` [rows, DIM] there may be read as far as sixteen.
template <int DIM>
void attend_tile(const Stretch& on, const Bfloat* keys, const Bfloat* values, const Bfloat* q,
                 const int64_t* positions, int rows, Partial* results) {
  TileState<DIM> state;
  const int64_t last_unit = (on.last - 1) / LANES * LANES;
  alignas(64) Bfloat weights[TILE_ROWS * KEYS], room[LANES * DIM];
  alignas(64) float scores[TILE_ROWS * KEYS];
  for (int64_t tile = on.first; tile < on.last; tile += KEYS) {
    const Bfloat *k[UNITS], *v[UNITS];
    const int64_t seen = std::min<int64_t>(KEYS, on.last - tile);
    for (int u = 0; u < UNITS; ++u) {  // those behind the last key are never seen
      const int64_t place = on.places(std::min(tile + u * LANES, last_unit));
      k[u] = keys + place;
      v[u] = values + place;
    }
    const int64_t num_units = (seen + LANES - 1) / LANES;
    if (seen % LANES) v[num_units - 1] = padded<DIM>(v[num_units - 1], seen % LANES, room);
    score_tiles<DIM>(q, k, scores);
    if (on.cap > 0) cap_scores(scores, rows, on.scale, on.cap);
    if (on.window > 0 || positions[0] < tile + KEYS - 1)  // rows are in the order of positions
      mask_scores(scores, rows, tile, positions, on.window);
    state.weigh(scores, rows, (on.cap > 0 ? 1.0f : on.scale) * LOG2_E, weights);
    state.add_values(weights, v, num_units);
  }
  for (int r = 0; r < rows; ++r) {
    results[r].most = state.most[r] / LOG2_E;
    results[r].weight = sum(state.weights[r]);
    std::memcpy(results[r].out, state.out[r], sizeof state.out[r]);
  }
}

template <int DIM>
void attend_by_tiles(const Stretch& on, const Bfloat* keys, const Bfloat* values, const Bfloat* q,
                     const int64_t* positions, int64_t rows, Partial* results) {
  const TileScope tiles(attention_tiles());
  for (int64_t row = 0; row < rows; row += TILE_ROWS)
    attend_tile<DIM>(on, keys, values, q + row * DIM, positions + row,
                     std::min<int64_t>(TILE_ROWS, rows - row), results + row);
}

#endif

}  // namespace
