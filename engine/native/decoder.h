// One step of a decoder, from token ids to normalized hidden states, by one team of
// threads: the order of operations is that of engine/models/decoder.py, its oracle.
//
// The sum of the residuals is float32, whatever the weights are. Rows are shared out among threads
// where an operation works on rows, columns where it is a product.

#pragma once

#include <map>

#include "attention.h"
#include "experts.h"
#include "linear.h"

namespace {

// Gains of norms are [hidden]; of heads, [heads + kv heads, dim]. Those of heads and of what
// attention and MLP give may be null, and so may sinks.
struct Layer {
  const float* attention_norm;
  Linear qkv;
  const float* qk_norm;
  const float* sinks;  // [heads]
  Linear output;
  const float* attention_post_norm;
  const float* mlp_norm;
  Expert mlp;  // the only one, unless there are
  Linear router;
  const Expert* experts;  // [experts], or null
  const float* mlp_post_norm;
  const void* angles;  // [positions, 2, dim]: cosines, and sines with the first half negated
};

struct Model {
  const Layer* layers;
  const void* embedding;  // [vocabulary, hidden]
  const float* norm;      // [hidden]
  int64_t num_layers, hidden, wide;
  float eps, embedding_scale;
  Routing routing;  // to the experts of each layer; without any, 0
  Gates gates;
};

// Keys and values of each layer, and the window it looks through (0: all keys).
struct Cache {
  void* const* keys;
  void* const* values;
  const int64_t* windows;
};

template <class T>
void rms_norm(const float* x, const float* gain, Rows<T> y, int64_t rows, float eps) {
  const int64_t size = y.size;
#pragma omp for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = x + row * size;
    const float root = inverse_root(from, size, eps);
    for (int64_t i = 0; i < size; i += LANES)
      store(y.at(row, i), load(from + i) * root * load(gain + i));
  }
}

// Adds the norm of `y` to `x`, both [rows, size].
inline void add_norm(float* x, const float* y, const float* gain, int64_t rows, int64_t size,
                     float eps) {
#pragma omp for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const float root = inverse_root(y + row * size, size, eps);
    for (int64_t i = row * size; i < (row + 1) * size; i += LANES)
      store(x + i, load(x + i) + load(y + i) * root * load(gain + i - row * size));
  }
}

template <class T>
void embed(const Model& m, const int64_t* token_ids, float* x, int64_t rows) {
  const T* table = static_cast<const T*>(m.embedding);
#pragma omp for schedule(static)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < m.hidden; i += LANES)
      store(x + row * m.hidden + i,
            load(table + token_ids[row] * m.hidden + i) * m.embedding_scale);
}

// Adds a product to `x`, normalized first where there is a gain. `room` has the size of `x`.
template <class T>
void add_product(const Model& m, const Linear& w, Rows<T> y, const float* gain, float* x,
                 float* room, int64_t rows) {
  if (!gain) return linear(w, y, rows, 1, add_to(x, m.hidden));
  linear(w, y, rows, 1, write_to(room, m.hidden));
  add_norm(x, room, gain, rows, m.hidden, m.eps);
}

// What a step needs room for, kept for the next one.
template <class T>
struct Space {
  Room<float> x, product;
  Room<T> normed, heads, attended, gated;
  AttentionSpace<T> attention;
  ExpertSpace<T> experts;
};

// Adds what the layer's MLP makes of `y` to `x`; gathered and gated are room for as many rows.
template <class T>
void add_mlp(const Model& m, const Layer& layer, Rows<T> y, Rows<T> gathered, Rows<T> gated,
             float* x, Space<T>& space, int64_t rows) {
  if (layer.experts)
    return add_experts(m.routing, layer.experts, layer.router, y, rows, m.gates, gathered, gated, x,
                       space.experts);
  linear(layer.mlp.gate_up, y, rows, 2, write_gated(gated, m.gates));
  add_product(m, layer.mlp.down, gated, layer.mlp_post_norm, x, space.product.data(), rows);
}

template <class T>
Inputs inputs_of(const T* heads, const Model& m, const Layer& layer, const Shape& s,
                 const Step& step) {
  const int64_t keys = s.heads * s.dim, values = keys + s.kv_heads * s.dim;
  const T* cosines = static_cast<const T*>(layer.angles);
  return {heads,       heads + keys,       heads + values, values + s.kv_heads * s.dim,
          cosines,     cosines + s.dim,    2 * s.dim,      step.positions,
          layer.qk_norm, layer.sinks,      m.eps};
}

template <class T>
void forward(const Model& m, const Shape& s, const Step& step, const Cache& cache,
             const int64_t* token_ids, T* hidden) {
  static thread_local Space<T> kept;
  Space<T>& space = kept;  // the same for the whole team
  const int64_t tokens = step.tokens;
  grow(space.x, tokens * m.hidden);
  if (m.num_layers && m.layers[0].mlp_post_norm) grow(space.product, tokens * m.hidden);
  grow(space.heads, tokens * (s.heads + 2 * s.kv_heads) * s.dim);
  float *x = space.x.data(), *product = space.product.data();
  T* heads = space.heads.data();
  const Rows<T> normed = product_rows(space.normed, tokens, m.hidden);
  const Rows<T> attended = product_rows(space.attended, tokens, s.heads * s.dim);
  const Rows<T> gated = product_rows(space.gated, tokens, m.wide);
  const bool routes = m.routing.experts > 0;
  if (routes) space.experts.make_room(m.routing, tokens, m.hidden);
  const Rows<T> gathered = product_rows(space.experts.gathered, routes ? tokens : 0, m.hidden);
  std::map<int64_t, Plan> plans;  // by window
  for (int64_t n = 0; n < m.num_layers; ++n) {
    const auto [at, made] = plans.try_emplace(cache.windows[n], s, step, cache.windows[n]);
    if (made) space.attention.make_room(at->second);
  }
#pragma omp parallel num_threads(s.threads)
  {
    embed<T>(m, token_ids, x, tokens);
    for (int64_t n = 0; n < m.num_layers; ++n) {
      const Layer& layer = m.layers[n];
      rms_norm(x, layer.attention_norm, normed, tokens, m.eps);
      linear(layer.qkv, normed, tokens, 1, write_to(heads, layer.qkv.out));
      attend_any(plans.at(cache.windows[n]), space.attention,
                 inputs_of(heads, m, layer, s, step), static_cast<T*>(cache.keys[n]),
                 static_cast<T*>(cache.values[n]), attended);
      add_product(m, layer.output, attended, layer.attention_post_norm, x, product, tokens);
      rms_norm(x, layer.mlp_norm, normed, tokens, m.eps);
      add_mlp(m, layer, normed, gathered, gated, x, space, tokens);
    }
    rms_norm(x, m.norm, plain(hidden, m.hidden), tokens, m.eps);
  }
}

}  // namespace
