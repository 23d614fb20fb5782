// The kernels as C functions. Tensors are contiguous and of one type: bfloat16 where `bfloat` is
// not 0, else float32. Sizes of rows are multiples of 16.
//
// Every row of a result is computed by the same instructions in the same order, whatever rows
// stand beside it.

#include "decoder.h"
#include "draw.h"

namespace {

template <class T>
bool attend_step(const Plan& plan, const Inputs& in, void* keys, void* values, void* out) {
  static thread_local AttentionSpace<T> kept;
  AttentionSpace<T>& space = kept;  // the same for the whole team
  space.make_room(plan);
  bool known = true;
#pragma omp parallel num_threads(plan.s.threads) reduction(&& : known)
  known = attend_any(plan, space, in, static_cast<T*>(keys), static_cast<T*>(values),
                     plain(static_cast<T*>(out), plan.s.heads * plan.s.dim));
  return known;
}

template <class T>
void linear_rows(const Linear& weights, const T* x, float* y, int64_t rows, int threads) {
  static thread_local Room<T> room;
  const int64_t size = weights.in;
  const Rows<T> in = product_rows(room, rows, size);
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < size; i += LANES)
        std::memcpy(in.at(row, i), x + row * size + i, LANES * sizeof(T));
    linear(weights, in, rows, 1, write_to(y, weights.out));
  }
}

}  // namespace

extern "C" {

// 0 when done, 1 when the head's size is not one of those compiled.
int diglot_attend(const Shape* shape, const Step* step, const Inputs* in, void* keys, void* values,
                  int64_t window, void* out, int bfloat) {
  const Plan plan(*shape, *step, window);
  return !(bfloat ? attend_step<Bfloat>(plan, *in, keys, values, out)
                  : attend_step<float>(plan, *in, keys, values, out));
}

// Normalized hidden states [tokens, hidden] of one step.
void diglot_forward(const Model* model, const Shape* shape, const Step* step, const Cache* cache,
                    const int64_t* token_ids, void* hidden, int bfloat) {
  if (bfloat)
    forward(*model, *shape, *step, *cache, token_ids, static_cast<Bfloat*>(hidden));
  else
    forward(*model, *shape, *step, *cache, token_ids, static_cast<float*>(hidden));
}

// y = x W^T + b: float32 [rows, out].
void diglot_linear(const Linear* weights, const void* x, float* y, int64_t rows, int threads,
                   int bfloat) {
  if (bfloat)
    linear_rows(*weights, static_cast<const Bfloat*>(x), y, rows, threads);
  else
    linear_rows(*weights, static_cast<const float*>(x), y, rows, threads);
}

// A token of each row.
void diglot_draw(const Draws* draws, int threads) { draw_rows(*draws, threads); }

// What log-probabilities are made of.
void diglot_score(const Scores* scores, int threads) { score_rows(*scores, threads); }

}
