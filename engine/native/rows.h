// Where the numbers of rows of activations lie: one row after the other, or, where the processor
// has matrix units (AMX), in tiles of 16 rows and 32 numbers, as these take them.

#pragma once

#include <new>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

constexpr int TILE_ROWS = 16;
constexpr int TILE_TERMS = 32;

// Whether products of rows of this size go to the matrix units.
template <class T>
constexpr bool in_tiles(int64_t size) {
#ifdef __AMX_BF16__
  return std::is_same_v<T, Bfloat> && size % TILE_TERMS == 0;
#else
  return size < 0;
#endif
}

template <class T>
struct Rows {
  T* data;
  int64_t size;
  bool tiled;

  // Sixteen numbers from `i` on, a multiple of 16, are together.
  T* at(int64_t row, int64_t i) const {
    if (!tiled) return data + row * size + i;
    return data + row / TILE_ROWS * TILE_ROWS * size + i / TILE_TERMS * TILE_TERMS * TILE_ROWS +
           row % TILE_ROWS * TILE_TERMS + i % TILE_TERMS;
  }
};

// Rows as they come from elsewhere, one after the other.
template <class T>
Rows<T> plain(T* data, int64_t size) {
  return {data, size, false};
}

// For vectors whose first number begins a line of the cache, as every row of a tile then does.
template <class T>
struct Lines {
  using value_type = T;
  static constexpr std::align_val_t ALIGNMENT{64};

  Lines() = default;
  template <class U>
  Lines(const Lines<U>&) {}
  T* allocate(size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), ALIGNMENT));
  }
  void deallocate(T* at, size_t) { ::operator delete(at, ALIGNMENT); }
  bool operator==(const Lines&) const { return true; }
  bool operator!=(const Lines&) const { return false; }
};

template <class T>
using Room = std::vector<T, Lines<T>>;

template <class T>
void grow(Room<T>& room, int64_t size) {
  if (int64_t(room.size()) < size) room.resize(size);
}

// Room for rows that a product takes. What stands in a last tile behind them is never seen.
template <class T>
Rows<T> product_rows(Room<T>& room, int64_t rows, int64_t size) {
  grow(room, (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS * size);
  return {room.data(), size, in_tiles<T>(size)};
}

}  // namespace
