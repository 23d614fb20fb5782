// One step of a pre-norm decoder, from token ids to normalized hidden states, by one team of
// threads: the order of operations is that of engine/models/decoder.py, its oracle.
//
// The sum of the residuals is float32, whatever the weights are. Rows are shared out among threads
// where an operation works on rows, columns where it is a product.

#pragma once

#include <map>

#include "attention.h"
#include "linear.h"

namespace {

struct Layer {
  const void* attention_norm;  // [hidden]
  Linear qkv;
  const void* qk_norm;  // [heads + kv heads, dim] or null
  Linear output;
  const void* mlp_norm;  // [hidden]
  Linear gate_up;        // units of gates and of values in turn
  Linear down;
};

struct Model {
  const Layer* layers;
  const void* embedding;  // [vocabulary, hidden]
  const void* norm;       // [hidden]
  const void* angles;     // [positions, 2, dim]: cosines, and sines with the first half negated
  int64_t num_layers, hidden, wide;
  float eps;
};

// Keys and values of each layer, and the window it looks through (0: all keys).
struct Cache {
  void* const* keys;
  void* const* values;
  const int64_t* windows;
};

template <class T, class Y>
void rms_norm(const T* x, const Y* gain, Rows<Y> y, int64_t rows, float eps) {
  const int64_t size = y.size;
#pragma omp for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const T* from = x + row * size;
    Floats squares{};
    for (int64_t i = 0; i < size; i += LANES) squares += load(from + i) * load(from + i);
    const float root = 1.0f / std::sqrt(sum(squares) / float(size) + eps);
    for (int64_t i = 0; i < size; i += LANES)
      store(y.at(row, i), load(from + i) * root * load(gain + i));
  }
}

template <class T>
void embed(const T* table, const int64_t* token_ids, float* x, int64_t rows, int64_t size) {
#pragma omp for schedule(static)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < size; i += LANES)
      store(x + row * size + i, load(table + token_ids[row] * size + i));
}

// What a step needs room for, kept for the next one.
template <class T>
struct Space {
  Room<float> x;
  Room<T> normed, heads, attended, gated;
  AttentionSpace<T> attention;
};

template <class T>
Inputs inputs_of(const T* heads, const Model& m, const Layer& layer, const Shape& s,
                 const Step& step) {
  const int64_t keys = s.heads * s.dim, values = keys + s.kv_heads * s.dim;
  const T* cosines = static_cast<const T*>(m.angles);
  return {heads,       heads + keys,       heads + values, values + s.kv_heads * s.dim,
          cosines,     cosines + s.dim,    2 * s.dim,      step.positions,
          layer.qk_norm, m.eps};
}

template <class T>
void forward(const Model& m, const Shape& s, const Step& step, const Cache& cache,
             const int64_t* token_ids, T* hidden) {
  static thread_local Space<T> kept;
  Space<T>& space = kept;  // the same for the whole team
  const int64_t tokens = step.tokens;
  grow(space.x, tokens * m.hidden);
  grow(space.heads, tokens * (s.heads + 2 * s.kv_heads) * s.dim);
  float* x = space.x.data();
  T* heads = space.heads.data();
  const Rows<T> normed = product_rows(space.normed, tokens, m.hidden);
  const Rows<T> attended = product_rows(space.attended, tokens, s.heads * s.dim);
  const Rows<T> gated = product_rows(space.gated, tokens, m.wide);
  std::map<int64_t, Plan> plans;  // by window
  for (int64_t n = 0; n < m.num_layers; ++n) {
    const auto [at, made] = plans.try_emplace(cache.windows[n], s, step, cache.windows[n]);
    if (made) space.attention.make_room(at->second);
  }
#pragma omp parallel num_threads(s.threads)
  {
    embed(static_cast<const T*>(m.embedding), token_ids, x, tokens, m.hidden);
    for (int64_t n = 0; n < m.num_layers; ++n) {
      const Layer& layer = m.layers[n];
      rms_norm(x, static_cast<const T*>(layer.attention_norm), normed, tokens, m.eps);
      linear(layer.qkv, normed, tokens, 1, write_to(heads, layer.qkv.out));
      attend_any(plans.at(cache.windows[n]), space.attention,
                 inputs_of(heads, m, layer, s, step), static_cast<T*>(cache.keys[n]),
                 static_cast<T*>(cache.values[n]), attended);
      linear(layer.output, attended, tokens, 1, add_to(x, m.hidden));
      rms_norm(x, static_cast<const T*>(layer.mlp_norm), normed, tokens, m.eps);
      linear(layer.gate_up, normed, tokens, 2, write_gated(gated));
      linear(layer.down, gated, tokens, 1, add_to(x, m.hidden));
    }
    rms_norm(x, static_cast<const T*>(m.norm), plain(hidden, m.hidden), tokens, m.eps);
  }
}

}  // namespace
