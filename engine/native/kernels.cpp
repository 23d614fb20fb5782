// Attention over a paged cache with rotation and cache write, and RMSNorm, for CPUs.
//
// Every row of a result is computed by the same instructions in the same order, whatever rows
// stand beside it: keys are taken in tiles of 64 counted from the sequence's start, tiles in
// splits of 512, and both are merged in order by their largest score (online softmax, arXiv
// 1805.02867; split keys as in Flash-Decoding). How rows and splits are dealt to threads is
// therefore not seen in a result.
//
// Vectors are GCC's own (clang has them, too): 16 floats, whatever the processor makes of them.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int LANES = 16;
constexpr int TILE = 64;          // keys between two looks at the largest score
constexpr int SPLIT = 512;        // keys of one partial result
constexpr int QUERY_TOKENS = 16;  // tokens of a chunk that one task takes
constexpr int ROWS = 4;           // rows that share the loads of keys and values
constexpr int MAX_DIM = 256;
constexpr float LOWEST = -1e30f;  // finite, so that differences of two of them are

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));

struct Bfloat {
  uint16_t bits;
};

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline Floats load(const Bfloat* from) {
  Halves h;
  std::memcpy(&h, from, sizeof h);
  return (Floats)(__builtin_convertvector(h, Words) << 16);
}

inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }

inline void store(Bfloat* to, Floats v) {  // rounds to nearest, ties to even
  const Words u = (Words)v;
  const Halves h = __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, Halves);
  std::memcpy(to, &h, sizeof h);
}

inline Floats all(float x) { return Floats{} + x; }

inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// Sums of neighbouring pairs: those of a, then those of b.
inline Floats pairs(Floats a, Floats b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

inline float sum(Floats v) {
  v = pairs(v, v);
  v = pairs(v, v);
  v = pairs(v, v);
  return pairs(v, v)[0];
}

inline float largest(Floats v) {
  float m = v[0];
  for (int i = 1; i < LANES; ++i) m = std::max(m, v[i]);
  return m;
}

// exp by range reduction and a polynomial (Cephes); 0 far below, as exp of LOWEST is.
inline Floats exponential(Floats x) {
  const Floats low = all(-87.3f);
  const Floats bounded = larger(x, low);
  const Floats rounder = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats n = (bounded * 1.44269504f + rounder) - rounder;
  Floats r = bounded - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const Floats y = p * (r * r) + r + 1.0f;
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  return x < low ? Floats{} : y * (Floats)power;
}

inline float exponential(float x) { return exponential(all(x))[0]; }

struct Shape {
  int64_t heads, kv_heads, dim, block_size, threads;
  float scale;
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
  const void* gain;  // [heads + kv heads, dim]; null: heads are not normalized
  float eps;
};

template <class T>
void read_head(const Inputs& in, const T* from, int64_t token, int head, int dim, float* x) {
  for (int i = 0; i < dim; i += LANES) store(x + i, load(from + i));
  if (in.gain) {
    Floats squares{};
    for (int i = 0; i < dim; i += LANES) squares += load(x + i) * load(x + i);
    const float root = 1.0f / std::sqrt(sum(squares) / dim + in.eps);
    const T* gain = static_cast<const T*>(in.gain) + int64_t(head) * dim;
    for (int i = 0; i < dim; i += LANES) store(x + i, load(x + i) * root * load(gain + i));
  }
  if (in.cos) {
    float swapped[MAX_DIM];
    std::memcpy(swapped, x + dim / 2, dim / 2 * sizeof(float));
    std::memcpy(swapped + dim / 2, x, dim / 2 * sizeof(float));
    const T* cos = static_cast<const T*>(in.cos) + token * in.angle_stride;
    const T* sin = static_cast<const T*>(in.sin) + token * in.angle_stride;
    for (int i = 0; i < dim; i += LANES)
      store(x + i, load(x + i) * load(cos + i) + load(swapped + i) * load(sin + i));
  }
}

// A token's queries to `queries` [tokens, heads, dim], scaled; its keys and values to the cache.
template <class T>
void read_token(const Shape& s, const Step& step, const Inputs& in, int64_t token, float* queries,
                T* keys, T* values) {
  const int dim = s.dim;
  float x[MAX_DIM];
  for (int h = 0; h < s.heads; ++h) {
    float* q = queries + (token * s.heads + h) * dim;
    read_head<T>(in, static_cast<const T*>(in.q) + token * in.stride + h * dim, token, h, dim, q);
    for (int i = 0; i < dim; i += LANES) store(q + i, load(q + i) * s.scale);
  }
  const int64_t block = step.slots[token] / s.block_size, at = step.slots[token] % s.block_size;
  for (int h = 0; h < s.kv_heads; ++h) {
    const int64_t row = ((block * s.kv_heads + h) * s.block_size + at) * dim;
    const int64_t offset = token * in.stride + h * dim;
    read_head<T>(in, static_cast<const T*>(in.k) + offset, token, s.heads + h, dim, x);
    for (int i = 0; i < dim; i += LANES) store(keys + row + i, load(x + i));
    std::memcpy(values + row, static_cast<const T*>(in.v) + offset, dim * sizeof(T));
  }
}

// What a row knows of some of its keys: its largest score, and sums weighted against that.
struct Partial {
  float most = LOWEST, weight = 0;
  float out[MAX_DIM];
};

void merge(Partial& into, const Partial& next, int dim) {
  const float most = std::max(into.most, next.most);
  const float a = exponential(into.most - most), b = exponential(next.most - most);
  for (int i = 0; i < dim; i += LANES)
    store(into.out + i, load(into.out + i) * a + load(next.out + i) * b);
  into.weight = into.weight * a + next.weight * b;
  into.most = most;
}

// `R` rows over the keys [first, last) of one split; `positions` are those of the rows.
template <class T, int R, int DIM>
void attend_rows(const Shape& s, const int64_t* table, int kv_head, const T* keys, const T* values,
                 const float* const* q, const int64_t* positions, int64_t window, int64_t first,
                 int64_t last, Partial* const* result) {
  constexpr int STEPS = DIM / LANES;
  Floats out[R][STEPS] = {}, weights[R] = {};
  float most[R];
  for (int r = 0; r < R; ++r) most[r] = LOWEST;
  const auto place = [&](int64_t key) {
    const int64_t block = table[key / s.block_size];
    return ((block * s.kv_heads + kv_head) * s.block_size + key % s.block_size) * DIM;
  };
  for (int64_t tile = first; tile < last; tile += TILE) {
    alignas(64) float score[R][TILE];
    for (int64_t part = 0; part < TILE; part += LANES) {
      if (tile + part >= last) {
        for (int r = 0; r < R; ++r) store(score[r] + part, all(LOWEST));
        continue;
      }
      const T* k = keys + place(tile + part);
      Floats number;
      for (int i = 0; i < LANES; ++i) number[i] = float(part + i);
      for (int r = 0; r < R; ++r) {
        Floats dot[LANES];
        for (int i = 0; i < LANES; ++i) {
          Floats d = load(q[r]) * load(k + i * DIM);
          for (int c = 1; c < STEPS; ++c)
            d += load(q[r] + c * LANES) * load(k + i * DIM + c * LANES);
          dot[i] = d;
        }
        for (int width = LANES; width > 1; width /= 2)
          for (int i = 0; i < width / 2; ++i) dot[i] = pairs(dot[2 * i], dot[2 * i + 1]);
        const float newest = float(positions[r] - tile);
        Floats value = number > newest ? all(LOWEST) : dot[0];
        if (window > 0) value = number <= newest - float(window) ? all(LOWEST) : value;
        store(score[r] + part, value);
      }
    }
    for (int r = 0; r < R; ++r) {
      Floats top = load(score[r]);
      for (int i = LANES; i < TILE; i += LANES) top = larger(top, load(score[r] + i));
      const float next = std::max(most[r], largest(top));
      const float fade = exponential(most[r] - next);
      most[r] = next;
      weights[r] = weights[r] * fade;
      for (int c = 0; c < STEPS; ++c) out[r][c] = out[r][c] * fade;
      for (int i = 0; i < TILE; i += LANES) {
        const Floats raw = load(score[r] + i);
        const Floats w = raw == all(LOWEST) ? Floats{} : exponential(raw - next);
        store(score[r] + i, w);
        weights[r] += w;
      }
    }
    const int64_t count = std::min<int64_t>(TILE, last - tile);
    for (int64_t part = 0; part < count; part += LANES) {
      const T* v = values + place(tile + part);
      const int64_t here = std::min<int64_t>(LANES, count - part);
      for (int64_t i = 0; i < here; ++i)
        for (int c = 0; c < STEPS; ++c) {
          const Floats value = load(v + i * DIM + c * LANES);
          for (int r = 0; r < R; ++r) out[r][c] += score[r][part + i] * value;
        }
    }
  }
  for (int r = 0; r < R; ++r) {
    result[r]->most = most[r];
    result[r]->weight = sum(weights[r]);
    for (int c = 0; c < STEPS; ++c) store(result[r]->out + c * LANES, out[r][c]);
  }
}

struct Task {
  int64_t sequence, first_token, tokens;  // rows of these tokens of the batch
  int64_t split;                          // -1: all splits, one after the other
  int64_t partial;                        // where the partial results go, for a single split
  int kv_head;
};

struct Call {
  const Shape& s;
  const Step& step;
  const float* queries;
  int64_t window;

  int64_t first_split(int64_t position) const {
    const int64_t oldest = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
    return oldest / SPLIT;
  }
};

template <class T, int DIM>
void run_split(const Call& call, const Task& task, int64_t split, const T* keys, const T* values,
               Partial* results) {
  const Shape& s = call.s;
  const int64_t* table = call.step.tables + task.sequence * call.step.table_width;
  const int group = s.heads / s.kv_heads;
  const int64_t rows = task.tokens * group, newest =
      call.step.positions[task.first_token + task.tokens - 1];
  const int64_t first = split * SPLIT, last = std::min<int64_t>(first + SPLIT, newest + 1);
  for (int64_t row = 0; row < rows;) {
    const int64_t take = rows - row >= ROWS ? ROWS : 1;
    const float* q[ROWS];
    int64_t positions[ROWS];
    Partial* result[ROWS];
    for (int r = 0; r < take; ++r) {
      const int64_t token = task.first_token + (row + r) / group;
      const int64_t head = task.kv_head * group + (row + r) % group;
      q[r] = call.queries + (token * s.heads + head) * DIM;
      positions[r] = call.step.positions[token];
      result[r] = results + row + r;
    }
    if (take == ROWS)
      attend_rows<T, ROWS, DIM>(s, table, task.kv_head, keys, values, q, positions, call.window,
                                first, last, result);
    else
      attend_rows<T, 1, DIM>(s, table, task.kv_head, keys, values, q, positions, call.window,
                             first, last, result);
    row += take;
  }
}

template <class T>
void write_row(const Partial& p, int dim, T* to) {
  const float scale = 1.0f / p.weight;
  for (int i = 0; i < dim; i += LANES) store(to + i, load(p.out + i) * scale);
}

template <class T, int DIM>
void run_task(const Call& call, const Task& task, const T* keys, const T* values,
              Partial* partials, T* out) {
  const Shape& s = call.s;
  if (task.split >= 0) {
    run_split<T, DIM>(call, task, task.split, keys, values, partials + task.partial);
    return;
  }
  const int group = s.heads / s.kv_heads;
  const int64_t rows = task.tokens * group;
  const int64_t oldest = call.step.positions[task.first_token];
  const int64_t newest = call.step.positions[task.first_token + task.tokens - 1];
  static thread_local std::vector<Partial> whole, next;
  whole.resize(rows);
  next.resize(rows);
  int64_t split = call.first_split(oldest);
  run_split<T, DIM>(call, task, split, keys, values, whole.data());
  for (++split; split * SPLIT <= newest; ++split) {
    run_split<T, DIM>(call, task, split, keys, values, next.data());
    for (int64_t row = 0; row < rows; ++row) {
      // Keys that only later rows of the task can see, or that this row's window has left.
      const int64_t position = call.step.positions[task.first_token + row / group];
      if (split * SPLIT > position) continue;
      if (split <= call.first_split(position))
        whole[row] = next[row];
      else
        merge(whole[row], next[row], DIM);
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t token = task.first_token + row / group;
    const int64_t head = task.kv_head * group + row % group;
    write_row(whole[row], DIM, out + (token * s.heads + head) * DIM);
  }
}

template <class T, int DIM>
void attend(const Shape& s, const Step& step, const Inputs& in, T* keys, T* values,
            int64_t window, T* out) {
  static thread_local std::vector<float> queries;
  static thread_local std::vector<Partial> partials;
  std::vector<Task> tasks;
  queries.resize(step.tokens * s.heads * DIM);
  const Call call{s, step, queries.data(), window};
  const int group = s.heads / s.kv_heads;
  int64_t num_partials = 0;
  for (int64_t n = 0; n < step.sequences; ++n) {
    const int64_t begin = step.query_starts[n], end = step.query_starts[n + 1];
    for (int head = 0; head < s.kv_heads; ++head) {
      if (end - begin > 1) {
        for (int64_t t = begin; t < end; t += QUERY_TOKENS)
          tasks.push_back({n, t, std::min<int64_t>(QUERY_TOKENS, end - t), -1, 0, head});
        continue;
      }
      const int64_t last = step.positions[begin] / SPLIT;
      for (int64_t split = call.first_split(step.positions[begin]); split <= last; ++split) {
        tasks.push_back({n, begin, 1, split, num_partials, head});
        num_partials += group;
      }
    }
  }
  if (int64_t(partials.size()) < num_partials) partials.resize(num_partials);
  float* q = queries.data();
  Partial* p = partials.data();
  const int64_t num_tasks = tasks.size();
  const int threads = int(std::min<int64_t>(s.threads, std::max<int64_t>(1, num_tasks)));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < step.tokens; ++t) read_token<T>(s, step, in, t, q, keys, values);
#pragma omp for schedule(dynamic, 1)
    for (int64_t t = 0; t < num_tasks; ++t) run_task<T, DIM>(call, tasks[t], keys, values, p, out);
  }
  for (int64_t t = 0; t < num_tasks;) {
    const Task& task = tasks[t++];
    if (task.split < 0) continue;
    int64_t more = 0;
    while (t < num_tasks && tasks[t].split > task.split && tasks[t].sequence == task.sequence &&
           tasks[t].kv_head == task.kv_head) {
      for (int r = 0; r < group; ++r)
        merge(p[task.partial + r], p[tasks[t].partial + r], DIM);
      ++t, ++more;
    }
    for (int r = 0; r < group; ++r)
      write_row(p[task.partial + r], DIM,
                out + (task.first_token * s.heads + task.kv_head * group + r) * DIM);
  }
}

