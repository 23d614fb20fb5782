// Attention of sixteen rows at a time by the processor's matrix units (AMX).
//
// As in attend_chains.h, but weights are rounded to bfloat16 before they meet the values, as in
// FlashAttention (arXiv 2205.14135), and their sum is that of the rounded ones. A row's bits do not
// depend on the rows beside it.

#pragma once

#include "partials.h"
#include "tiles.h"

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

// Adds `unit` of the output's columns: four at most.
template <int SUMS, int DIM>
void add_values(const Bfloat* values, int units) {
  if (SUMS >= units) return;
  load_tile<7>(values + SUMS * LANES * STEP<Bfloat>, DIM * STEP<Bfloat> * sizeof(Bfloat));
  add_product<SUMS, 6, 7>();
}

// weights: [16, KEYS]; v: the values of each unit of keys; sums: [16, KEYS], from column `c` on.
template <int DIM>
void value_tiles(const Bfloat* weights, const Bfloat* const* v, int64_t num_units, int c,
                 float* sums) {
  const int units = std::min(UNITS, DIM / LANES - c);
  clear_tiles();
  for (int64_t u = 0; u < num_units; ++u) {
    const Bfloat* from = v[u] + c * LANES * STEP<Bfloat>;
    load_tile<6>(weights + u * LANES, KEYS * sizeof(Bfloat));
    add_values<0, DIM>(from, units);
    add_values<1, DIM>(from, units);
    add_values<2, DIM>(from, units);
    add_values<3, DIM>(from, units);
  }
  store_sums(sums);
}

// What rows know so far, sixteen at most.
template <int DIM>
struct TileState {
  Floats most = all(LOWEST), weights[TILE_ROWS] = {};
  alignas(64) float out[TILE_ROWS][DIM] = {};

  // Turns `scores` [16, KEYS] of a tile's keys into weights, against the largest score so far;
  // returns by what earlier sums fade.
  Floats weigh(float* scores, int rows, int64_t tile, const int64_t* positions, const Stretch& on,
               Bfloat* rounded) {
    Floats next = most;
    for (int r = 0; r < rows; ++r) {
      Floats top = all(LOWEST);
      for (int u = 0; u < UNITS; ++u) {
        float* at = scores + r * KEYS + u * LANES;
        const Floats seen =
            seen_scores(load(at) * on.scale, u * LANES, float(positions[r] - tile), on.window);
        store(at, seen);
        top = larger(top, seen);
      }
      next[r] = std::max(next[r], largest(top));
    }
    const Floats fade = exponential(most - next);
    most = next;
    for (int r = 0; r < rows; ++r) {
      weights[r] = weights[r] * fade[r];
      for (int u = 0; u < UNITS; ++u) {
        Bfloat* to = rounded + r * KEYS + u * LANES;
        store(to, weights_of(load(scores + r * KEYS + u * LANES), next[r]));
        weights[r] += load(to);
      }
    }
    return fade;
  }
};

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
  alignas(64) float sums[TILE_ROWS * KEYS];
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
    score_tiles<DIM>(q, k, sums);
    const Floats fade = state.weigh(sums, rows, tile, positions, on, weights);
    for (int c = 0; c < DIM / LANES; c += UNITS) {
      value_tiles<DIM>(weights, v, num_units, c, sums);
      for (int r = 0; r < rows; ++r)
        for (int u = 0; u < UNITS && c + u < DIM / LANES; ++u) {
          float* to = state.out[r] + (c + u) * LANES;
          store(to, load(to) * fade[r] + load(sums + r * KEYS + u * LANES));
        }
    }
  }
  for (int r = 0; r < rows; ++r) {
    results[r].most = state.most[r];
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
