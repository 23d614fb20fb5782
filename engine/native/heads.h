// A step's heads on their way into attention: normalized, rotated, and laid out as its products
// read them.

#pragma once

#include "rows.h"
#include "terms.h"

namespace {

constexpr int MAX_DIM = 256;

struct Shape {
  int64_t heads, kv_heads, dim, block_size, threads;
  float scale;  // of scores
  float cap;    // what is then a soft cap of theirs; 0: none
};

struct Step {
  const int64_t* positions;     // [tokens]
  const int64_t* slots;         // [tokens]
  const int64_t* query_starts;  // [sequences + 1]
  const int64_t* tables;        // [sequences, table_width]
  int64_t tokens, sequences, table_width;
};

// Queries, keys and values of a token lie `stride` elements after those of the one before it.
struct Inputs {
  const void *q, *k, *v;
  int64_t stride;
  const void *cos, *sin;  // null: positions are rotated in already
  int64_t angle_stride;
  const int64_t* angle_rows;  // [tokens], where a token's angles are; null: in the tokens' order
  const float* gain;   // [heads + kv heads, dim]; null: heads are not normalized
  const float* sinks;  // [heads], scores of one more key, whose value is zeros; null: none
  float eps;
};

// 1 / sqrt(mean(x^2) + eps)
inline float inverse_root(const float* x, int64_t size, float eps) {
  Floats squares{};
  for (int64_t i = 0; i < size; i += LANES) squares = fused(load(x + i), load(x + i), squares);
  return 1.0f / std::sqrt(sum(squares) / float(size) + eps);
}

template <class T>
void read_head(const Inputs& in, const T* from, int64_t token, int head, int dim, float* x) {
  for (int i = 0; i < dim; i += LANES) store(x + i, load(from + i));
  if (in.gain) {
    const float root = inverse_root(x, dim, in.eps);
    const float* gain = in.gain + int64_t(head) * dim;
    for (int i = 0; i < dim; i += LANES) store(x + i, load(x + i) * root * load(gain + i));
  }
  if (in.cos) {
    float swapped[MAX_DIM];
    std::memcpy(swapped, x + dim / 2, dim / 2 * sizeof(float));
    std::memcpy(swapped + dim / 2, x, dim / 2 * sizeof(float));
    const int64_t row = in.angle_rows ? in.angle_rows[token] : token;
    const T* cos = static_cast<const T*>(in.cos) + row * in.angle_stride;
    const T* sin = static_cast<const T*>(in.sin) + row * in.angle_stride;
    for (int i = 0; i < dim; i += LANES)
      store(x + i, fused(load(x + i), load(cos + i), load(swapped + i) * load(sin + i)));
  }
}

// Queries of a head of the cache are together: [kv heads, tokens, heads of a group, dim].
inline int64_t query_at(const Shape& s, const Step& step, int64_t token, int head) {
  const int64_t group = s.heads / s.kv_heads;
  return ((head / group * step.tokens + token) * group + head % group) * s.dim;
}

// A token's queries to `queries`; its keys and values to the cache. There keys lie as weights of a
// product do (see linear.h): sixteen keys are a unit, whose numbers lie in the order of the head's
// dimension. So do values, but they are summed over the keys: `STEP` keys are together, their
// numbers in the order of the dimension.
template <class T>
void read_token(const Shape& s, const Step& step, const Inputs& in, int64_t token, T* queries,
                T* keys, T* values) {
  const int dim = s.dim;
  float x[MAX_DIM];
  for (int h = 0; h < s.heads; ++h) {
    T* q = queries + query_at(s, step, token, h);
    read_head<T>(in, static_cast<const T*>(in.q) + token * in.stride + h * dim, token, h, dim, x);
    for (int i = 0; i < dim; i += LANES) store(q + i, load(x + i));
  }
  const int64_t block = step.slots[token] / s.block_size, at = step.slots[token] % s.block_size;
  for (int h = 0; h < s.kv_heads; ++h) {
    const int64_t first = (block * s.kv_heads + h) * s.block_size * dim;
    const int64_t offset = token * in.stride + h * dim;
    read_head<T>(in, static_cast<const T*>(in.k) + offset, token, s.heads + h, dim, x);
    T key[MAX_DIM], *unit = keys + first + at / LANES * LANES * dim;
    for (int i = 0; i < dim; i += LANES) store(key + i, load(x + i));
    for (int i = 0; i < dim; i += STEP<T>)
      std::memcpy(unit + i * LANES + at % LANES * STEP<T>, key + i, STEP<T> * sizeof(T));
    const T* value = static_cast<const T*>(in.v) + offset;
    T* to = values + first + at / STEP<T> * STEP<T> * dim + at % STEP<T>;
    for (int i = 0; i < dim; ++i) to[i * STEP<T>] = value[i];
  }
}

// Where in the cache a head's keys and values begin, of which `key` is the first of a unit.
struct Places {
  const int64_t* table;
  int64_t block_size, kv_heads, kv_head, dim;

  int64_t operator()(int64_t key) const {
    const int64_t block = table[key / block_size];
    return ((block * kv_heads + kv_head) * block_size + key % block_size) * dim;
  }
};

}  // namespace