template <class T>
int attend_any(const Shape& s, const Step& step, const Inputs& in, T* keys, T* values,
               int64_t window, T* out) {
  switch (s.dim) {
    case 16: attend<T, 16>(s, step, in, keys, values, window, out); return 0;
    case 32: attend<T, 32>(s, step, in, keys, values, window, out); return 0;
    case 64: attend<T, 64>(s, step, in, keys, values, window, out); return 0;
    case 80: attend<T, 80>(s, step, in, keys, values, window, out); return 0;
    case 96: attend<T, 96>(s, step, in, keys, values, window, out); return 0;
    case 128: attend<T, 128>(s, step, in, keys, values, window, out); return 0;
    case 256: attend<T, 256>(s, step, in, keys, values, window, out); return 0;
    default: return 1;
  }
}

template <class T>
void rms_norm(const T* x, const T* gain, T* y, int64_t rows, int64_t size, float eps, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * size > 65536 && threads > 1)
  for (int64_t row = 0; row < rows; ++row) {
    const T* from = x + row * size;
    Floats squares{};
    for (int64_t i = 0; i < size; i += LANES) squares += load(from + i) * load(from + i);
    const float root = 1.0f / std::sqrt(sum(squares) / float(size) + eps);
    for (int64_t i = 0; i < size; i += LANES)
      store(y + row * size + i, load(from + i) * root * load(gain + i));
  }
}

}  // namespace

extern "C" {

// 0 when done, 1 when the head's size is not one of those compiled.
int diglot_attend(const Shape* shape, const Step* step, const Inputs* in, void* keys, void* values,
                  int64_t window, void* out, int bfloat) {
  if (bfloat)
    return attend_any(*shape, *step, *in, static_cast<Bfloat*>(keys), static_cast<Bfloat*>(values),
                      window, static_cast<Bfloat*>(out));
  return attend_any(*shape, *step, *in, static_cast<float*>(keys), static_cast<float*>(values),
                    window, static_cast<float*>(out));
}

// `size` is a multiple of 16.
void diglot_rms_norm(const void* x, const void* gain, void* y, int64_t rows, int64_t size,
                     float eps, int threads, int bfloat) {
  if (bfloat)
    rms_norm(static_cast<const Bfloat*>(x), static_cast<const Bfloat*>(gain),
             static_cast<Bfloat*>(y), rows, size, eps, threads);
  else
    rms_norm(static_cast<const float*>(x), static_cast<const float*>(gain), static_cast<float*>(y),
             rows, size, eps, threads);
}
}
