// The kernels as C functions. Tensors are contiguous and of one type: bfloat16 where `bfloat` is
// not 0, else float32. Sizes of rows are multiples of 16.
//
// Every row of a result is computed by the same instructions in the same order, whatever rows
// stand beside it.

#include "decoder.h"

extern "C" {

// 0 when done, 1 when the head's size is not one of those compiled.
int diglot_attend(const Shape* shape, const Step* step, const Inputs* in, void* keys, void* values,
                  int64_t window, void* out, int bfloat) {
  static thread_local AttentionSpace kept;
  AttentionSpace& space = kept;
  const Plan plan(*shape, *step, window);
  space.make_room(plan);
  bool known = true;
#pragma omp parallel num_threads(shape->threads)
  {
    const bool done =
        bfloat ? attend_any(plan, space, *in, static_cast<Bfloat*>(keys),
                            static_cast<Bfloat*>(values), static_cast<Bfloat*>(out))
               : attend_any(plan, space, *in, static_cast<float*>(keys),
                            static_cast<float*>(values), static_cast<float*>(out));
#pragma omp single
    known = done;
  }
  return !known;
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
#pragma omp parallel num_threads(threads)
  if (bfloat)
    linear(*weights, static_cast<const Bfloat*>(x), rows, 1, write_to(y, weights->out));
  else
    linear(*weights, static_cast<const float*>(x), rows, 1, write_to(y, weights->out));
}
}
