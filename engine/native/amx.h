// The processor's matrix units (AMX): eight tiles, and the four instructions on them.
//
// Not the compiler's own intrinsics: those of GCC do not say that they read and write memory.

#pragma once

#include "rows.h"

namespace {

#ifdef __AMX_BF16__

constexpr int TILE_BYTES = 64;  // of a tile's row
constexpr int TILE_NUMBERS = TILE_ROWS * TILE_TERMS;

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  TileShapes() {
    for (int tile = 0; tile < 8; ++tile) {
      row_bytes[tile] = TILE_BYTES;
      rows[tile] = TILE_ROWS;
    }
  }
};

// The calling thread's tiles, usable as long as this lives.
struct TileScope {
  explicit TileScope(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
  ~TileScope() { asm volatile("tilerelease"); }
};

template <int TILE>
inline void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(TILE));
}

inline void clear_tiles() {
  clear_tile<0>();
  clear_tile<1>();
  clear_tile<2>();
  clear_tile<3>();
}

template <int TILE>
inline void load_tile(const void* from, int64_t row_bytes = TILE_BYTES) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(TILE) : "memory");
}

template <int TILE>
inline void store_tile(float* to, int64_t row_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "i"(TILE) : "memory");
}

template <int SUMS, int X, int WEIGHTS>
inline void add_product() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUMS), "i"(X), "i"(WEIGHTS));
}

#endif

}  // namespace
